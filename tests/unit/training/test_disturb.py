"""Disturbed poses: which mistakes, how often, and how far off."""

from __future__ import annotations

import json

import pytest
import torch

from posecli.errors import InputError
from posecli.skeleton import KEYPOINTS, MIRROR
from posecli.training.disturb import (
    TruePoses,
    disturb,
    mistake_rates,
    oks_distance,
    possible_mistakes,
    read_mistakes,
)


def poses(count, *, labelled=None, near=True):
    """People of 100x200 pixels whose keypoints lie far apart, and others 1000 pixels beside them."""
    place = torch.arange(17.0)
    points = torch.stack((100 * place, 70 * place.flip(0)), dim=-1).expand(count, 17, 2)
    labels = torch.ones(count, 17, dtype=torch.bool) if labelled is None else labelled.expand(count, 17)
    others = labels & near
    return TruePoses(points, labels, points + 5000, others, torch.full((count,), 20_000.0))


def test_rates_are_those_of_the_official_code():
    few = torch.arange(17) < 10
    rates = mistake_rates(poses(1, labelled=few))[0]
    wrist, elbow = KEYPOINTS.index("left_wrist"), KEYPOINTS.index("left_elbow")

    # good, jitter, miss, inversion, swap; ten labelled keypoints, somebody near
    torch.testing.assert_close(rates[elbow], torch.tensor([0.47, 0.20, 0.15, 0.03, 0.15]))
    assert rates[wrist, 3] == 0  # the right wrist is not labelled
    assert rates[KEYPOINTS.index("nose"), 3] == 0
    alone = mistake_rates(poses(1, near=False))[0]
    torch.testing.assert_close(alone[KEYPOINTS.index("left_hip")], torch.tensor([0.64, 0.20, 0.10, 0.06, 0.0]))
    torch.testing.assert_close(alone[0], torch.tensor([0.88, 0.10, 0.02, 0.0, 0.0]))
    torch.testing.assert_close(rates.sum(-1), torch.ones(17))


MEASURED = {"good": 0.6, "jitter": 0.1, "inversion": 0.04, "swap": 0.06, "miss": 0.2}


def report_of(by_keypoint):
    return {"AP": 0.4, "breakdown": {"errors": {"num_keypoints": 9, "by_keypoint": by_keypoint}}}


def test_the_mistakes_of_a_refiner_are_read_from_its_evaluation(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report_of(dict.fromkeys(KEYPOINTS, MEASURED))))

    shares = read_mistakes(path)

    torch.testing.assert_close(shares, torch.tensor([0.1, 0.2, 0.04, 0.06]).expand(17, 4))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"AP": 0.4}, "breakdown is not there|breakdown: null"),
        (report_of({"nose": MEASURED}), "no left_eye"),
        (report_of({name: {**MEASURED, "miss": 0.9} for name in KEYPOINTS}), "not within 0 and 1"),
        (report_of({name: {**MEASURED, "swap": "often"} for name in KEYPOINTS}), 'swap is "often"'),
        ([], "a list, wanted a JSON object"),
    ],
)
def test_a_report_without_mistakes_is_refused(changed, said, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(changed))

    with pytest.raises(InputError, match=said):
        read_mistakes(path)


def test_rare_chances_are_taken_more_often():
    near = torch.zeros(4, 17, dtype=torch.bool)
    near[0] = True  # one of four people has somebody near
    labelled = torch.ones(4, 17, dtype=torch.bool)
    labelled[2:, KEYPOINTS.index("right_knee")] = False

    rates = possible_mistakes(torch.tensor([0.1, 0.2, 0.04, 0.06]).expand(17, 4), labelled, near)

    left_knee, wrist = KEYPOINTS.index("left_knee"), KEYPOINTS.index("left_wrist")
    torch.testing.assert_close(rates[wrist], torch.tensor([0.1, 0.2, 0.04, 0.24]))
    torch.testing.assert_close(rates[left_knee], torch.tensor([0.1, 0.2, 0.08, 0.24]))
    often = possible_mistakes(torch.tensor([0.4, 0.3, 0.1, 0.2]).expand(17, 4), labelled, near)
    torch.testing.assert_close(often.sum(1), torch.full((17,), 0.9))


@pytest.mark.parametrize("measured", [None, torch.tensor([0.25, 0.15, 0.12, 0.08]).expand(17, 4)])
def test_mistakes_happen_as_often_as_they_should(measured):
    people = poses(4000)
    wanted = mistake_rates(people, measured)[0]

    found = disturb(people, torch.Generator().manual_seed(1), measured)

    if measured is not None:
        torch.testing.assert_close(wanted[5], torch.tensor([0.4, 0.25, 0.15, 0.12, 0.08]))
    off = (found - people.points).norm(dim=-1)  # (N, K)
    far, middle, close = (oks_distance(oks, people.area) for oks in (0.1, 0.5, 0.85))
    mirrored = (found - people.points[:, list(MIRROR)]).norm(dim=-1) <= middle
    mirrored[:, 0] = False
    swapped = (found - people.near).norm(dim=-1) <= middle
    own = ~mirrored & ~swapped
    kinds = (
        off <= close,
        (off > close) & (off <= middle) & own,
        (off > middle) & (off <= far) & own,
        mirrored,
        swapped,
    )
    shares = torch.stack([kind.float().mean(0) for kind in kinds], dim=-1)
    torch.testing.assert_close(shares, wanted, rtol=0, atol=0.03)


def test_same_seed_same_poses_and_nothing_is_drawn_about_people_who_are_not_there():
    people = poses(200, near=False)

    first, second = (disturb(people, torch.Generator().manual_seed(3)) for _ in range(2))

    assert torch.equal(first, second)
    assert (first - people.near).norm(dim=-1).amin() > 1000
    assert first.isfinite().all()


def test_places_that_cannot_be_told_apart_leave_the_truth():
    people = poses(3)
    together = TruePoses(
        torch.full((3, 17, 2), 7.0), people.labelled, torch.full((3, 17, 2), 7.0), people.labelled, people.area
    )

    assert torch.equal(disturb(together, torch.Generator().manual_seed(0)), together.points)
