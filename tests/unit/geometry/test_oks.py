import math

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posecli.geometry.oks import fuse, oks_nms, pairwise_oks, pose_similarity, soft_oks_nms
from posecli.skeleton import OKS_SIGMAS

SIGMAS = torch.tensor(OKS_SIGMAS, dtype=torch.float64)


def random_people(count, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = torch.rand(17, 2, generator=torch.Generator().manual_seed(9), dtype=torch.float64) * 100
    keypoints = shape + torch.randn(count, 17, 2, generator=generator, dtype=torch.float64) * 15
    visible = torch.randint(0, 3, (count, 17), generator=generator)
    visible[:, 0] = 2
    return keypoints, visible, 2000 + torch.rand(count, generator=generator, dtype=torch.float64) * 8000


def coco_oks(truth, visible, area, predicted, capsys):
    people = [
        {
            "id": index + 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": float(area[index]),
            "bbox": [0.0, 0.0, 100.0, 100.0], "num_keypoints": int((visible[index] > 0).sum()),
            "keypoints": torch.cat((truth[index], visible[index][:, None]), dim=1).flatten().tolist(),
        }
        for index in range(len(truth))
    ]  # fmt: skip
    gt = COCO()
    gt.dataset = {"images": [{"id": 1}], "categories": [{"id": 1, "name": "person"}], "annotations": people}
    gt.createIndex()
    score = torch.ones(17, 1, dtype=torch.float64)
    results = [
        {"image_id": 1, "category_id": 1, "score": 1 - index / 100,
         "keypoints": torch.cat((points, score), dim=1).flatten().tolist()}
        for index, points in enumerate(predicted)
    ]  # fmt: skip
    evaluation = COCOeval(gt, gt.loadRes(results), "keypoints")
    evaluation.params.imgIds, evaluation.params.catIds = [1], [1]
    evaluation._prepare()
    capsys.readouterr()
    return torch.from_numpy(np.asarray(evaluation.computeOks(1, 1))).T


def test_oks_is_pycocotools(capsys):
    truth, visible, area = random_people(6, seed=0)
    predicted, _, _ = random_people(8, seed=1)

    actual = pairwise_oks(truth, predicted, visible=visible > 0, area=area, sigmas=SIGMAS)

    expected = coco_oks(truth, visible, area, predicted, capsys)
    assert expected.shape == (6, 8)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


def test_a_pose_is_like_itself_and_unlike_one_without_visible_keypoints():
    truth, _, area = random_people(3, seed=0)
    visible = torch.ones(3, 17, dtype=torch.bool)
    visible[2] = False

    oks = pairwise_oks(truth, truth, visible=visible, area=area, sigmas=SIGMAS)

    torch.testing.assert_close(oks.diagonal(), torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))


def alike(keypoints, area, one, other):
    """What two poses have in common, by the formula, one keypoint at a time."""
    total = 0.0
    for size in (area[one], area[other]):
        for index, sigma in enumerate(OKS_SIGMAS):
            squared = sum(float(step) ** 2 for step in keypoints[one, index] - keypoints[other, index])
            total += math.exp(-squared / (2 * float(size) * (2 * sigma) ** 2)) / 17
    return total / 2


def crowd(count=30, seed=3):
    """Poses in a few heaps, so that every threshold finds doubles, and their random scores."""
    centres, _, area = random_people(6, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(count, 1, 1, generator=generator) * 8
    owner = torch.randint(0, 6, (count,), generator=generator)
    keypoints = centres[owner] + torch.randn(count, 17, 2, generator=generator, dtype=torch.float64) * spread
    return keypoints, torch.rand(count, generator=generator, dtype=torch.float64), area[owner]


def test_pose_similarity_agrees_with_a_slow_loop():
    keypoints, _, area = crowd(8)

    similarity = pose_similarity(keypoints, area=area, sigmas=SIGMAS)

    expected = [[alike(keypoints, area, one, other) for other in range(8)] for one in range(8)]
    torch.testing.assert_close(similarity, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("max_oks", [0.0, 0.3, 0.6, 0.9, 1.0])
def test_oks_nms_agrees_with_a_slow_loop(max_oks):
    keypoints, scores, area = crowd()

    kept, owners = oks_nms(pose_similarity(keypoints, area=area, sigmas=SIGMAS), scores, max_oks=max_oks)

    expected, expected_owner = [], {}
    for index in scores.argsort(descending=True).tolist():
        same = [better for better in expected if alike(keypoints, area, index, better) > max_oks]
        if not same:
            expected.append(index)
        expected_owner[index] = same[0] if same else index
    assert kept.tolist() == expected
    assert {index: expected[owner] for index, owner in enumerate(owners.tolist())} == expected_owner
    assert 1 < len(expected) < 30 or max_oks in {0.0, 1.0}


@pytest.mark.parametrize("sigma", [0.1, 0.5, 0.9])
def test_soft_oks_nms_agrees_with_a_slow_loop(sigma):
    keypoints, scores, area = crowd()

    lowered = soft_oks_nms(pose_similarity(keypoints, area=area, sigmas=SIGMAS), scores, sigma=sigma)

    left = dict(enumerate(scores.tolist()))
    expected = [0.0] * 30
    while left:
        best = max(left, key=left.get)
        expected[best] = left.pop(best)
        for other in left:
            left[other] *= math.exp(-(alike(keypoints, area, best, other) ** 2) / sigma)
    torch.testing.assert_close(lowered, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (lowered <= scores).all()
    assert (lowered < scores).any()


@pytest.mark.parametrize("max_oks", [0.3, 0.6])
def test_fusion_agrees_with_the_papers_sum(max_oks):
    keypoints, scores, area = crowd()
    similarity = pose_similarity(keypoints, area=area, sigmas=SIGMAS)
    kept, owners = oks_nms(similarity, scores, max_oks=max_oks)

    fused = fuse(keypoints, similarity, kept, owners)

    for number, index in enumerate(kept.tolist()):
        total, weight = torch.zeros(17, 2, dtype=torch.float64), 0.0
        for other in range(30):
            if owners[other] == number:  # CCM Eq. (20)
                share = 1.0 if other == index else alike(keypoints, area, index, other)
                total, weight = total + share * keypoints[other], weight + share
        torch.testing.assert_close(fused[number], total / weight, rtol=0, atol=1e-9)


def test_fusion_is_nearer_to_the_truth_than_the_best_pose():
    truth, _, _ = random_people(1, seed=0)
    noise = torch.randn(40, 17, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    seen, area = truth + 4 * noise, torch.full((40,), 20000.0, dtype=torch.float64)
    similarity = pose_similarity(seen, area=area, sigmas=SIGMAS)
    kept, owners = oks_nms(similarity, torch.linspace(1, 0.5, 40, dtype=torch.float64), max_oks=0.3)

    fused = fuse(seen, similarity, kept, owners)

    assert len(kept) == 1
    assert float((fused - truth).norm(dim=-1).mean()) < 0.3 * float((seen[:1] - truth).norm(dim=-1).mean())


def test_nobody_stays_nobody():
    similarity = pose_similarity(torch.zeros(0, 17, 2), area=torch.zeros(0), sigmas=SIGMAS.float())

    kept, owners = oks_nms(similarity, torch.zeros(0), max_oks=0.9)

    assert similarity.shape == (0, 0)
    assert (kept.shape, owners.shape) == ((0,), (0,))
    assert soft_oks_nms(similarity, torch.zeros(0), sigma=0.9).shape == (0,)
    assert fuse(torch.zeros(0, 17, 2), similarity, kept, owners).shape == (0, 17, 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_says_the_same():
    keypoints, scores, area = crowd()
    similarity = pose_similarity(keypoints, area=area, sigmas=SIGMAS)
    there = pose_similarity(keypoints.to("cuda"), area=area.to("cuda"), sigmas=SIGMAS.to("cuda"))

    kept, owners = oks_nms(similarity, scores, max_oks=0.6)
    kept_there, owners_there = oks_nms(there, scores.to("cuda"), max_oks=0.6)

    torch.testing.assert_close(there.cpu(), similarity, rtol=0, atol=1e-6)
    assert (kept_there.tolist(), owners_there.tolist()) == (kept.tolist(), owners.tolist())
    fused = fuse(keypoints.to("cuda"), there, kept_there, owners_there).cpu()
    torch.testing.assert_close(fused, fuse(keypoints, similarity, kept, owners), rtol=0, atol=1e-6)
    lowered = soft_oks_nms(there, scores.to("cuda"), sigma=0.9).cpu()
    torch.testing.assert_close(lowered, soft_oks_nms(similarity, scores, sigma=0.9), rtol=0, atol=1e-6)
