"""The worst cases, cut out of their pictures: the truth on one side, what was found on the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from posecli.evaluation.coco_scores import Scored
from posecli.evaluation.layouts import COCO, Layout
from posecli.evaluation.matching import AT_50
from posecli.evaluation.packing import pair_index
from posecli.evaluation.pictures import picture_path
from posecli.media.overlay import draw
from posecli.media.sources import read_image
from posecli.records import Poses

KINDS = {
    "missed": "Missed: the largest people whom no pose reaches at OKS .5",
    "false": "False: the surest poses that reach nobody at OKS .5",
    "misplaced": "Misplaced: sure poses that find somebody at OKS .5, but badly",
}
MOST_CASES = 6  # of each kind
_HEIGHT = 300  # pixels of a cut-out
_WIDEST = 420
_MARGIN = 0.25  # of the person's box, around it
_SURE = 0.15  # poses below do not clutter the picture of a missed person
_QUALITY = 82  # of JPEG
_HIDDEN, _VISIBLE = 0.5, 1.0  # how strongly true keypoints are drawn


@dataclass(frozen=True, slots=True)
class Case:
    """One failure."""

    kind: str
    image: int  # index among the images, by ids
    people: tuple[int, ...]  # to be drawn on the truth's side
    poses: tuple[int, ...]  # to be drawn on the other
    box_xyxy: tuple[float, float, float, float]  # what it is about, image pixels
    caption: str


@dataclass(frozen=True, slots=True)
class CutOut:
    """A case as two pictures of the same place."""

    case: Case
    file_name: str
    truth: bytes  # JPEG
    found: bytes  # JPEG


def worst_cases(scored: Scored) -> Iterator[Case]:
    """Yield up to `MOST_CASES` of each kind, worst first."""
    yield from _missed(scored)
    yield from _false(scored)
    yield from _misplaced(scored)


def cut_out(scored: Scored, folder: Path) -> Iterator[CutOut]:
    """Draw the worst cases.

    Args:
        scored: matched poses.
        folder: the ground truth's pictures.

    Raises:
        InputError: a picture is missing or unreadable.
    """
    images = scored.packed.images
    for case in worst_cases(scored):
        path = picture_path(folder, images[case.image])
        yield CutOut(case, images[case.image]["file_name"], *_drawn(scored, case, read_image(path).numpy()))


def _missed(scored: Scored) -> Iterator[Case]:
    packed, people = scored.packed, scored.packed.people
    found = np.zeros(len(people.image), dtype=bool)
    found[scored.matches.person[AT_50][scored.matches.found[AT_50]]] = True
    missed = np.flatnonzero(scored.counted & ~found)
    for person in missed[np.argsort(-people.area[missed], kind="stable")][:MOST_CASES].tolist():
        poses = np.flatnonzero((packed.poses.image == people.image[person]) & (packed.poses.scores >= _SURE))
        pairs = np.flatnonzero(packed.pairs.person == person)
        best = f"best OKS {scored.oks[pairs].max():.2f}" if len(pairs) else "no poses on this image"
        yield Case(
            "missed", int(people.image[person]), (person,), tuple(poses.tolist()), _box(people.boxes[person]), best
        )


def _false(scored: Scored) -> Iterator[Case]:
    packed, poses = scored.packed, scored.packed.poses
    wrong = np.flatnonzero(scored.matches.wrong[AT_50])
    for pose in wrong[np.argsort(-poses.scores[wrong], kind="stable")][:MOST_CASES].tolist():
        people = np.flatnonzero(packed.people.image == poses.image[pose])
        pairs = np.flatnonzero(packed.pairs.pose == pose)
        best = f"best OKS {scored.oks[pairs].max():.2f}" if len(pairs) else "nobody on this image"
        caption = f"score {poses.scores[pose]:.2f}, {best}"
        box = _extent(packed.keypoints[pose])
        yield Case("false", int(poses.image[pose]), tuple(people.tolist()), (pose,), box, caption)


def _misplaced(scored: Scored) -> Iterator[Case]:
    packed, found = scored.packed, scored.matches.found[AT_50]
    poses = np.flatnonzero(found)
    oks = scored.oks[pair_index(packed.pairs, poses, scored.matches.person[AT_50][poses])]
    loss = packed.poses.scores[poses] * (1 - oks)
    for place in np.argsort(-loss, kind="stable")[:MOST_CASES].tolist():
        pose = int(poses[place])
        person = int(scored.matches.person[AT_50][pose])
        caption = f"OKS {oks[place]:.2f}, score {packed.poses.scores[pose]:.2f}"
        box = _box(packed.people.boxes[person])
        yield Case("misplaced", int(packed.poses.image[pose]), (person,), (pose,), box, caption)


def _drawn(scored: Scored, case: Case, picture: np.ndarray) -> tuple[bytes, bytes]:
    """Return both sides as JPEG; the picture is (H, W, 3) uint8 RGB."""
    packed = scored.packed
    left, top, right, bottom = _around(case.box_xyxy, picture.shape[1], picture.shape[0])
    cut = picture[top:bottom, left:right]
    scale = min(_HEIGHT / cut.shape[0], _WIDEST / cut.shape[1])
    size = (max(1, round(cut.shape[1] * scale)), max(1, round(cut.shape[0] * scale)))
    cut = cv2.resize(cut, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    people, poses = list(case.people), list(case.poses)
    strength = np.select(
        [packed.people.visibility[people] == 0, packed.people.visibility[people] == 1], [0.0, _HIDDEN], _VISIBLE
    )
    sides = (
        (packed.people.keypoints[people], strength),
        (packed.keypoints[poses], np.ones((len(poses), len(packed.truth.layout)))),
    )
    truth, found = (
        _jpeg(draw(cut, _poses((points - (left, top)) * scale, strengths, packed.truth.layout)))
        for points, strengths in sides
    )
    return truth, found


def _poses(points: np.ndarray, strength: np.ndarray, layout: Layout) -> Poses:
    """Return people to be drawn, in COCO's keypoints."""
    coco = np.zeros((len(points), len(COCO), 2))
    shown = np.zeros((len(points), len(COCO)))
    for own, place in enumerate(layout.in_coco):
        if place is not None:
            coco[:, place], shown[:, place] = points[:, own], strength[:, own]
    boxes = [
        _extent(person[seen > 0]) if (seen > 0).any() else (0, 0, 0, 0)
        for person, seen in zip(coco, shown, strict=True)
    ]
    return Poses(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        keypoints=torch.from_numpy(coco).float(),
        keypoint_scores=torch.from_numpy(shown).float(),
        scores=torch.ones(len(points)),
    )


def _around(box: tuple[float, float, float, float], width: int, height: int) -> tuple[int, int, int, int]:
    """Return the box and its surroundings, inside of the picture and at least a pixel in size."""
    left, top, right, bottom = box
    margin = _MARGIN * max(right - left, bottom - top, 32.0)
    low_x, low_y = (
        int(np.clip(value, 0, limit - 1)) for value, limit in ((left - margin, width), (top - margin, height))
    )
    high_x, high_y = (
        int(np.clip(value, 0, limit)) for value, limit in ((right + margin, width), (bottom + margin, height))
    )
    return low_x, low_y, max(high_x, low_x + 1), max(high_y, low_y + 1)


def _box(xywh: np.ndarray) -> tuple[float, float, float, float]:
    x, y, width, height = xywh.tolist()
    return x, y, x + width, y + height


def _extent(points: np.ndarray) -> tuple[float, float, float, float]:
    if not len(points):
        return 0.0, 0.0, 0.0, 0.0
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return left, top, right, bottom


def _jpeg(pixels: np.ndarray) -> bytes:
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return encoded.tobytes()
