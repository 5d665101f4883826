"""People stay where they are shown, whatever is done to their pictures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from posecli.config import DatasetConfig, TrainConfig
from posecli.errors import ConfigError
from posecli.geometry.affine import crop_matrices
from posecli.networks import get_spec
from posecli.skeleton import MIRROR
from posecli.training.augment import PictureAugment
from posecli.training.samples import Canvases, Pictures
from posecli.training.tasks import ProposerTask, make_task
from posecli.training.views import copy_paste, draw_views, draw_windows, mosaic, show

SIZE = 128
HW = (64, 96)
STILL = PictureAugment(flip=0.0, colour=0.0, grey=0.0)
PERSON, CROWD = 0, 1  # rows of every picture; the second is a crowd where there is one
SPOT = 7  # a keypoint that shows on the picture as a red square of nine pixels


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures_of(boxes, *, crowd=None, complete=None):
    """Make one grey picture a box: the person white, a keypoint red; None is a picture of nobody."""
    count = len(boxes)
    canvases = torch.full((count, 3, SIZE, SIZE), 64, dtype=torch.uint8)
    rows = torch.zeros(count, 2, 4)
    points = torch.zeros(count, 2, 17, 2)
    for number, box in enumerate(boxes):
        if box is None:
            continue
        left, top, right, bottom = box
        canvases[number, :, top:bottom, left:right] = 255
        x, y = (2 * left + right) // 3, (2 * top + bottom) // 3
        canvases[number, 1:, y - 4 : y + 5, x - 4 : x + 5] = 0
        rows[number, PERSON] = torch.tensor(box)
        points[number, PERSON] = torch.tensor((x, y))
    for number, box in (crowd or {}).items():
        rows[number, CROWD] = torch.tensor(box)
    there = torch.tensor([box is not None for box in boxes])
    is_crowd = torch.tensor([number in (crowd or {}) for number in range(count)])
    weights = torch.zeros(count, 2, 17)
    weights[:, PERSON, SPOT] = there.float()
    return Pictures(
        canvases=Canvases(canvases),
        sizes_wh=torch.full((count, 2), float(SIZE)),
        boxes=rows,
        valid=torch.stack((there, torch.zeros_like(there)), dim=1),
        crowd=torch.stack((torch.zeros_like(there), is_crowd), dim=1),
        points=points,
        weights=weights,
        complete=torch.ones(count, dtype=torch.bool) if complete is None else torch.tensor(complete),
        datasets=torch.zeros(count, dtype=torch.int64),
    )


def whole(count, hw=HW):
    """Matrices that show all of a canvas."""
    return crop_matrices(torch.tensor([[0.0, 0, SIZE, SIZE]]).repeat(count, 1), crop_hw=hw)


def assert_people_follow(views):
    """Every box holds white and red pixels alone, and every keypoint is red; some are too small to see."""
    seen = 0
    for image, boxes, valid, points, weights in zip(
        views.images, views.boxes, views.valid, views.points, views.weights, strict=True
    ):
        for box, person_points, person_weights in zip(boxes[valid], points[valid], weights[valid], strict=True):
            left, top, right, bottom = box.tolist()
            inner = image[0, int(top) + 2 : int(bottom) - 1, int(left) + 2 : int(right) - 1]
            assert float(inner.min()) > 0.9, "red and white are bright in the first channel"
            for (x, y), weight in zip(person_points.tolist(), person_weights.tolist(), strict=True):
                if weight and min(right - left, bottom - top) > 24:
                    assert float(image[1, round(y), round(x)]) < 0.5
                    seen += 1
    return seen


@pytest.mark.parametrize(
    "augment",
    [
        STILL,
        replace(STILL, flip=0.5),
        replace(STILL, large_jitter=1.0),
        replace(STILL, close_up=1.0, min_shown=0.1),
        replace(STILL, mosaic=1.0, flip=0.5),
        replace(STILL, mosaic=0.5, large_jitter=0.5),
    ],
    ids=["plain", "flip", "large_jitter", "close_up", "mosaic", "mixed"],
)
def test_boxes_and_keypoints_follow(augment):
    pictures = pictures_of([(20, 30, 80, 120), (40, 10, 120, 70), None, (5, 5, 100, 100)])

    views = draw_views(pictures, torch.arange(4).repeat(4), seeded(1), augment, (64, 64))

    assert views.images.shape == (16, 3, 64, 64)
    assert assert_people_follow(views) > 3
    assert bool(((views.boxes >= 0) & (views.boxes <= 64)).all())


def test_mirrored_people_exchange_left_and_right():
    pictures = pictures_of([(20, 30, 80, 120)])

    views = draw_views(pictures, torch.zeros(9, dtype=torch.int64), seeded(), replace(STILL, flip=1.0), (64, 64))

    labelled = views.weights[:, 0].sum(0)
    assert labelled[MIRROR[SPOT]] > 3
    assert labelled.sum() == labelled[MIRROR[SPOT]]


def test_a_default_batch_has_no_new_augmentation():
    pictures = pictures_of([(20, 30, 80, 120), None])
    index, off = torch.tensor([0, 1, 0]), PictureAugment()

    views = draw_views(pictures, index, seeded(), off, HW)

    matrices = draw_windows(pictures, index, seeded(), off, HW)
    plain = show(pictures, index, matrices, HW, min_shown=0.35)
    torch.testing.assert_close(views.images, plain.images)
    assert (off.large_jitter, off.close_up, off.mosaic, off.copy_paste) == (0, 0, 0, 0)


def test_large_jitter_shows_pictures_far_smaller_and_as_large():
    pictures = pictures_of([(20, 30, 80, 120)])
    index = torch.zeros(400, dtype=torch.int64)

    def sizes(rate):
        matrices = draw_windows(pictures, index, seeded(), replace(STILL, large_jitter=rate), (64, 64))
        return SIZE / (64 * matrices[:, 0, 0])

    usual, large = sizes(0.0), sizes(1.0)
    assert usual.min() > 0.73
    assert usual.max() < 2.12
    assert large.min() < 0.15
    assert 1.9 < large.max() <= 2.0
    assert large.mean() == pytest.approx(1.05, abs=0.06)


def test_a_close_up_cuts_somebody_and_needs_somebody():
    pictures = pictures_of([(20, 10, 80, 120), None])
    index = torch.tensor([0, 1]).repeat(20)

    views = draw_views(pictures, index, seeded(), replace(STILL, close_up=1.0, min_shown=0.1), (64, 64))

    box, valid = views.boxes[::2, 0], views.valid[::2, 0]
    assert int(valid.sum()) > 15
    cut = (box <= 0) | (box >= 64)
    assert bool(cut[valid].any(dim=1).all())
    assert int(cut[valid, 1].logical_and(cut[valid, 3]).sum()) > 5  # neither head nor legs
    assert not bool((views.valid | views.unknown)[1::2].any())


def test_people_cut_below_the_share_are_ignored():
    pictures = pictures_of([(0, 0, 100, 100)])
    third = crop_matrices(torch.tensor([[70.0, 0, 170, 100]]), crop_hw=(64, 64))  # 30 of its 100 columns
    none = crop_matrices(torch.tensor([[99.0, 0, 199, 100]]), crop_hw=(64, 64))
    index = torch.zeros(1, dtype=torch.int64)

    asked, ignored, gone = (
        show(pictures, index, matrices, (64, 64), min_shown=share)
        for matrices, share in ((third, 0.25), (third, 0.35), (none, 0.35))
    )

    assert (asked.valid[0, 0], asked.unknown[0, 0]) == (True, False)
    assert (ignored.valid[0, 0], ignored.unknown[0, 0]) == (False, True)
    assert (gone.valid[0, 0], gone.unknown[0, 0]) == (False, False)
    torch.testing.assert_close(asked.boxes[0, 0], torch.tensor([0.0, 0, 30 * 0.64, 64]))


def test_four_pictures_meet_at_a_point_and_people_end_there():
    boxes = [(0, 0, SIZE, SIZE)] * 4
    pictures = pictures_of(boxes)
    quarters = [(torch.full((5,), number), whole(5)) for number in range(4)]

    views = mosaic(pictures, quarters, seeded(), HW, min_shown=0.1)

    people = views.boxes[:, views.valid[0]]
    assert people.shape == (5, 4, 4)
    centre = people[:, 0, 2:]
    torch.testing.assert_close(centre, people[:, 3, :2])
    assert bool((centre > torch.tensor((28, 18))).all())
    assert bool((centre < torch.tensor((68, 46))).all())
    covered = (people[..., 2:] - people[..., :2]).prod(-1).sum(1)
    torch.testing.assert_close(covered, torch.full((5,), 64.0 * 96))  # they share the view, without a gap
    assert float(views.images[:, 0].min()) > 0.9
    assert bool(views.complete.all())


def test_quarters_of_nobody_hold_nobody_and_incomplete_ones_nothing_known():
    pictures = pictures_of([(0, 0, SIZE, SIZE), None, None, (30, 30, 90, 90)], complete=[True, True, False, True])
    quarters = [(torch.full((3,), number), whole(3)) for number in range(4)]

    views = mosaic(pictures, quarters, seeded(), HW, min_shown=0.1)

    assert views.valid.sum(1).tolist() == [2, 2, 2]
    assert views.unknown.sum(1).tolist() == [1, 1, 1]
    region = views.boxes[views.unknown]
    first = views.boxes[:, 0]  # the first picture fills the top left quarter
    torch.testing.assert_close(region[:, 1], first[:, 3])  # bottom left: below it
    torch.testing.assert_close(region[:, 2], first[:, 2])
    assert bool((region[:, 0] == 0).all())
    assert bool((region[:, 3] == HW[0]).all())
    assert bool(views.complete.all())


def test_crowds_stay_unknown_in_every_composition():
    pictures = pictures_of([(10, 10, 60, 60), (70, 70, 120, 120)], crowd={0: (64, 0, 128, 60)})
    index = torch.tensor([0, 1]).repeat(8)

    for augment in (replace(STILL, mosaic=1.0), replace(STILL, copy_paste=1.0), STILL):
        views = draw_views(pictures, index, seeded(2), augment, (64, 64))

        assert int(views.unknown.sum()) >= 8
        assert not bool((views.valid & views.unknown).any())


def views_of(boxes, **changes):
    pictures = pictures_of(boxes, **changes)
    return show(pictures, torch.arange(len(boxes)), whole(len(boxes), (128, 128)), (128, 128), min_shown=0.35)


def pasted(views, seed=0, rate=1.0):
    """Paste with a seed at which every able person is taken, if there is one."""
    receives = torch.full((len(views.boxes),), rate > 0)
    return copy_paste(views, receives, seeded(seed), min_shown=0.35)


def taken(views, row):
    return int(views.valid[row].sum())


def seed_that_pastes(views, row, wanted):
    return next(seed for seed in range(50) if taken(pasted(views, seed), row) == wanted)


def test_pasted_people_come_with_box_and_keypoint():
    views = views_of([(10, 60, 50, 120), (70, 10, 120, 80)])
    after = pasted(views, seed_that_pastes(views, 0, 2))

    assert assert_people_follow_loosely(after, 0)
    torch.testing.assert_close(after.boxes[0, after.valid[0]], torch.tensor([[10.0, 60, 50, 120], [70.0, 10, 120, 80]]))
    middle = after.images[0, :, 45, 95]
    torch.testing.assert_close(middle, views.images[1, :, 45, 95])
    corner = after.images[0, :, 10, 70]
    torch.testing.assert_close(corner, views.images[0, :, 10, 70])  # round corners
    assert after.weights[0, after.valid[0], SPOT].tolist() == [1, 1]


def assert_people_follow_loosely(views, row):
    """Box middles are white; pasted corners may be of the other picture."""
    for box in views.boxes[row, views.valid[row]]:
        x, y = ((box[:2] + box[2:]) / 2).int().tolist()
        assert float(views.images[row, 0, y, x]) > 0.9
    return True


def test_who_is_covered_is_ignored_and_hidden_keypoints_are_not_labelled():
    views = views_of([(40, 40, 80, 80), (20, 20, 110, 110)])
    after = next(after for seed in range(20) if (after := pasted(views, seed)).unknown[0].any())

    torch.testing.assert_close(after.boxes[0, after.valid[0]], torch.tensor([[20.0, 20, 110, 110]]))
    torch.testing.assert_close(after.boxes[0, after.unknown[0]], torch.tensor([[40.0, 40, 80, 80]]))
    assert float(after.weights[0, after.unknown[0]].sum()) == 0


def test_pictures_of_nobody_get_nobody():
    views = views_of([None, (20, 20, 110, 110)])

    for seed in range(20):
        after = pasted(views, seed)
        assert taken(after, 0) == 0
        torch.testing.assert_close(after.images[0], views.images[0])


def test_nobody_comes_from_a_crowd_or_an_incomplete_picture():
    crowded = views_of([(10, 60, 50, 120), (70, 10, 120, 80)], crowd={1: (60, 0, 128, 90)})
    incomplete = views_of([(10, 60, 50, 120), (70, 10, 120, 80)], complete=[True, False])

    assert {taken(pasted(crowded, seed), 0) for seed in range(20)} == {1}
    assert {taken(pasted(incomplete, seed), 0) for seed in range(20)} == {1}
    assert not bool(pasted(incomplete).complete[1])


def test_neighbours_who_come_along_in_part_are_unknown():
    views = views_of([(10, 60, 50, 120), (70, 10, 120, 80)])
    boxes = views.boxes.clone()
    boxes[1, 1] = torch.tensor((100.0, 10, 128, 80))
    views = replace(views, boxes=boxes, valid=views.valid | torch.tensor([[False, False], [False, True]]))

    found = [pasted(views, seed) for seed in range(40)]
    one = [after for after in found if taken(after, 0) == 2]

    assert one
    assert all(int(after.unknown[0].sum()) == 1 for after in one)
    assert any(taken(after, 0) == 3 and not bool(after.unknown[0].any()) for after in found)


def test_the_same_seed_gives_the_same_views():
    pictures = pictures_of([(20, 30, 80, 120), (40, 10, 120, 70), None])
    every = PictureAugment(large_jitter=0.5, close_up=0.3, mosaic=0.5, copy_paste=0.5)

    one, two = (draw_views(pictures, torch.tensor([0, 1, 2, 0]), seeded(5), every, (64, 64)) for _ in range(2))

    for name, value in one.labels().items():
        assert torch.equal(value, getattr(two, name)), name
    assert torch.equal(one.images, two.images)


def test_a_proposer_learns_from_what_is_put_together():
    task = ProposerTask(
        CONFIG,
        get_spec("detposenet-tiny"),
        pictures_of([(20, 30, 80, 120), (40, 10, 120, 70), None], complete=[True, False, True]),
        PictureAugment(large_jitter=0.5, close_up=0.3, mosaic=0.5, copy_paste=0.5),
        torch.device("cpu"),
    )
    batch = task.batch(torch.arange(3), seeded(), (64, 64))

    losses = task.losses(task.spec.build(), batch)

    assert set(losses) == {"score", "box", "heatmaps", "pafs"}
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())


CONFIG = TrainConfig(network="detposenet-tiny", datasets=(DatasetConfig(images="none"),))


def test_augmentations_belong_to_a_kind_of_network():
    spec, pictures = get_spec("detposenet-tiny"), pictures_of([(20, 30, 80, 120)])

    with pytest.raises(ConfigError, match="unknown augmentation 'half_body' of a proposer; choose from close_up"):
        make_task(replace(CONFIG, augment={"half_body": 0.3}), spec, pictures, torch.device("cpu"))
    with pytest.raises(ConfigError, match=r"mosaic must be in \[0, 1\], got 1.5"):
        make_task(replace(CONFIG, augment={"mosaic": 1.5}), spec, pictures, torch.device("cpu"))
    assert (
        make_task(replace(CONFIG, augment={"mosaic": 0.5}), spec, pictures, torch.device("cpu")).augment.mosaic == 0.5
    )
