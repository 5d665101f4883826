"""The networks that come with posecli, on media that this project makes or a test dependency carries, and on photos."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from posecli.cli import main
from posecli.cli.infer import infer
from posecli.config import DetectConfig, PipelineConfig
from posecli.engines.evaluate import evaluate_true_boxes
from posecli.evaluation import keypoint_scores, load_ground_truth, load_results
from posecli.media.sources import read_image
from posecli.pipeline import load_pipeline
from posecli.records import Frame
from posecli.skeleton import KEYPOINTS, MIRROR
from posecli.training.data import picture_paths

pytestmark = pytest.mark.weights

_KNEES = KEYPOINTS.index("left_knee")  # the first of the legs
_INFER = {option.name: option.default for option in infer.params}


@pytest.fixture(scope="module")
def pipeline():
    return load_pipeline(PipelineConfig(detect=DetectConfig(min_box_score=_INFER["min_box_score"])), device="cpu")


def people_on(pipeline, image):
    height, width = image.shape[:2]
    frame = Frame(index=0, image=torch.from_numpy(image), width=width, height=height, file_name="made")
    (annotated,) = pipeline.run([frame])
    return annotated.poses.keypoints[annotated.poses.scores >= _INFER["min_score"]]


def test_example_clip_is_annotated_as_it_was_rendered(examples, tmp_path):
    arguments = [str(examples / "walkers.mp4"), "-o", str(tmp_path), "--no-overlay"]
    everybody = ["--min-score", "0", "--min-box-score", "0.1"]  # as eval does: AP ranks the poses itself
    outcome = CliRunner().invoke(main, ["infer", *arguments, *everybody])
    truth = load_ground_truth(examples / "walkers.coco.json")
    scores = keypoint_scores(truth, load_results(tmp_path / "walkers.results.json", truth))

    assert outcome.exit_code == 0, outcome.output
    assert scores.ap >= 0.50  # .525 with these weights
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["sources"][0]["frames"] == len(truth.images)


def test_astronaut_has_eyes_and_nose_where_they_are(pipeline):
    skimage_data = pytest.importorskip("skimage.data")

    people = people_on(pipeline, skimage_data.astronaut())

    assert len(people) == 1
    nose, left_eye, right_eye = people[0, :3]
    # read off the photo by hand; her head is 150 pixels high
    for found, place in ((nose, (226, 127)), (left_eye, (250, 108)), (right_eye, (206, 106))):
        assert float((found - torch.tensor(place)).norm()) < 15
    left_shoulder, right_shoulder = people[0, 5, 0], people[0, 6, 0]
    assert float(left_shoulder) > 280
    assert float(right_shoulder) < 150


@pytest.mark.parametrize("kind", ["black", "white", "gradient", "noise"])
def test_empty_frames_have_nobody(pipeline, kind):
    height, width = 270, 480
    images = {
        "black": np.zeros((height, width, 3)),
        "white": np.full((height, width, 3), 255),
        "gradient": np.tile(np.linspace(0, 255, width)[None, :, None], (height, 1, 3)),
        "noise": np.random.default_rng(0).integers(0, 256, (height, width, 3)),
    }

    assert len(people_on(pipeline, images[kind].astype(np.uint8))) == 0


def test_mirrored_picture_gives_mirrored_people(pipeline, examples):
    capture = cv2.VideoCapture(str(examples / "walkers.mp4"))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 100)  # everybody stands apart: in a crossing the networks may differ
    image = np.ascontiguousarray(capture.read()[1][..., ::-1])

    plain, mirrored = people_on(pipeline, image), people_on(pipeline, np.ascontiguousarray(image[:, ::-1]))

    back = mirrored[:, list(MIRROR)] * torch.tensor([-1.0, 1.0]) + torch.tensor([image.shape[1] - 1.0, 0.0])
    plain, back = plain[:, :_KNEES], back[:, :_KNEES]  # of legs seen from the side, which is the left is a guess
    distances = torch.cdist(plain.flatten(1), back.flatten(1)).amin(dim=1) / _KNEES**0.5  # root mean square, pixels
    assert len(plain) == len(mirrored) == 3
    assert float(distances.median()) < 15


def test_refiner_on_photos_with_true_boxes(pipeline, shared_data):
    truth = load_ground_truth(shared_data / "coco" / "person_keypoints_dev.json")
    truth = truth.select({image["id"] for image in truth.images[:120]})

    report, _ = evaluate_true_boxes(truth, shared_data / "coco" / "dev", pipeline.refiner, batch=32)

    assert report.scores.ap >= 0.30


def test_few_people_on_photos_without_any(pipeline, shared_data):
    paths = picture_paths(shared_data / "negatives", hold_out=True, held_out=True)[::3]

    haunted = [path.name for path in paths if len(people_on(pipeline, read_image(path).numpy()))]

    assert len(haunted) <= 0.08 * len(paths), haunted
