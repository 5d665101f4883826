from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from posecli.engines.calibrate import Calibration, calibration_inputs, export_int8
from posecli.errors import ConfigError, InputError
from posecli.networks._weights import find_weights


@pytest.fixture
def noise(tmp_path):
    """Two pictures of nothing, and a dataset that says where two people are on each."""
    folder = tmp_path / "noise"
    folder.mkdir()
    images = [{"id": index, "file_name": f"{index}.png", "width": 96, "height": 64} for index in (1, 2)]
    for image in images:
        pixels = np.random.default_rng(image["id"]).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / image["file_name"]), pixels)
    people = [
        {"id": 10 * image["id"] + left, "image_id": image["id"], "category_id": 1, "bbox": [left, 4, 20, 50]}
        for image in images
        for left in (5, 60)
    ]
    dataset = {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "boxes.json").write_text(json.dumps(dataset))
    return Calibration(folder, boxes=tmp_path / "boxes.json")


@pytest.mark.parametrize(("name", "count", "size"), [("prs-tiny", 4, (256, 192)), ("detposenet-tiny", 2, (288, 416))])
def test_a_network_sees_what_the_pipeline_gives_it(noise, name, count, size):
    batches = calibration_inputs(name, find_weights(name), noise)

    assert sum(map(len, batches)) == count
    for batch in batches:
        assert batch.shape[1:] == (3, *size)
        assert float(batch.min()) >= -1.001
        assert 0 < float(batch.std()) < 1


def test_pictures_without_people_calibrate_no_refiner(noise):
    with pytest.raises(InputError, match="noise: nobody on its pictures, wanted people to calibrate prs-tiny on"):
        calibration_inputs("prs-tiny", find_weights("prs-tiny"), Calibration(noise.source))


def test_a_network_that_takes_poses_is_refused(noise):
    with pytest.raises(ConfigError, match="takes poses beside pictures"):
        export_int8("posefix-r50", Path("a.onnx"), noise, weights=Path("any"))
