import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posecli.geometry.oks import oks_nms, pairwise_oks
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


@pytest.mark.parametrize("max_oks", [0.0, 0.3, 0.9, 1.0])
def test_oks_nms_agrees_with_a_slow_loop(max_oks):
    keypoints, _, area = random_people(30, seed=3)
    scores = torch.rand(30, generator=torch.Generator().manual_seed(4))
    everything = torch.ones(1, 17, dtype=torch.bool)

    def alike(one, other):
        options = {"visible": everything, "sigmas": SIGMAS}
        pair = (keypoints[one][None], keypoints[other][None])
        return sum(float(pairwise_oks(*pair, area=area[index][None], **options)) for index in (one, other)) / 2

    expected = []
    for index in scores.argsort(descending=True).tolist():
        if all(alike(index, better) <= max_oks for better in expected):
            expected.append(index)

    assert oks_nms(keypoints, scores, area=area, sigmas=SIGMAS, max_oks=max_oks).tolist() == expected


def test_oks_nms_of_nobody_is_nobody():
    kept = oks_nms(torch.zeros(0, 17, 2), torch.zeros(0), area=torch.zeros(0), sigmas=SIGMAS.float(), max_oks=0.9)

    assert kept.shape == (0,)
