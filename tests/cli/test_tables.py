"""What `posecli eval` prints: tables for people, one line of JSON for programs."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from coco_people import make_dataset, make_results
from posecli.cli._tables import as_json, comparison_table, scores_table, shown
from posecli.evaluation import (
    BoxScores,
    CocoScores,
    Comparison,
    EvalReport,
    Interval,
    check_ground_truth,
    check_results,
    examine,
    pack,
    resample,
    score,
)
from posecli.evaluation.tables import breakdown_tables


def make_report():
    sizes = {"ap_medium": None, "ap_large": 0.75, "ar_medium": None, "ar_large": 0.8}
    counts = {"num_images": 434, "num_people": 1057, "num_results": 980}
    scores = CocoScores(ap=0.71234, ap50=0.9, ap75=0.8, ar=0.74, ar50=0.91, ar75=0.82, **sizes, **counts)
    boxes = BoxScores(ap=0.4, ap50=0.6, ap75=0.35, ar_100=0.5, ar_100_iou50=0.95)
    return EvalReport(
        scores=scores,
        num_annotated=1907,
        refiner_runs=2670,
        boxes=boxes,
        intervals={"ap": Interval(0.69, 0.73)},
        notes=("gt.json: a note",),
    )


@pytest.fixture(scope="module")
def full_report():
    dataset = make_dataset()
    dataset["images"].append({"id": 99})  # nobody is on it
    truth = check_ground_truth(dataset, name="gt.json")
    results = check_results(make_results(dataset, noise=0.05), truth)
    scored = score(pack(truth, results))
    return examine(scored, results, samples=resample(scored, 20), with_breakdown=True)


def printed(*tables):
    console = Console(width=100, record=True, file=io.StringIO())
    for table in tables:
        console.print(table)
    return [" ".join(line.replace("│", " ").split()) for line in console.export_text().splitlines()]


def test_the_table_shows_scores_runs_and_boxes():
    lines = printed(scores_table(make_report()))

    assert "AP 0.712 0.900 0.800 - 0.750" in lines
    assert lines[-5:] == [
        "980 poses, 1057 labelled people, 434 images",
        "95% interval of AP: 0.690 to 0.730",
        "1.40 refiner runs per person (2670 / 1907)",
        "boxes: AP 0.400, AR@100 0.500; at IoU .5:",
        "AP 0.600, AR@100 0.950",
    ]


def test_the_table_names_the_file_where_there_are_two():
    assert printed(scores_table(make_report(), "a: [red]one.json"))[0] == "a: [red]one.json"


def test_every_breakdown_has_its_table(full_report):
    lines = printed(*map(shown, breakdown_tables(full_report.breakdown)))

    nose = full_report.breakdown.by_keypoint[0]
    assert f"nose {nose.num_people} {nose.ap:.3f} {nose.ap50:.3f} {nose.ar:.3f} {nose.oks:.3f}" in lines
    starts = {line.split(" ")[0] for line in lines if line}
    assert {"visible", "hidden", "jitter", "inversion", "swap", "miss", "under"} <= starts
    assert not {"easy", "hard"} & starts  # CrowdPose's alone


def test_false_people_are_in_the_caption(full_report):
    assert "0.00 false people an image on the 1 empty ones" in printed(scores_table(full_report))


def test_a_comparison_says_its_verdict():
    comparison = Comparison(
        difference=0.0123, interval=Interval(0.004, 0.02), verdict="b is better", share_better=0.991, num_resamples=1000
    )

    lines = printed(comparison_table(comparison))

    assert "99% of 1000 draws better +0.012 +0.004 to +0.020" in lines
    assert lines[-1] == "b is better"
    both = json.loads(as_json([make_report(), make_report()], comparison))
    assert (both["a"]["AP"], both["b"]["AP"], both["comparison"]["verdict"]) == (0.7123, 0.7123, "b is better")


def test_json_is_one_line_with_cocos_names():
    line = as_json([make_report()])

    assert "\n" not in line
    values = json.loads(line)
    assert values["AP"] == 0.7123
    assert values["APm"] is None
    assert (values["box_AP"], values["box_AP50"], values["box_AR100_IoU50"]) == (0.4, 0.6, 0.95)
    assert values["refiner_runs_per_person"] == 1.4001
    assert values["intervals"] == {"AP": [0.69, 0.73]}
    assert "breakdown" not in values


def test_json_carries_every_breakdown(full_report):
    report = json.loads(as_json([replace(full_report, notes=())]))
    values = report["breakdown"]

    assert len(values["by_keypoint"]) == 17
    assert values["visible"]["AP"] == round(full_report.breakdown.visible.ap, 4)
    assert report["false_people"] == {"num_images": 1, "per_image": {"0": 0, "0.1": 0, "0.3": 0, "0.5": 0}}
    assert {"by_size", "by_num_keypoints", "by_crowding", "pck", "errors", "calibration", "hidden"} <= set(values)
