"""People that every test of scoring starts from."""

import pytest

from coco_people import make_dataset, make_results
from posecli.evaluation import check_ground_truth


@pytest.fixture
def dataset():
    return make_dataset()


@pytest.fixture
def poses(dataset):
    return make_results(dataset, noise=0.05)


@pytest.fixture
def ground_truth(dataset):
    return check_ground_truth(dataset, name="gt.json")
