"""`posecli infer` with boxes of other detectors and of the user's own files, and with networks without weights."""

from __future__ import annotations

import hashlib
import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import clips
from posecli.cli import main


def save_png(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((48, 64, 3), value, dtype=np.uint8))
    return path


@pytest.fixture
def boxes(tmp_path):
    def write(data):
        path = tmp_path / "boxes.json"
        path.write_text(json.dumps(data))
        return path

    return write


@pytest.fixture
def infer(posecli, tmp_path):
    """Run on the user's boxes with the filter: both networks have weights to load."""
    return lambda *arguments: posecli("infer", "-o", tmp_path / "out", "--filter", "--no-overlay", *arguments)


def people_of(dataset):
    """The left edges of people's boxes, by file name."""
    names = {image["id"]: image["file_name"] for image in dataset["images"]}
    found = {name: [] for name in names.values()}
    for annotation in dataset["annotations"]:
        found[names[annotation["image_id"]]].append(annotation["bbox"][0])
    return found


def test_boxes_of_a_folder_go_by_file_name(infer, boxes, tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        save_png(tmp_path / "pictures" / name, 99)
    path = boxes([{"file_name": "b.png", "bbox": [8, 4, 20, 40]}, {"file_name": "c.png", "bbox": [2, 4, 20, 40]}])

    result = infer(tmp_path / "pictures", "--boxes", path)

    assert result.exit_code == 0, result.output
    assert "boxes.json: does not know 1 of the frames; nobody is found on them" in result.stderr
    dataset = json.loads((tmp_path / "out/pictures.coco.json").read_text())
    assert people_of(dataset) == {"a.png": [], "b.png": [8.0], "c.png": [2.0]}
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert dataset["info"]["boxes"] == {"file": "boxes.json", "sha256": sha256}
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["boxes"] == dataset["info"]["boxes"]
    assert any("does not know 1" in note for note in run["notes"])


def test_boxes_of_a_video_go_by_frame_and_what_infer_wrote_can_come_back(posecli, boxes, tmp_path):
    clip, out = clips.write_clip(tmp_path / "walk.mp4"), tmp_path / "out"
    path = boxes([{"frame_index": 3, "bbox": [8, 4, 20, 40]}, {"image_id": 6, "bbox": [2, 4, 20, 40]}])
    # poses of random networks score too little to pass as boxes; here they may
    options = ("--filter", "--min-coarse-keypoints", "0", "--no-overlay")
    posecli("infer", "-o", out, *options, clip, "--boxes", path)
    first = people_of(json.loads((out / "walk.coco.json").read_text()))

    again = posecli("infer", "-o", tmp_path / "again", *options, clip, "--boxes", out / "walk.coco.json")

    assert again.exit_code == 0, again.output
    assert [number for number, people in enumerate(first.values()) if people] == [3, 5]
    assert people_of(json.loads((tmp_path / "again/walk.coco.json").read_text())) == first


def test_without_the_filter_no_proposal_network_is_loaded(boxes, tmp_path):
    path = boxes([{"image_id": 1, "bbox": [8, 4, 20, 40]}])
    arguments = ["infer", str(save_png(tmp_path / "a.png", 9)), "-o", str(tmp_path / "out"), "--device", "cpu"]

    result = CliRunner().invoke(main, [*arguments, "--no-filter", "--boxes", str(path)])

    assert result.exit_code == 0, result.output
    assert list(json.loads((tmp_path / "out/run.json").read_text())["networks"]) == ["prs-tiny"]


def test_a_file_that_numbers_its_pictures_cannot_serve_two_sources(infer, boxes, tmp_path):
    sources = [save_png(tmp_path / name, 9) for name in ("a.png", "b.png")]

    numbered = infer(*sources, "--boxes", boxes([{"image_id": 1, "bbox": [8, 4, 20, 40]}]))
    named = infer(*sources, "--boxes", boxes([{"file_name": "a.png", "bbox": [8, 4, 20, 40]}]))

    assert (numbered.exit_code, named.exit_code) == (2, 0)
    assert "say nothing about 2 sources" in numbered.stderr


@pytest.mark.parametrize("content", ['[{"image_id": 1}]', "nonsense", None])
def test_boxes_that_cannot_be_used_are_bad_input(infer, tmp_path, content):
    path = tmp_path / "boxes.json"
    if content is not None:
        path.write_text(content)

    result = infer(save_png(tmp_path / "a.png", 9), "--boxes", path)

    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.startswith(f"posecli: {path}: ") or str(path) in result.stderr
    assert result.stderr.count("\n") == 1


# a proposer of two stages, a refiner of several hourglasses, a refiner of another family
PAIRS = [("detposenet-base", "prs-tiny"), ("detposenet-tiny", "prs-base"), ("detposenet-tiny", "simplebaseline-r50")]


@pytest.mark.parametrize(("detector", "refiner"), PAIRS)
def test_pairings_run_with_random_weights_and_every_output_says_so(tmp_path, detector, refiner):
    options = ["--detector", detector, "--refiner", refiner, "--detector-size", "64", "--max-people", "1"]
    options += [
        "--min-box-score",
        "0",
        "--min-score",
        "0",
        "--no-filter",
        "--device",
        "cpu",
        "-o",
        str(tmp_path / "out"),
    ]
    source = str(save_png(tmp_path / "a.png", 200))

    refused = CliRunner().invoke(main, ["infer", source, *options])
    allowed = CliRunner().invoke(main, ["infer", source, *options, "--allow-random-weights"])

    random = detector if detector == "detposenet-base" else refiner
    assert refused.exit_code == 5
    assert random in refused.stderr
    assert allowed.exit_code == 0, allowed.output
    warning = f"random weights ({random}): these poses mean nothing"
    assert warning in allowed.stderr
    info = json.loads((tmp_path / "out/a.coco.json").read_text())["info"]
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert info["networks"][random] == run["networks"][random] == "random"
    assert warning in run["notes"]
    drawn = cv2.imread(str(tmp_path / "out/a.overlay.png"))
    assert drawn[:12].min() < 150  # the warning's dark plate, on a bright picture


def test_a_detector_of_another_kind_gives_the_boxes_and_detposenet_the_coarse_heatmaps(tmp_path):
    source = str(tmp_path / "a.png")
    cv2.imwrite(source, np.full((8, 400, 3), 99, np.uint8))  # so long that the detector hardly enlarges it
    arguments = ["infer", source, "-o", str(tmp_path / "out"), "--detector", "fasterrcnn-r50-fpn", "--device", "cpu"]

    result = CliRunner().invoke(main, [*arguments, "--no-overlay", "--allow-random-weights"])

    assert result.exit_code == 0, result.output
    networks = json.loads((tmp_path / "out/run.json").read_text())["networks"]
    assert list(networks) == ["fasterrcnn-r50-fpn", "detposenet-tiny", "prs-tiny"]
    assert networks["fasterrcnn-r50-fpn"] == "random" != networks["detposenet-tiny"]


def test_a_refiner_is_no_detector(tmp_path):
    source = str(save_png(tmp_path / "a.png", 9))

    result = CliRunner().invoke(main, ["infer", source, "--detector", "prs-tiny", "-o", str(tmp_path / "out")])

    assert result.exit_code == 2
    assert "prs-tiny is a refiner" in result.stderr
