"""Synthetic frames: heatmaps and fields are drawn from known people, boxes are given."""

import math
from dataclasses import dataclass, replace

import pytest
import torch

from posecli.config import FilterConfig
from posecli.geometry import paf
from posecli.geometry.boxes import pairwise_iou
from posecli.geometry.heatmaps import HeatmapCodec
from posecli.records import CoarsePeaks, Proposals
from posecli.skeleton import EDGES, MIRROR
from posecli.stages.coarse_filter import filter_proposals, keypoints_to_boxes, suppress_boxes

IMAGE_WH = (416, 320)
STRIDE = 4
# A person who stands facing us, in fractions of the keypoints' box.
STANDING = torch.tensor(
    [
        (0.50, 0.03), (0.56, 0.00), (0.44, 0.00), (0.64, 0.02), (0.36, 0.02), (0.80, 0.18), (0.20, 0.18), (0.95, 0.35),
        (0.05, 0.35), (1.00, 0.50), (0.00, 0.50), (0.68, 0.52), (0.32, 0.52), (0.70, 0.75), (0.30, 0.75), (0.72, 1.00),
        (0.28, 1.00),
    ]
)  # fmt: skip


FACING_AWAY = STANDING[list(MIRROR)]


@dataclass(frozen=True)
class Maps:
    """What the proposal network answers."""

    heatmaps: torch.Tensor
    pafs: torch.Tensor
    map_scale: float

    def read(self):
        peaks, scores = paf.find_peaks(self.heatmaps, min_score=0.01, max_peaks=30)
        limbs = paf.find_limbs(peaks, scores, self.pafs, edges=EDGES)
        return CoarsePeaks(peaks.cpu(), scores.cpu(), limbs.cpu(), self.map_scale)


def person(left, top, width, height, shape=STANDING):
    return shape * torch.tensor([width, height]) + torch.tensor([left, top])


def box_of(keypoints):
    return keypoints_to_boxes(keypoints[None], torch.ones(1, 17, dtype=torch.bool), image_wh=IMAGE_WH)[0]


def frame(people, boxes, box_scores, *, found=None):
    """Draw `people`; `found` (N, 17) says which keypoints the coarse network saw."""
    map_hw = (IMAGE_WH[1] // STRIDE, IMAGE_WH[0] // STRIDE)
    if not people:
        heatmaps, pafs = torch.zeros(17, *map_hw), torch.zeros(2 * len(EDGES), *map_hw)
    else:
        keypoints = torch.stack(people)
        found = torch.ones(len(people), 17, dtype=torch.bool) if found is None else found
        codec = HeatmapCodec(stride=STRIDE, heatmap_sigma=1.5)
        drawn = codec.encode(keypoints, heatmap_hw=map_hw) * found[..., None, None]
        heatmaps = drawn.amax(dim=0)
        cells = codec.to_cells(keypoints, heatmap_hw=map_hw)
        pafs = paf.encode(cells[None], found[None], edges=EDGES, map_hw=map_hw)[0]
    boxes = torch.stack(boxes) if boxes else torch.zeros(0, 4)
    return Proposals(boxes, torch.tensor(box_scores), Maps(heatmaps, pafs, float(STRIDE)))


def run(proposals, **options):
    proposals = replace(proposals, coarse=proposals.coarse.read())
    return filter_proposals(proposals, FilterConfig(**options), image_wh=IMAGE_WH)


def reasons(candidates):
    return [rejection.reason for rejection in candidates.rejections]


def test_one_person_keeps_box_score_and_coarse_keypoints():
    keypoints = person(100, 40, 80, 200)

    candidates = run(frame([keypoints], [box_of(keypoints)], [0.9]))

    assert len(candidates) == 1
    assert candidates.origins == ("proposal",)
    torch.testing.assert_close(candidates.boxes[0], box_of(keypoints))
    assert candidates.box_scores.tolist() == pytest.approx([0.9])
    # eyes are 9.6 px = 2.4 cells apart but in different heatmaps; a quarter cell is 1 px
    torch.testing.assert_close(candidates.coarse_keypoints[0], keypoints, rtol=0, atol=1.0)
    assert (candidates.coarse_scores > 0.8).all()


def test_duplicate_boxes_collapse_to_the_best_one():
    keypoints = person(100, 40, 80, 200)
    box = box_of(keypoints)
    shifted = [box + torch.tensor([dx, dy, dx, dy]) for dx, dy in ((0, 0), (9, 4), (-15, 10), (20, -20))]

    candidates = run(frame([keypoints], shifted, [0.5, 0.8, 0.6, 0.3]))

    assert len(candidates) == 1
    torch.testing.assert_close(candidates.boxes[0], shifted[1])
    assert reasons(candidates) == ["same_pose"] * 3
    assert [rejection.num_keypoints for rejection in candidates.rejections] == [17] * 3


def test_half_body_box_is_the_same_pose_though_its_iou_is_low():
    keypoints = person(100, 40, 80, 200)
    half = box_of(keypoints)
    half[3] = 150.0

    candidates = run(frame([keypoints], [box_of(keypoints), half], [0.9, 0.8]))

    assert len(candidates) == 1
    assert reasons(candidates) == ["same_pose"]


def test_two_people_in_crossing_boxes_both_stay():
    one, other = person(100, 40, 90, 200), person(112, 46, 90, 200, FACING_AWAY)
    boxes = [box_of(one), box_of(other)]
    assert pairwise_iou(boxes[0][None], boxes[1][None]).item() > 0.7  # usual NMS would drop one

    candidates = run(frame([one, other], boxes, [0.9, 0.8]))

    assert len(candidates) == 2
    assert len(suppress_boxes(frame([one, other], boxes, [0.9, 0.8]), FilterConfig())) == 1
    for keypoints, coarse in zip((one, other), candidates.coarse_keypoints, strict=True):
        assert (keypoints - coarse).norm(dim=-1).median() < 2


def test_second_person_in_about_the_same_box_gets_a_box_of_its_own():
    one, other = person(100, 40, 90, 200), person(112, 46, 90, 200, FACING_AWAY)
    boxes = [box_of(one), box_of(other)]

    candidates = run(frame([one, other], boxes, [0.9, 0.8]))

    assert candidates.origins == ("proposal", "second_in_box")
    assert pairwise_iou(candidates.boxes[1:], box_of(other)[None]).item() > 0.9


def test_two_people_in_one_box_are_both_found():
    one, other = person(100, 40, 60, 200), person(180, 46, 60, 200)
    both = torch.cat((box_of(one)[:2], box_of(other)[2:]))

    candidates = run(frame([one, other], [both], [0.9]))

    assert sorted(candidates.origins) == ["proposal", "second_in_box"]
    found = candidates.coarse_keypoints.mean(dim=(1, 2)).sort().values
    expected = torch.stack([one.mean(), other.mean()])
    torch.testing.assert_close(found, expected, rtol=0, atol=2.0)


def test_unsure_box_without_keypoints_is_dropped_with_its_reason():
    keypoints = person(100, 40, 80, 200)
    nothing = torch.tensor([300.0, 100.0, 380.0, 300.0])

    candidates = run(frame([keypoints], [box_of(keypoints), nothing], [0.9, 0.25]))

    assert len(candidates) == 1
    (rejection,) = candidates.rejections
    assert (rejection.reason, rejection.num_keypoints) == ("too_few_keypoints", 0)
    assert rejection.box == pytest.approx((300, 100, 380, 300))
    assert rejection.box_score == pytest.approx(0.25)


def test_confident_box_stays_though_the_heatmaps_are_empty():
    boxes = [torch.tensor([300.0, 100.0, 330.0, 160.0]), torch.tensor([302.0, 101.0, 331.0, 162.0])]

    candidates = run(frame([], boxes, [0.9, 0.8]))

    assert len(candidates) == 1
    assert reasons(candidates) == ["same_pose"]
    assert (candidates.coarse_scores == 0).all()


def test_confident_threshold_of_one_is_the_papers_rule():
    candidates = run(frame([], [torch.tensor([300.0, 100.0, 330.0, 160.0])], [0.9]), confident_box_score=1.0)

    assert reasons(candidates) == ["too_few_keypoints"]


def test_person_without_box_is_recovered_from_keypoints():
    one, other = person(40, 40, 80, 200), person(240, 60, 80, 200)

    candidates = run(frame([one, other], [box_of(one)], [0.9]))

    assert sorted(candidates.origins) == ["bottom_up", "proposal"]
    recovered = candidates.origins.index("bottom_up")
    assert pairwise_iou(candidates.boxes[recovered][None], box_of(other)[None]).item() > 0.9
    weight = FilterConfig.recovered_weight
    assert 0.8 * weight < candidates.box_scores[recovered] <= weight


def test_too_few_connected_keypoints_recover_nobody():
    keypoints = person(240, 60, 80, 200)
    found = torch.zeros(1, 17, dtype=torch.bool)
    found[0, [5, 6, 7, 8, 9]] = True

    assert len(run(frame([keypoints], [], [], found=found))) == 0


def test_torn_off_legs_are_no_second_person():
    keypoints = person(100, 40, 80, 200)
    proposals = frame([keypoints], [box_of(keypoints)], [0.9])
    pafs = proposals.coarse.pafs.clone()
    waist = [channel for limb in (5, 6) for channel in (2 * limb, 2 * limb + 1)]
    pafs[waist] = 0

    candidates = run(replace(proposals, coarse=replace(proposals.coarse, pafs=pafs)), min_recovered_keypoints=3)

    assert candidates.origins == ("proposal",)


def test_half_seen_person_behind_a_whole_one_keeps_its_box():
    front, behind = person(100, 40, 80, 200), person(140, 30, 80, 200)
    found = torch.ones(2, 17, dtype=torch.bool)
    found[1, 11:] = False  # the upper body only

    candidates = run(frame([front, behind], [box_of(front), box_of(behind)], [0.9, 0.8], found=found))

    assert len(candidates) == 2
    torch.testing.assert_close(candidates.boxes[1], box_of(behind))


@pytest.mark.parametrize("away", [55, 33])  # pixels, at which the boxes overlap by .31 and by .52
def test_sure_neighbour_without_keypoints_of_its_own_stays(away):
    seen, unseen = person(100, 40, 80, 200), person(100 + away, 40, 80, 200)
    found = torch.ones(2, 17, dtype=torch.bool)
    found[1] = False
    boxes = [box_of(seen) + torch.tensor([0.0, 0.0, -20.0, 0.0]), box_of(unseen) - torch.tensor([20.0, 0.0, 0.0, 0.0])]

    sure = run(frame([seen, unseen], boxes, [0.9, 0.8], found=found), confident_box_score=0.5)
    unsure = run(frame([seen, unseen], boxes, [0.9, 0.8], found=found), confident_box_score=0.95)

    assert (len(sure), len(unsure)) == (2, 1)


def test_unconnected_peaks_inside_a_box_make_its_pose():
    keypoints = person(100, 40, 80, 200)
    proposals = frame([keypoints], [box_of(keypoints)], [0.3])

    candidates = run(replace(proposals, coarse=replace(proposals.coarse, pafs=torch.zeros_like(proposals.coarse.pafs))))

    assert len(candidates) == 1
    torch.testing.assert_close(candidates.coarse_keypoints[0], keypoints, rtol=0, atol=1.0)


@pytest.mark.parametrize("people", [[], [person(100, 40, 80, 200)]])
def test_no_proposals_and_no_connected_keypoints_is_nobody(people):
    found = torch.zeros(len(people), 17, dtype=torch.bool)

    candidates = run(frame(people, [], [], found=found))

    assert len(candidates) == 0
    assert candidates.boxes.shape == (0, 4)
    assert candidates.coarse_keypoints.shape == (0, 17, 2)
    assert candidates.coarse_scores.shape == (0, 17)
    assert candidates.origins == ()
    assert candidates.rejections == ()


def test_more_than_max_people_are_rejected_worst_first():
    people = [person(10 + 100 * i, 40, 60, 200) for i in range(4)]

    candidates = run(frame(people, [box_of(p) for p in people], [0.6, 0.9, 0.7, 0.8]), max_people=2)

    assert candidates.box_scores.tolist() == pytest.approx([0.9, 0.8])
    assert reasons(candidates) == ["too_many", "too_many"]
    assert [round(rejection.box_score, 3) for rejection in candidates.rejections] == [0.7, 0.6]


def test_every_proposal_is_kept_or_rejected_once():
    generator = torch.Generator().manual_seed(0)
    people = [person(10 + 130 * i, 40, 90, 200) for i in range(3)]
    noise = torch.rand(60, 4, generator=generator) * 30
    boxes = [box_of(people[i % 3]) + noise[i] for i in range(60)]
    proposals = frame(people, boxes, torch.rand(60, generator=generator).tolist())

    for candidates in (run(proposals), run(proposals, max_people=1), suppress_boxes(proposals, FilterConfig())):
        recovered = candidates.origins.count("bottom_up")
        assert len(candidates) + len(candidates.rejections) - recovered == 60


def test_noise_neither_fails_nor_breaks_the_ranges():
    generator = torch.Generator().manual_seed(1)
    heatmaps = torch.rand(17, 80, 104, generator=generator)
    heatmaps[3] = float("nan")
    pafs = torch.rand(2 * len(EDGES), 80, 104, generator=generator) - 0.5
    corner = torch.rand(100, 2, generator=generator) * 200
    boxes = torch.cat((corner, corner + torch.rand(100, 2, generator=generator) * 100), dim=1)

    proposals = Proposals(boxes, torch.rand(100, generator=generator), Maps(heatmaps, pafs, 4.0))
    candidates = run(proposals)

    assert len(candidates) <= FilterConfig.max_people
    assert torch.isfinite(candidates.coarse_keypoints).all()
    assert ((candidates.box_scores >= 0) & (candidates.box_scores <= 1)).all()
    assert (candidates.box_scores.diff() <= 0).all()


def test_suppress_boxes_is_hard_nms_without_keypoints():
    keypoints = person(100, 40, 80, 200)
    box = box_of(keypoints)

    candidates = suppress_boxes(frame([keypoints], [box + 3, box, box + 200], [0.7, 0.8, 0.1]), FilterConfig())

    assert candidates.box_scores.tolist() == pytest.approx([0.8, 0.1])
    assert reasons(candidates) == ["box_overlap"]
    assert (candidates.coarse_scores == 0).all()


SIDE_BY_SIDE = [
    torch.tensor([100.0, 40, 200, 240]),
    torch.tensor([110.0, 40, 210, 240]),  # IoU with the first: 90 / 110
    torch.tensor([120.0, 40, 220, 240]),  # with the second the same, with the first 80 / 120
]


def decayed(kind, iou):
    return 1 - iou if kind == "soft_linear" else math.exp(-(iou**2) / 0.5)


@pytest.mark.parametrize("kind", ["soft_linear", "soft_gaussian"])
@pytest.mark.parametrize("way", ["suppress", "filter"])
def test_soft_nms_lowers_the_scores_of_overlapping_boxes_and_their_turn(kind, way):
    boxes = [*SIDE_BY_SIDE, torch.tensor([300.0, 40, 400, 240])]
    proposals = frame([], boxes, [0.9, 0.8, 0.7, 0.6])
    options = {
        "box_nms": kind,
        "max_box_iou": 0.6,
        "confident_box_score": 0.5,
        "min_soft_score": 0.0,
        "same_box_iou": 1.0,
    }

    soft = suppress_boxes(proposals, FilterConfig(**options)) if way == "suppress" else run(proposals, **options)

    # the third is less near to the best than the second, so it has its turn before it
    third = 0.7 * decayed(kind, 80 / 120)
    second = 0.8 * decayed(kind, 90 / 110) * decayed(kind, 90 / 110)
    assert soft.box_scores.tolist() == pytest.approx([0.9, 0.6, third, second])
    assert soft.boxes[:, 0].tolist() == [100, 300, 120, 110]
    assert not soft.rejections


@pytest.mark.parametrize("way", ["suppress", "filter"])
def test_soft_nms_drops_what_sinks_too_low_with_the_detectors_score(way):
    proposals = frame([], SIDE_BY_SIDE[:2], [0.9, 0.8])
    options = {"box_nms": "soft_gaussian", "min_soft_score": 0.5}

    soft = suppress_boxes(proposals, FilterConfig(**options)) if way == "suppress" else run(proposals, **options)

    assert soft.box_scores.tolist() == pytest.approx([0.9])
    assert [(rejection.reason, rejection.box_score) for rejection in soft.rejections] == [
        ("box_overlap", pytest.approx(0.8))
    ]


@pytest.mark.parametrize("kind", ["hard", "soft_linear", "soft_gaussian"])
def test_boxes_with_one_pose_are_one_person_whatever_the_nms(kind):
    keypoints = person(100, 40, 80, 200)
    box = box_of(keypoints)

    candidates = run(frame([keypoints], [box, box + 4], [0.9, 0.8]), box_nms=kind)

    assert reasons(candidates) == ["same_pose"]


def test_the_filter_wants_coarse_keypoints():
    with pytest.raises(ValueError, match="coarse keypoints"):
        filter_proposals(Proposals(torch.zeros(0, 4), torch.zeros(0)), FilterConfig(), image_wh=IMAGE_WH)


def test_recovered_boxes_end_at_the_image():
    found = torch.ones(1, 17, dtype=torch.bool)

    boxes = keypoints_to_boxes(person(0, 0, 415, 319)[None], found, image_wh=IMAGE_WH)

    assert boxes.tolist() == [[0, 0, 416, 320]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_agrees_with_cpu():
    one, other = person(100, 40, 90, 200), person(112, 46, 90, 200, FACING_AWAY)
    proposals = frame([one, other], [box_of(one), box_of(other)], [0.9, 0.8])
    maps = Maps(proposals.coarse.heatmaps.cuda(), proposals.coarse.pafs.cuda(), proposals.coarse.map_scale)

    expected, actual = run(proposals), run(replace(proposals, coarse=maps))

    assert actual.origins == expected.origins
    torch.testing.assert_close(actual.coarse_keypoints, expected.coarse_keypoints, rtol=0, atol=1e-3)


def test_echo_inside_a_person_is_nobody():
    body = person(40, 40, 80, 200)
    echo = body + torch.tensor([14.0, 6.0])
    faint = frame([body, echo], [box_of(body)], [0.9])
    heatmaps = faint.coarse.heatmaps.clone()
    strong = frame([body], [box_of(body)], [0.9]).coarse.heatmaps
    heatmaps = torch.where(strong > 0.05, strong, 0.6 * heatmaps)

    candidates = run(replace(faint, coarse=replace(faint.coarse, heatmaps=heatmaps)))

    assert candidates.origins == ("proposal",)
