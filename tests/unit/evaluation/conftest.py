"""People that every test of scoring starts from."""

import cv2
import numpy as np
import pytest

from coco_people import make_dataset, make_results
from posecli.evaluation import check_ground_truth, check_results, examine, pack, resample, score


@pytest.fixture
def dataset():
    return make_dataset()


@pytest.fixture
def poses(dataset):
    return make_results(dataset, noise=0.05)


@pytest.fixture
def ground_truth(dataset):
    return check_ground_truth(dataset, name="gt.json")


@pytest.fixture
def scored(ground_truth, poses):
    return score(pack(ground_truth, check_results(poses, ground_truth)))


@pytest.fixture
def report(scored, ground_truth, poses):
    return examine(scored, check_results(poses, ground_truth), samples=resample(scored, 20), with_breakdown=True)


@pytest.fixture
def pictures(tmp_path, dataset):
    """A folder with a grey picture for every image."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for image in dataset["images"]:
        cv2.imwrite(str(folder / image["file_name"]), np.full((480, 640, 3), 120, np.uint8))
    return folder
