"""Made-up people in COCO's shape, and what raw pycocotools says of them."""

import contextlib
import copy
import io
import json
import math

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posecli.skeleton import COCO_SKELETON, KEYPOINTS


def make_dataset(num_images=12, people=3, seed=0):
    """Images of 640 x 480 with people of 24 to 200 pixels, some hidden points, one person without keypoints each."""
    random = np.random.default_rng(seed)
    annotations = []
    for image_id in range(1, num_images + 1):
        for person in range(people):
            side = random.uniform(24, 200)
            corner = random.uniform(0, 240, 2) + person * 20
            points = corner + random.uniform(0, side, (17, 2))
            visibility = random.choice([0, 1, 2], 17) if person else np.zeros(17, dtype=int)
            triplets = np.concatenate((points * (visibility > 0)[:, None], visibility[:, None]), axis=1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "bbox": [*corner.tolist(), side, side],
                    "area": side * side * 0.5,
                    "iscrowd": 0,
                    "num_keypoints": int((visibility > 0).sum()),
                    "keypoints": triplets.ravel().tolist(),
                }
            )
    category = {"id": 1, "name": "person", "keypoints": list(KEYPOINTS), "skeleton": [list(e) for e in COCO_SKELETON]}
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(1, num_images + 1)]
    return {"images": images, "annotations": annotations, "categories": [category]}


def make_results(dataset, noise=0.0, seed=1):
    """The labelled people moved by `noise` times their size, each with a random score."""
    random = np.random.default_rng(seed)
    poses = []
    for annotation in dataset["annotations"]:
        if annotation["num_keypoints"]:
            triplets = np.array(annotation["keypoints"]).reshape(17, 3)
            triplets[:, :2] += random.normal(0, noise * math.sqrt(annotation["area"]), (17, 2)) if noise else 0
            poses.append(
                {
                    "image_id": annotation["image_id"],
                    "category_id": 1,
                    "keypoints": triplets.ravel().tolist(),
                    "score": float(random.uniform(0.1, 1)),
                }
            )
    return poses


def raw_coco_stats(dataset, poses, kind="keypoints"):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(dataset)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(poses)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def write(path, value):
    path.write_text(json.dumps(value))
    return path


def without(key):
    return lambda record: record.pop(key)


def put(key, value):
    return lambda record: record.update({key: value})


def put_keypoint(index, value):
    return lambda record: record["keypoints"].__setitem__(index, value)
