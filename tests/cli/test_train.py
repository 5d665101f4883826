"""`posecli train` from configuration to weights that `infer` can use, on two pictures made here."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from posecli.cli import main

CONFIG = """
network = "prs-tiny"
steps = 2
batch = 2
input_hw = [64, 64]
frozen_blocks = 0
half = false
eval_minutes = 0.0

[[datasets]]
images = "photos"
annotations = "people.json"
"""


@pytest.fixture
def data(tmp_path):
    (tmp_path / "photos").mkdir()
    people = []
    for number in range(2):
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), np.full((96, 128, 3), 90 + number, np.uint8))
        keypoints = np.column_stack((np.linspace(30, 90, 17), np.linspace(10, 80, 17), np.full(17, 2))).ravel().tolist()
        people.append(
            {"id": number + 1, "image_id": number + 1, "category_id": 1, "bbox": [25, 5, 70, 80], "area": 5600,
             "iscrowd": 0, "num_keypoints": 17, "keypoints": keypoints}
        )  # fmt: skip
    images = [{"id": number + 1, "file_name": f"{number}.png", "width": 128, "height": 96} for number in range(2)]
    categories = [{"id": 1, "name": "person"}]
    truth = {"images": images, "annotations": people, "categories": categories}
    (tmp_path / "people.json").write_text(json.dumps(truth))
    (tmp_path / "run.toml").write_text(CONFIG)
    return tmp_path


def run(data, *more):
    arguments = ["train", str(data / "run.toml"), "--data", str(data), "-o", str(data / "run"), "--device", "cpu"]
    return CliRunner().invoke(main, [*arguments, *more])


def test_training_measures_itself_and_leaves_weights_that_eval_reads(data):
    truth = ["--dev-gt", str(data / "people.json"), "--dev-images", str(data / "photos")]

    outcome = run(data, *truth)

    assert outcome.exit_code == 0, outcome.output
    lines = outcome.stderr.splitlines()
    assert any(line.startswith("step 2  4 samples  0:00:00 left  stage0 ") for line in lines)
    assert any("AP50" in line for line in lines)
    weights = f"prs-tiny={data / 'run' / 'best.safetensors'}"
    gt = ["--gt", str(data / "people.json"), "--images", str(data / "photos")]
    scored = CliRunner().invoke(main, ["eval", *gt, "--true-boxes", "--json", "--weights", weights])
    assert scored.exit_code == 0, scored.output
    assert "AP" in json.loads(scored.stdout)


def test_a_run_is_not_overwritten_and_resumes(data):
    assert run(data).exit_code == 0

    again, resumed = run(data), run(data, "--resume")

    assert again.exit_code == 2
    assert "holds a run already; go on with --resume" in again.stderr
    assert resumed.exit_code == 0, resumed.output


def test_what_cannot_be_used_is_one_line(data):
    lonely = run(data, "--dev-gt", str(data / "people.json"))
    (data / "photos" / "1.png").write_text("no picture")
    broken = run(data)

    assert (lonely.exit_code, broken.exit_code) == (2, 4)
    assert lonely.stderr.strip() == "--dev-gt and --dev-images belong together"
    assert len(broken.stderr.strip().splitlines()) == 1
