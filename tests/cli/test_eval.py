"""`posecli eval` from end to end, on networks with random weights."""

import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from posecli.cli import main
from posecli.evaluation.formats import FORMATS
from posecli.media.coco import categories

PEOPLE = {1: ((4, 4, 24, 40), (34, 6, 24, 36)), 2: ((10, 2, 30, 44),)}  # xywh by image id


def keypoints_in(box):
    x, y, width, height = box
    rows = np.linspace(y, y + height, 17)
    return [value for number, row in enumerate(rows) for value in (x + width * (number % 3) / 2, float(row), 2)]


@pytest.fixture
def truth(tmp_path):
    """Two pictures with three people, and their ground truth."""
    (tmp_path / "pictures").mkdir()
    for image_id in PEOPLE:
        pixels = np.random.default_rng(image_id).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"pictures/{image_id}.png"), pixels)
    annotations = [
        {"image_id": image_id, "bbox": list(box), "keypoints": keypoints_in(box)}
        for image_id, boxes in PEOPLE.items()
        for box in boxes
    ]
    for number, annotation in enumerate(annotations, start=1):
        _, _, width, height = annotation["bbox"]
        annotation.update(id=number, category_id=1, iscrowd=0, num_keypoints=17, area=width * height)
    images = [{"id": image_id, "file_name": f"{image_id}.png", "width": 64, "height": 48} for image_id in PEOPLE]
    path = tmp_path / "gt.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories()}))
    return path


@pytest.fixture
def perfect(tmp_path, truth):
    results = [
        {"image_id": a["image_id"], "category_id": 1, "keypoints": a["keypoints"], "score": 1.0}
        for a in json.loads(truth.read_text())["annotations"]
    ]
    path = tmp_path / "perfect.json"
    path.write_text(json.dumps(results))
    return path


def run(*arguments):
    return CliRunner().invoke(main, ["eval", "--resamples", "20", *map(str, arguments)])


def assert_one_line(text):
    assert text.endswith("\n")
    assert text.count("\n") == 1, text


def test_perfect_results_score_one(truth, perfect):
    result = run("--gt", truth, "--pred", perfect, "--json")

    assert (result.exit_code, result.stderr) == (0, "")
    scores = json.loads(result.stdout)
    assert (scores["AP"], scores["AR"]) == (1.0, 1.0)


def test_the_table_is_on_stdout(truth, perfect):
    result = run("--gt", truth, "--pred", perfect)

    assert result.exit_code == 0
    assert "1.000" in result.stdout
    assert "3 poses, 3 labelled people, 2 images" in result.stdout


def test_nobody_found_scores_zero(truth, tmp_path):
    (tmp_path / "none.json").write_text("[]")

    assert json.loads(run("--gt", truth, "--pred", tmp_path / "none.json", "--json").stdout)["AP"] == 0


def test_the_networks_run_on_the_pictures(posecli, truth, tmp_path):
    arguments = ("--gt", truth, "--images", tmp_path / "pictures", "--json")

    result = posecli("eval", *arguments, "--save", tmp_path / "results.json")

    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)
    assert scores["num_images"] == 2
    assert scores["refiner_runs_per_person"] == pytest.approx(4 / 3, abs=1e-3)
    again = run("--gt", truth, "--pred", tmp_path / "results.json", "--json")
    assert json.loads(again.stdout)["AP"] == scores["AP"]


def test_the_refiner_alone_runs_on_the_true_boxes(posecli, truth, tmp_path):
    result = posecli("eval", "--gt", truth, "--images", tmp_path / "pictures", "--true-boxes", "--json")

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["num_results"] == 3


@pytest.mark.parametrize("harm", ["missing", "other_size", "no_image", "outside", "no_folder"])
def test_pictures_that_do_not_fit_the_truth_are_bad_input(posecli, truth, tmp_path, harm):
    picture, folder = tmp_path / "pictures/2.png", tmp_path / "pictures"
    if harm == "missing":
        picture.unlink()
    elif harm == "other_size":
        cv2.imwrite(str(picture), np.zeros((10, 10, 3), np.uint8))
    elif harm == "no_image":
        picture.write_text("hello")
    elif harm == "outside":
        truth.write_text(truth.read_text().replace("2.png", "../../2.png"))
    else:
        folder = tmp_path / "nowhere"

    result = posecli("eval", "--gt", truth, "--images", folder)

    assert (result.exit_code, result.stdout) == (4, "")
    assert_one_line(result.stderr)


def test_a_truth_that_cannot_be_read_is_bad_input(tmp_path, perfect):
    (tmp_path / "bad.json").write_text('{"images": [')

    for path in (tmp_path / "bad.json", tmp_path / "missing.json", perfect, tmp_path):
        result = run("--gt", path, "--pred", perfect)
        assert (result.exit_code, result.stdout) == (4, ""), path
        assert_one_line(result.stderr)


def test_contradictions_are_usage_errors(truth, perfect, tmp_path):
    for arguments in (
        ("--pred", perfect, "--images", tmp_path),
        ("--pred", perfect, "--true-boxes"),
        ("--pred", perfect, "--save", tmp_path / "results.json"),
        (),
    ):
        result = run("--gt", truth, *arguments)
        assert (result.exit_code, result.stdout) == (2, ""), arguments
        assert_one_line(result.stderr)


def test_results_that_cannot_be_saved_are_told_before_the_work(posecli, truth, tmp_path):
    result = posecli("eval", "--gt", truth, "--images", tmp_path / "pictures", "--save", tmp_path / "no/results.json")

    assert result.exit_code == 2
    assert_one_line(result.stderr)


def test_the_users_boxes_feed_the_pipeline_by_image_id_and_unknown_pictures_are_counted(posecli, truth, tmp_path):
    (tmp_path / "boxes.json").write_text(json.dumps([{"image_id": 1, "bbox": [4, 4, 24, 40], "score": 0.5}]))
    arguments = ("--gt", truth, "--images", tmp_path / "pictures", "--boxes", tmp_path / "boxes.json", "--filter")

    result = posecli("eval", *arguments, "--save", tmp_path / "results.json", "--json")

    assert result.exit_code == 0, result.output
    assert "boxes.json: does not know 1 of the frames; nobody is found on them" in result.stderr
    assert json.loads(result.stdout)["refiner_runs_per_person"] == pytest.approx(1 / 3, abs=1e-3)
    assert [pose["image_id"] for pose in json.loads((tmp_path / "results.json").read_text())] == [1]


def test_bad_boxes_are_bad_input(posecli, truth, tmp_path):
    (tmp_path / "boxes.json").write_text('[{"image_id": 1, "bbox": [4, 4, -24, 40]}]')
    arguments = ("--gt", truth, "--images", tmp_path / "pictures", "--boxes", tmp_path / "boxes.json", "--filter")

    result = posecli("eval", *arguments)

    assert (result.exit_code, result.stdout) == (4, "")
    assert "boxes.json: [0]: bbox has width -24" in result.stderr


@pytest.mark.parametrize("mode", [(), ("--true-boxes",)])
def test_random_weights_run_only_on_request_and_are_told(truth, tmp_path, mode):
    network = ("--refiner", "prs-base", "--device", "cpu", "--detector-size", "64", "--max-people", "1")
    arguments = ("--gt", truth, "--images", tmp_path / "pictures", "--json", *network, *mode)

    refused = run(*arguments)
    allowed = run(*arguments, "--allow-random-weights")

    assert refused.exit_code == 5
    assert "prs-base" in refused.stderr
    assert allowed.exit_code == 0, allowed.output
    assert "random weights (prs-base): these poses mean nothing" in allowed.stderr
    assert any("random weights" in note for note in json.loads(allowed.stdout)["notes"])


def test_two_results_are_compared(truth, perfect, tmp_path):
    moved = json.loads(perfect.read_text())
    for pose in moved:
        pose["keypoints"] = [value + 2 for value in pose["keypoints"]]
    (tmp_path / "moved.json").write_text(json.dumps(moved))

    values = json.loads(run("--gt", truth, "--pred", tmp_path / "moved.json", "--pred", perfect, "--json").stdout)

    assert values["a"]["AP"] < values["b"]["AP"] == 1
    assert values["comparison"]["verdict"] == "b is better"
    assert "b is better" in run("--gt", truth, "--pred", tmp_path / "moved.json", "--pred", perfect).stdout
    once = run("--gt", truth, "--pred", perfect, "--pred", perfect, "--resamples", "0", "--json")
    assert json.loads(once.stdout)["comparison"] is None


def test_breakdowns_are_in_the_json_and_printed_when_asked_for(truth, perfect):
    values = json.loads(run("--gt", truth, "--pred", perfect, "--json").stdout)
    short, long = run("--gt", truth, "--pred", perfect), run("--gt", truth, "--pred", perfect, "--breakdown")

    assert values["breakdown"]["by_keypoint"][0]["name"] == "nose"
    assert values["intervals"]["AP"] == [1.0, 1.0]
    assert ("left ankle" in short.stdout, "left ankle" in long.stdout) == (False, True)


def test_a_report_and_plots_are_written(truth, perfect, tmp_path):
    out = ("--report", tmp_path / "report", "--plots", tmp_path / "plots")

    bare = run("--gt", truth, "--pred", perfect, *out)
    without_pictures = (tmp_path / "report/report.html").read_text()
    drawn = run("--gt", truth, "--pred", perfect, "--images", tmp_path / "pictures", *out)

    assert (bare.exit_code, drawn.exit_code) == (0, 0), drawn.output
    assert "No pictures were given" in without_pictures
    assert (tmp_path / "report/report.html").read_text().count("data:image/jpeg") == 2 * 3  # the least good of 3 people
    assert {path.name for path in (tmp_path / "plots").iterdir()} >= {"precision_recall.png", "reliability.png"}
    assert str(tmp_path / "report/report.html") in drawn.stderr


def test_a_report_of_the_networks_names_them(posecli, truth, tmp_path):
    pictures, report = tmp_path / "pictures", tmp_path / "report"

    result = posecli("eval", "--gt", truth, "--images", pictures, "--report", report, "--resamples", "5")

    assert result.exit_code == 0, result.output
    html = (report / "report.html").read_text()
    assert "detposenet-tiny and prs-tiny" in html
    assert "runs per person" in html


def test_a_ground_truth_of_another_data_set_is_scored_on_the_keypoints_it_shares(truth, perfect, tmp_path):
    dataset = json.loads(truth.read_text())
    order = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0, 0]  # CrowdPose's, with a nose for head and neck
    for annotation in dataset["annotations"]:
        flat = annotation["keypoints"]
        annotation.update(keypoints=[value for k in order for value in flat[3 * k : 3 * k + 3]], num_keypoints=14)
    for image in dataset["images"]:
        image["crowdIndex"] = 0.5
    del dataset["categories"]
    truth.write_text(json.dumps(dataset))

    done = run("--gt", truth, "--pred", perfect, "--json")
    forced = run("--gt", truth, "--gt-format", "coco", "--pred", perfect)

    assert json.loads(done.stdout)["AP"] == 1
    assert json.loads(done.stdout)["breakdown"]["by_crowd_index"][0]["name"] == "medium"
    assert "scored on the 12 keypoints that COCO has, too, without head, neck" in done.stderr
    assert (forced.exit_code, forced.stdout) == (4, "")
    assert "42 numbers, wanted 51" in forced.stderr


def test_three_predictions_are_one_too_many(truth, perfect):
    result = run("--gt", truth, "--pred", perfect, "--pred", perfect, "--pred", perfect)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "--pred is given 3 times" in result.stderr


@pytest.mark.parametrize("mode", [(), ("--true-boxes",)])
def test_person_may_have_another_category_id_than_cocos(posecli, truth, tmp_path, mode):
    dataset = json.loads(truth.read_text())
    dataset["categories"][0]["id"] = 7
    for annotation in dataset["annotations"]:
        annotation["category_id"] = 7
    truth.write_text(json.dumps(dataset))

    result = posecli("eval", "--gt", truth, "--images", tmp_path / "pictures", "--json", "--resamples", "0", *mode)

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["num_results"] > 0


def test_folders_that_cannot_be_made_are_told_before_the_work(truth, perfect, tmp_path):
    (tmp_path / "file").write_text("")

    for option in ("--report", "--plots"):
        result = run("--gt", truth, "--pred", perfect, option, tmp_path / "file" / "folder")
        assert (result.exit_code, result.stdout) == (2, "")
        assert_one_line(result.stderr)


def test_notes_on_the_truth_are_in_the_json_and_on_the_page(truth, perfect, tmp_path):
    dataset = json.loads(truth.read_text())
    del dataset["annotations"][0]["area"]
    truth.write_text(json.dumps(dataset))

    result = run("--gt", truth, "--pred", perfect, "--json", "--report", tmp_path / "report")

    (note,) = json.loads(result.stdout)["notes"]
    assert "1 annotations have no area" in note
    assert result.stderr.count("have no area") == 1
    assert "1 annotations have no area" in (tmp_path / "report/report.html").read_text()


def test_every_format_can_be_asked_for():
    option = next(item for item in main.get_command(None, "eval").params if item.name == "gt_format")

    assert sorted(option.type.choices) == sorted(["auto", *FORMATS])
