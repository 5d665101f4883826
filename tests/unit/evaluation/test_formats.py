"""Ground truths of other data sets, in the exact layout of their public files."""

import copy
import json
import math

import numpy as np
import pytest

from coco_people import make_dataset, make_results, raw_coco_stats
from posecli.errors import InputError
from posecli.evaluation import (
    breakdown,
    check_ground_truth,
    check_results,
    keypoint_scores,
    load_ground_truth,
    pack,
    score,
)
from posecli.evaluation.formats import FORMATS, detect
from posecli.evaluation.layouts import AIC, COCO, CROWDPOSE, LAYOUTS, MPII
from posecli.evaluation.results import load_results_lists
from posecli.skeleton import KEYPOINTS, MIRROR

OCHUMAN_NAMES = [
    "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist", "right_hip",
    "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "head", "neck", "right_ear", "left_ear", "nose",
    "right_eye", "left_eye",
]  # fmt: skip


CROWDPOSE_SIGMAS = [
    0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079,
]  # fmt: skip


def triplets(count, state=1, start=100):
    """x, y and the same state for `count` keypoints down a line."""
    return [value for k in range(count) for value in (start + k, start + 10 * k, state)]


def ochuman():
    people = [
        {"bbox": [90, 90, 130, 300], "keypoints": triplets(19), "max_iou": 0.62, "segms": {"outer": []}},
        {"bbox": [0, 0, 50, 60], "keypoints": None, "max_iou": 0.1, "segms": None},
    ]
    people[0]["keypoints"][2], people[0]["keypoints"][5], people[0]["keypoints"][8] = 3, 2, 0
    image = {"image_id": "000123", "file_name": "000123.jpg", "width": 640, "height": 480, "annotations": people}
    visible = {"missing": 0, "vis": 1, "self_occluded": 2, "others_occluded": 3}
    return {"keypoint_names": OCHUMAN_NAMES, "keypoint_visible": visible, "images": [image]}


def crowdpose():
    images = [
        {"id": i, "file_name": f"{i}.jpg", "width": 9, "height": 9, "crowdIndex": c} for i, c in ((7, 0), (8, 0.9))
    ]
    annotations = [
        {
            "id": i, "image_id": image_id, "category_id": 1, "bbox": [90, 90, 40, 200], "iscrowd": 0,
            "keypoints": triplets(14, 2), "num_keypoints": 14,
        }
        for i, image_id in ((1, 7), (2, 8))
    ]  # fmt: skip
    category = {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(CROWDPOSE.keypoints)}
    return {"images": images, "annotations": annotations, "categories": [category]}


def aic():
    people = {"human1": triplets(14), "human2": triplets(14, 3)}
    people["human1"][2], people["human1"][5] = 2, 3
    boxes = {"human1": [90, 90, 130, 290], "human2": [1, 2, 3, 4]}
    entry = {"image_id": "d8eeddddcc04", "url": "http://x", "human_annotations": boxes, "keypoint_annotations": people}
    return [entry, copy.deepcopy(entry) | {"image_id": "0b1c"}]


def mpii():
    entry = {
        "image": "015601864.jpg", "center": [594.0, 257.0], "scale": 3.021,
        "joints": [[101 + k, 101 + 10 * k] for k in range(16)], "joints_vis": [1] * 16,
    }  # fmt: skip
    hidden = copy.deepcopy(entry)
    hidden["joints"] = [[x + 300, y] for x, y in hidden["joints"]]
    hidden["joints_vis"][0] = 0
    return [entry, hidden, entry | {"image": "000000005.jpg", "head_box": [0, 0, 30, 40]}]


FILES = {"ochuman": ochuman, "crowdpose": crowdpose, "aic": aic, "mpii": mpii, "coco": make_dataset}


def poses_of(truth):
    """The labelled people themselves, as results."""
    return [
        {"image_id": a["image_id"], "category_id": 1, "keypoints": [*a["keypoints"]], "score": 0.5}
        for a in truth.annotations
        if a["num_keypoints"]
    ]


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_known_by_its_shape_and_left_as_it_is(tmp_path, name):
    data = FILES[name]()
    before = copy.deepcopy(data)
    (tmp_path / "gt.json").write_text(json.dumps(data))

    assert detect(data) == name
    truth = check_ground_truth(data, name="gt.json")
    assert data == before
    assert load_ground_truth(tmp_path / "gt.json", name) == check_ground_truth(before, name=str(tmp_path / "gt.json"))
    assert set(FORMATS) == set(FILES)
    assert len(truth.layout) == {"crowdpose": 14, "aic": 14, "mpii": 16}.get(name, 17)


@pytest.mark.parametrize("name", FILES)
def test_its_own_people_score_one_in_their_own_keypoints_and_in_cocos(name):
    truth = check_ground_truth(FILES[name](), name="gt.json")
    shared = truth.in_coco_order()

    for ground_truth in (truth, shared):
        scores = keypoint_scores(ground_truth, check_results(poses_of(ground_truth), ground_truth))
        assert scores.ap == pytest.approx(1)
    assert (shared is truth) == (truth.layout is COCO)


@pytest.mark.parametrize("name", [name for name in FILES if name != "coco"])
def test_another_format_than_asked_for_is_refused(name):
    with pytest.raises(InputError, match=r"gt\.json"):
        check_ground_truth(make_dataset(), name="gt.json", gt_format=name)


def test_layouts_have_a_sigma_a_keypoint_and_mirror_twice_is_nothing():
    for layout in LAYOUTS:
        assert len(layout.keypoints) == len(layout.oks_sigmas) == len(set(layout.keypoints))
        assert [layout.mirror[other] for other in layout.mirror] == list(range(len(layout)))
        assert layout.oks_sigmas == tuple(layout.oks_sigmas[other] for other in layout.mirror) or layout is AIC
    assert COCO.mirror == MIRROR
    assert [CROWDPOSE.keypoints[k] for k in (0, 5, 12, 13)] == ["left_shoulder", "right_wrist", "head", "neck"]
    assert [AIC.keypoints[k] for k in (0, 2, 3, 8, 11)] == [
        "right_shoulder", "right_wrist", "left_shoulder", "right_ankle", "left_ankle",
    ]  # fmt: skip
    assert [MPII.keypoints[k] for k in (0, 2, 3, 5, 9, 10, 12, 15)] == [
        "right_ankle", "right_hip", "left_hip", "left_ankle", "head_top", "right_wrist", "right_shoulder", "left_wrist",
    ]  # fmt: skip


def test_ochumans_keypoints_are_put_in_cocos_order_with_cocos_visibility():
    truth = check_ground_truth(ochuman(), name="gt.json")
    person, without = truth.annotations

    def keypoint(name):
        k = KEYPOINTS.index(name)
        return person["keypoints"][3 * k : 3 * k + 3]

    assert truth.images[0]["id"] == person["image_id"] == 123
    assert keypoint("nose") == [116, 260, 2]
    assert keypoint("right_shoulder") == [100, 100, 1]  # hidden by others
    assert keypoint("right_elbow")[2] == 2  # hidden by oneself
    assert keypoint("right_wrist") == [0, 0, 0]
    assert (person["bbox"], person["area"], person["max_iou"]) == ([90, 90, 40, 210], 40 * 210, 0.62)
    assert (person["num_keypoints"], without["num_keypoints"]) == (16, 0)


def test_ochumans_own_overlap_chooses_the_band():
    truth = check_ground_truth(ochuman(), name="gt.json")

    (group,) = breakdown(score(pack(truth, check_results(poses_of(truth), truth)))).by_crowding

    assert group.name == ".5 to .75"


def test_crowdposes_area_is_its_tools_share_of_the_box_and_agrees_with_pycocotools(monkeypatch):
    data = crowdpose()
    random = np.random.default_rng(0)
    truth = check_ground_truth(data, name="gt.json")
    poses = [
        pose | {"score": 0.9 - 0.1 * k, "keypoints": (np.array(pose["keypoints"]) + random.normal(0, 2, 42)).tolist()}
        for k, pose in enumerate(poses_of(truth) * 3)
    ]
    for annotation in data["annotations"]:
        annotation["area"] = 0.53 * 40 * 200
    from pycocotools import cocoeval

    params = cocoeval.Params.setKpParams

    def with_sigmas(self):
        params(self)
        self.kpt_oks_sigmas = np.array(CROWDPOSE_SIGMAS)

    monkeypatch.setattr(cocoeval.Params, "setKpParams", with_sigmas)

    assert keypoint_scores(truth, check_results(poses, truth)).ap == pytest.approx(
        raw_coco_stats(data, poses)[0], abs=1e-9
    )
    assert {a["area"] for a in truth.annotations} == {0.53 * 40 * 200}


def test_coco_poses_are_scored_on_the_keypoints_they_share(tmp_path):
    truth = check_ground_truth(crowdpose(), name="gt.json")
    (tmp_path / "own.json").write_text(json.dumps(poses_of(truth)))
    (tmp_path / "coco.json").write_text(json.dumps(poses_of(truth.in_coco_order())))
    (tmp_path / "none.json").write_text("[]")

    own, _ = load_results_lists([tmp_path / "own.json"], truth)
    shared, (results,) = load_results_lists([tmp_path / "coco.json"], truth)
    nobody, _ = load_results_lists([tmp_path / "none.json"], truth)

    assert own is nobody is truth
    assert shared.annotations[0]["num_keypoints"] == 12
    assert shared.notes[-1].endswith("without head, neck; not comparable with published crowdpose scores")
    assert keypoint_scores(shared, results).ap == pytest.approx(1)
    with pytest.raises(InputError, match=r"own\.json: \[0\]: keypoints has 42 numbers, wanted 51"):
        load_results_lists([tmp_path / "coco.json", tmp_path / "own.json"], truth)


def test_aics_states_boxes_and_names_are_brought_into_cocos_shape():
    truth = check_ground_truth(aic(), name="gt.json")
    first, outside = truth.annotations[:2]

    assert [(image["id"], image["file_name"]) for image in truth.images] == [(1, "d8eeddddcc04.jpg"), (2, "0b1c.jpg")]
    assert first["keypoints"][:9] == [100, 100, 1, 0, 0, 0, 102, 120, 2]  # hidden, not in the picture, seen
    assert (first["bbox"], first["area"], first["num_keypoints"]) == ([90, 90, 40, 200], 8000, 13)
    assert outside["num_keypoints"] == 0
    shared = truth.in_coco_order()
    left_shoulder, place = KEYPOINTS.index("left_shoulder"), AIC.keypoints.index("left_shoulder")
    assert shared.layout.oks_sigmas[left_shoulder] == AIC.oks_sigmas[place]
    assert shared.annotations[0]["keypoints"][3 * left_shoulder :][:2] == [103, 130]


def test_mpiis_pixels_count_from_zero_and_people_share_their_picture():
    truth = check_ground_truth(mpii(), name="gt.json")
    first, hidden, boxed = truth.annotations

    assert [(image["id"], image["file_name"]) for image in truth.images] == [
        (15601864, "015601864.jpg"),
        (5, "000000005.jpg"),
    ]
    assert first["image_id"] == hidden["image_id"] == 15601864
    assert first["keypoints"][:6] == [100, 100, 2, 101, 110, 2]
    assert hidden["keypoints"][:3] == [0, 0, 0]
    side = 3.021 * 200
    assert first["bbox"] == pytest.approx([593 - side / 2, 256 - side / 2, side, side])
    assert first["area"] == pytest.approx(0.53 * 15 * 150)
    assert (first["head_size"], boxed["head_size"]) == (pytest.approx(math.hypot(1, 10)), pytest.approx(0.6 * 50))
    assert "2 people have no head_box" in truth.notes[1]


def test_pck_of_mpii_is_in_heads():
    truth = check_ground_truth(mpii()[2:], name="gt.json")  # head size 30
    poses = poses_of(truth)
    for k, distance in ((0, 2.9), (1, 3.1), (2, 14.9), (3, 15.1)):
        poses[0]["keypoints"][3 * k] += distance

    pck = breakdown(score(pack(truth, check_results(poses, truth)))).pck

    assert pck.normaliser.startswith("head size (PCKh")
    assert pck.at == {"0.1": 13 / 16, "0.5": 15 / 16}


@pytest.mark.parametrize(
    ("make", "spoil", "message"),
    [
        (ochuman, lambda d: d.update(keypoint_names=["nose"]), "keypoint_names has no left_eye"),
        (ochuman, lambda d: d.update(keypoint_names=None), "keypoint_names has null"),
        (ochuman, lambda d: d["images"].append(3), r"images\[1\]: 3, wanted a JSON object"),
        (ochuman, lambda d: d["images"][0].update(annotations={}), r"images\[0\]: annotations is a JSON object"),
        (ochuman, lambda d: d["images"][0]["annotations"][0].pop("max_iou"), r"annotations\[0\]: no max_iou"),
        (ochuman, lambda d: d["images"][0]["annotations"][0]["keypoints"].pop(), "has 56 numbers, wanted 57"),
        (ochuman, lambda d: d["images"][0]["annotations"][1].update(bbox=[9, 9, 1, 1]), "negative side"),
        (crowdpose, lambda d: d["images"][1].update(crowdIndex="x"), r'images\[1\]: crowdIndex is "x"'),
        (crowdpose, lambda d: d["images"][1].update(crowdIndex=1.5), r"crowdIndex is 1\.5, wanted 0 to 1"),
        (crowdpose, lambda d: d["annotations"][1].update(bbox=[1, 2, "3", 4]), r'bbox\[2\] is "3"'),
        (crowdpose, lambda d: d["annotations"].append(None), r"annotations\[2\]: null, wanted a JSON object"),
        (crowdpose, lambda d: d["categories"][0].update(keypoints=["a"] * 17), "17 keypoints, wanted crowdpose 14"),
        (aic, lambda d: d[1].update(human_annotations=[]), r"\[1\]\.human_annotations: a list"),
        (aic, lambda d: d[1]["human_annotations"].pop("human2"), r"\[1\]: no human2, wanted 4 numbers"),
        (aic, lambda d: d[1].update(image_id=7), r"\[1\]: image_id is 7, wanted a text"),
        (aic, lambda d: d[0]["keypoint_annotations"]["human1"].__setitem__(4, math.nan), r"human1\[4\] is NaN"),
        (mpii, lambda d: d[1]["joints"].pop(), r"\[1\]: 15 joints and 16 joints_vis, wanted 16 each"),
        (mpii, lambda d: d[1]["joints"].__setitem__(3, [1]), r"\[1\]: joint 3: joints has 1 numbers, wanted 2"),
        (mpii, lambda d: d[1].update(joints_vis=[2] * 16), r"\[1\]: joints_vis has 2, wanted 0 or 1"),
        (mpii, lambda d: d[1].update(scale=0), r"\[1\]: scale is 0, wanted a person's height"),
        (mpii, lambda d: d[1].update(image=None), r"\[1\]: image is null, wanted a text"),
    ],
)
def test_a_bad_record_is_named(make, spoil, message):
    data = make()
    spoil(data)

    with pytest.raises(InputError, match=r"gt\.json.*" + message) as caught:
        check_ground_truth(data, name="gt.json", gt_format=make.__name__)
    assert caught.value.exit_code == 4


def test_ids_that_are_not_all_numbers_or_not_all_different_are_counted():
    data = mpii()
    data[0]["image"], data[1]["image"], data[2]["image"] = "07.jpg", "7.jpg", "x/²²³.jpg"

    assert [image["id"] for image in check_ground_truth(data, name="gt.json").images] == [1, 2, 3]


def test_results_of_coco_people_do_not_care_for_the_format_given():
    dataset = make_dataset()
    poses = make_results(dataset, noise=0.05)
    by_shape, by_name = (check_ground_truth(dataset, name="gt.json", gt_format=name) for name in ("auto", "coco"))

    assert keypoint_scores(by_shape, check_results(poses, by_shape)) == keypoint_scores(
        by_name, check_results(poses, by_name)
    )
