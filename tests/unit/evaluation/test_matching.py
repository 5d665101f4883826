"""The matching and its curves, against pycocotools on everything that is odd."""

import copy

import numpy as np
import pytest

from coco_people import make_dataset, make_results, raw_coco_stats
from posecli.evaluation import check_ground_truth, check_results, coco_scores, pack, score
from posecli.evaluation.matching import NOBODY, match
from posecli.evaluation.packing import pair_up


def odd_dataset(seed):
    """Crowds, people without keypoints or of no size, ids in no order, an image without anybody."""
    random = np.random.default_rng(seed)
    dataset = make_dataset(num_images=15, people=6, seed=seed)
    for annotation in dataset["annotations"]:
        if random.random() < 0.15:
            annotation.update(iscrowd=1)
        if random.random() < 0.15:
            annotation.update(num_keypoints=0, keypoints=[0] * 51)
        if random.random() < 0.05:
            annotation["area"] = 0.0
    random.shuffle(dataset["images"])
    dataset["annotations"] = [a for a in dataset["annotations"] if a["image_id"] != 3]
    return dataset


def odd_results(dataset, seed):
    """Several poses a person, more than twenty on some images, equal scores, exact copies, poses of one point."""
    random = np.random.default_rng(seed)
    poses = [pose for noise in (0.01, 0.03, 0.05, 0.1, 0.3) for pose in make_results(dataset, noise=noise, seed=seed)]
    for pose in poses:
        pose["score"] = round(pose["score"], 1)
    poses += copy.deepcopy(poses[:20])
    poses += [poses[0] | {"image_id": image_id, "score": 0.5, "keypoints": [20.0] * 51} for image_id in (3, 4, 5)]
    random.shuffle(poses)
    return poses


@pytest.mark.parametrize("seed", range(6))
def test_all_ten_numbers_are_those_of_pycocotools(seed):
    dataset = odd_dataset(seed)
    poses = odd_results(dataset, seed)
    truth = check_ground_truth(dataset, name="gt.json")

    scores = coco_scores(score(pack(truth, check_results(poses, truth))), num_results=len(poses))

    ours = [-1 if value is None else value for value in list(scores.as_dict().values())[:10]]
    np.testing.assert_allclose(ours, raw_coco_stats(dataset, poses), rtol=0, atol=1e-12)


@pytest.mark.parametrize("keep", ["visible", "hidden", 0, 7, 16])
def test_some_keypoints_only_is_pycocotools_with_the_others_unlabelled(keep):
    dataset = odd_dataset(7)
    poses = odd_results(dataset, 7)
    truth = check_ground_truth(dataset, name="gt.json")
    packed = pack(truth, check_results(poses, truth))
    reduced = copy.deepcopy(dataset)
    for annotation in reduced["annotations"]:
        triplets = np.array(annotation["keypoints"]).reshape(17, 3)
        kept = triplets[:, 2] == {"visible": 2, "hidden": 1}.get(keep)
        if isinstance(keep, int):
            kept = (triplets[:, 2] > 0) & (np.arange(17) == keep)
        triplets[~kept] = 0
        annotation.update(keypoints=triplets.ravel().tolist(), num_keypoints=int(kept.sum()))
    visibility = packed.people.visibility
    labelled = visibility == {"visible": 2, "hidden": 1}.get(keep)
    if isinstance(keep, int):
        labelled[:, keep] = visibility[:, keep] > 0

    found = score(packed, labelled).curves

    expected = raw_coco_stats(reduced, poses)
    np.testing.assert_allclose((found.ap, found.ar), expected[[0, 5]], rtol=0, atol=1e-9)


def matched(similarity, counted, *, crowd=None, threshold=0.5):
    """Match the poses of one image, rows of `similarity`, with its people, columns."""
    similarity = np.array(similarity)
    num_poses, num_people = similarity.shape
    image = np.zeros(num_poses, dtype=int)
    pairs = pair_up(image, np.zeros(num_people, dtype=int), 1)
    crowd = np.zeros(num_people, dtype=bool) if crowd is None else np.array(crowd)
    (person,) = match(
        similarity.ravel(), pairs, image, counted=np.array(counted), crowd=crowd, thresholds=np.array([threshold])
    )
    return person.tolist()


def test_of_equal_people_the_last_is_found_first():
    assert matched([[0.7, 0.7], [0.7, 0.7], [0.9, 0.9]], [True, True]) == [1, 0, NOBODY]


def test_people_who_do_not_count_are_found_last_and_crowds_again_and_again():
    similarity = [[0.6, 0.9], [0.8, 0.9], [0.8, 0.9]]

    assert matched(similarity, [True, False]) == [0, 1, NOBODY]
    assert matched(similarity, [True, False], crowd=[False, True]) == [0, 1, 1]


def test_a_similarity_of_one_reaches_every_threshold():
    assert matched([[1.0]], [True], threshold=1.0) == [0]


def test_pairs_are_those_of_the_same_image():
    pairs = pair_up(np.array([0, 0, 2]), np.array([0, 1, 2, 2]), 3)

    assert (pairs.pose.tolist(), pairs.person.tolist()) == ([0, 1, 2, 2], [0, 0, 2, 3])
