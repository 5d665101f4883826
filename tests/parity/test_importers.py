"""What annotation tools make of posecli's COCO dataset: their own readers, run on a file that `infer` wrote.

The tools pull in hundreds of packages and other versions of numpy and OpenCV, so they are no dependency of the tests.
Where a Python has some of them, POSECLI_IMPORTERS_PYTHON names it; without, those of this Python are taken, and the
others' tests skip. Last run with datumaro 1.13.12, label-studio-sdk 2.1.2, FiftyOne 1.22.1, pycocotools 2.0.11.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fakes import OnePersonPerFrame
from posecli.config import RunOptions, TimelineConfig
from posecli.engines.local import annotate_source
from posecli.skeleton import COCO_SKELETON, KEYPOINTS

PYTHON = os.environ.get("POSECLI_IMPORTERS_PYTHON", sys.executable)
LABELLED = 0.4  # of the keypoint scores, see fakes.one_person


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of three pictures, the second of them broken, and what infer wrote about it."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "in").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        cv2.imwrite(str(folder / "in" / name), np.full((48, 64, 3), 90, np.uint8))
    (folder / "in" / "b.png").write_bytes(b"no picture")
    options = RunOptions(directory=folder / "out", overlay=False, timeline=TimelineConfig(track=True))
    annotate_source(str(folder / "in"), OnePersonPerFrame(), options, lambda *_: None)
    return folder / "out" / "in.coco.json"


def ask(package, code, path):
    """Run code with an importer; it prints JSON about the file at sys.argv[1]."""
    found = subprocess.run([PYTHON, "-c", f"import {package}"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip(f"{package} is not installed for {PYTHON}; POSECLI_IMPORTERS_PYTHON may name another")
    run = subprocess.run([PYTHON, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def truth(path):
    dataset = json.loads(Path(path).read_text("utf-8"))
    return dataset["images"], dataset["annotations"]


def test_pycocotools_scores_the_results_against_the_dataset_as_perfect(made):
    code = """
import contextlib, io, json, sys
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
with contextlib.redirect_stdout(io.StringIO()):
    truth = COCO(sys.argv[1])
    score = COCOeval(truth, truth.loadRes(sys.argv[1].replace(".coco.", ".results.")), "keypoints")
    score.evaluate(); score.accumulate(); score.summarize()
print(json.dumps([len(truth.imgs), len(truth.anns), score.stats[0]]))
"""
    assert ask("pycocotools", code, made) == [3, 2, 1.0]


def test_datumaro_reads_every_keypoint_and_keeps_our_attributes(made):
    code = """
import json, os, shutil, sys, tempfile
import datumaro
from datumaro.components.annotation import AnnotationType
with tempfile.TemporaryDirectory() as root:
    os.makedirs(root + "/annotations"), os.makedirs(root + "/images/default")  # it wants both
    shutil.copy(sys.argv[1], root + "/annotations/person_keypoints_default.json")
    dataset = datumaro.Dataset.import_from(root, "coco_person_keypoints")
    people = [
        [item.id, list(a.points), [int(v) for v in a.visibility], a.attributes]
        for item in dataset for a in item.annotations if a.type == AnnotationType.points
    ]
    points = dataset.categories()[AnnotationType.points].items[0]
    print(json.dumps([len(dataset), people, points.labels, sorted(map(sorted, points.joints))]))
"""
    images, annotations = truth(made)

    count, people, names, joints = ask("datumaro", code, made)

    assert count == len(images) == 3  # the frame with nobody, too
    assert names == list(KEYPOINTS)
    assert joints == sorted(sorted(edge) for edge in COCO_SKELETON)
    assert sorted(item for item, *_ in people) == ["a", "c"]
    for person, annotation in zip(sorted(people), annotations, strict=True):
        _, points, visibility, attributes = person
        np.testing.assert_allclose(points[0::2], annotation["keypoints"][0::3], atol=1e-4)
        assert visibility == annotation["keypoints"][2::3]
        assert attributes["keypoint_scores"] == annotation["attributes"]["keypoint_scores"]
        assert attributes["track_id"] == annotation["attributes"]["track_id"]
        assert attributes["score"] == annotation["score"]


def test_label_studio_shows_what_is_visible(made):
    code = """
import contextlib, io, json, os, sys, tempfile
from label_studio_sdk.converter.imports.coco import convert_coco_to_ls
with tempfile.TemporaryDirectory() as root:
    with contextlib.redirect_stdout(io.StringIO()):
        convert_coco_to_ls(input_file=sys.argv[1], out_file=root + "/tasks.json", out_type="predictions")
    print(json.dumps(json.load(open(root + "/tasks.json"))))
"""
    images, annotations = truth(made)

    tasks = ask("label_studio_sdk", code, made)

    assert [Path(task["data"]["image"]).name.rpartition("=")[2] for task in tasks] == [i["file_name"] for i in images]
    of_tasks = [[r for r in task["predictions"][0]["result"] if r["type"] == "keypointlabels"] for task in tasks]
    assert [len(points) > 0 for points in of_tasks] == [True, False, True]
    first = annotations[0]["keypoints"]
    place = of_tasks[0][-1]["value"]
    np.testing.assert_allclose([place["x"] * 0.64, place["y"] * 0.48], first[-3:-1], atol=0.01)  # percent


def test_fiftyone_reads_points_and_leaves_out_what_has_no_label(made):
    code = """
import json, math, sys
import fiftyone.utils.coco as coco
_, classes, _, images, annotations = coco.load_coco_detection_annotations(sys.argv[1])
people = {
    key: [
        [None if math.isnan(x) else [x, y] for x, y in person.to_keypoints(
            (images[key]["width"], images[key]["height"]), classes_map=classes).points]
        for person in value
    ]
    for key, value in annotations.items()
}
print(json.dumps([list(images), people]))
"""
    images, annotations = truth(made)

    ids, people = ask("fiftyone", code, made)

    assert ids == [image["id"] for image in images] == [1, 2, 3]
    assert list(people) == ["1", "3"]
    flat, scores = annotations[0]["keypoints"], annotations[0]["attributes"]["keypoint_scores"]
    for index, point in enumerate(people["1"][0]):
        assert (point is None) == (scores[index] < LABELLED)
        if point is not None:
            np.testing.assert_allclose(point, [flat[3 * index] / 64, flat[3 * index + 1] / 48], atol=1e-6)
