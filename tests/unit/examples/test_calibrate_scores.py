"""The fit finds the curve that made the data, and a calibrated score means what it says."""

import json

import numpy as np
import pytest
from click.testing import CliRunner


@pytest.fixture(scope="module")
def calibrate_scores(load_example):
    return load_example("calibrate_scores")


def drawn(count, slope, intercept, seed=0):
    generator = np.random.default_rng(seed)
    scores = generator.uniform(0.01, 0.99, count)
    chance = 1 / (1 + np.exp(-(slope * np.log(scores / (1 - scores)) + intercept)))
    return scores, (generator.random(count) < chance).astype(float)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (2.5, -1.0), (0.6, 1.5)])
def test_fit_finds_the_curve_that_the_data_came_from(calibrate_scores, slope, intercept):
    found = calibrate_scores.fit(*drawn(20000, slope, intercept))

    assert found == pytest.approx((slope, intercept), abs=0.1)


def person(image_id, *, right):
    keypoints = [value for index in range(17) for value in (10.0 + 5 * index, 20.0 + (9 * index) % 50, 2)]
    shifted = [value + (0 if right or index % 3 == 2 else 500.0) for index, value in enumerate(keypoints)]
    truth = {
        "id": image_id, "image_id": image_id, "category_id": 1, "iscrowd": 0, "area": 4000.0, "num_keypoints": 17,
        "bbox": [0.0, 0.0, 100.0, 80.0], "keypoints": keypoints,
    }  # fmt: skip
    return truth, {"image_id": image_id, "category_id": 1, "keypoints": shifted}


def test_the_command_prints_a_calibration_and_how_reliable_it_is(calibrate_scores, tmp_path):
    scores, right = drawn(400, 2.0, -1.0)
    people = [person(index + 1, right=bool(answer)) for index, answer in enumerate(right)]
    dataset = {
        "images": [{"id": index + 1, "width": 640, "height": 480} for index in range(400)],
        "annotations": [truth for truth, _ in people],
        "categories": [{"id": 1, "name": "person"}],
    }
    gt, pred = tmp_path / "gt.json", tmp_path / "pred.json"
    gt.write_text(json.dumps(dataset))
    pred.write_text(json.dumps([{**pose, "score": score} for (_, pose), score in zip(people, scores, strict=True)]))

    options = ["--gt", gt, "--pred", pred, "--check-gt", gt, "--check-pred", pred]
    outcome = CliRunner().invoke(calibrate_scores.main, [str(part) for part in options], catch_exceptions=False)

    first, *lines = outcome.output.splitlines()
    slope, intercept = calibrate_scores.fit(scores, right)
    assert first.startswith(f"--calibration {slope:.2f},{intercept:.2f}  # 400 poses")
    before, after = (float(line.split("off by ")[1].split()[0]) for line in lines if "off by" in line)
    assert after < 0.05 < before
