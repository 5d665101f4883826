"""Disturbed poses: which mistakes, how often, and how far off."""

from __future__ import annotations

import torch

from posecli.skeleton import KEYPOINTS, MIRROR
from posecli.training.disturb import TruePoses, disturb, mistake_rates, oks_distance


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


def test_mistakes_happen_as_often_as_they_should():
    people = poses(4000)
    wanted = mistake_rates(people)[0]

    found = disturb(people, torch.Generator().manual_seed(1))

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
