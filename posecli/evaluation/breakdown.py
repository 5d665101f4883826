"""Where the score comes from: keypoint by keypoint, small and large, alone and in crowds, seen and hidden.

Groups of people (by size, labelled keypoints, crowding) share one matching. A pose that finds nobody is held against
the group of the person it is most like, if their OKS is .1 or more; a pose like nobody is held against no group. So
the false poses of other groups do not drag a group's AP down; COCO holds a pose against APm or APl by its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from posecli.errors import InputError
from posecli.evaluation.calibration import Calibration, calibration
from posecli.evaluation.coco_scores import CocoScores, Scored, coco_scores, score
from posecli.evaluation.crowding import max_iou
from posecli.evaluation.error_types import ErrorTypes, error_types
from posecli.evaluation.matching import AT_50, NOBODY, Matches, rank
from posecli.evaluation.nearest import Nearest, nearest
from posecli.evaluation.pck import Pck, pck
from posecli.media.checked_json import Record, is_number

_SIZES = (("under 32 px", 0, 32), ("32 to 64 px", 32, 64), ("64 to 96 px", 64, 96), ("96 to 192 px", 96, 192),
          ("from 192 px", 192, np.inf))  # fmt: skip
_MAX_IOU = (("under .1", 0, 0.1), (".1 to .25", 0.1, 0.25), (".25 to .5", 0.25, 0.5), (".5 to .75", 0.5, 0.75),
            ("from .75", 0.75, np.inf))  # fmt: skip
_CROWD_INDEX = (("easy", 0, 0.1), ("medium", 0.1, 0.8), ("hard", 0.8, np.inf))  # Source: CrowdPose's evaluation tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The scores of some of the people, or of one keypoint."""

    name: str
    num_people: int
    ap: float
    ap50: float
    ar: float
    oks: float | None  # mean, of the people who were found at all (OKS .1 or more); None: nobody was


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """All breakdowns; a group in which there is nobody is left out."""

    by_keypoint: tuple[Group, ...]  # scored as if the truth had this keypoint only
    visible: CocoScores | None  # only keypoints with v = 2, as CCM's Table 10; None: nobody has one
    hidden: CocoScores | None  # only keypoints with v = 1
    by_size: tuple[Group, ...]  # sqrt(area)
    by_num_keypoints: tuple[Group, ...]  # labelled, as CCM's Table 11
    by_crowding: tuple[Group, ...]  # largest box IoU with another person, as OCHuman
    by_crowd_index: tuple[Group, ...]  # CrowdPose's split of images; empty for other data sets
    pck: Pck
    errors: ErrorTypes
    calibration: Calibration

    def as_dict(self) -> Record:
        """Return plain values for JSON."""
        seen = {"visible": self.visible and self.visible.as_dict(), "hidden": self.hidden and self.hidden.as_dict()}
        return asdict(self) | seen


def breakdown(scored: Scored) -> Breakdown:
    """Compute all breakdowns of matched poses."""
    packed, people = scored.packed, scored.packed.people
    near = nearest(scored)
    counts = [(str(number), number, number + 1) for number in range(1, len(packed.truth.layout) + 1)]
    return Breakdown(
        by_keypoint=_by_keypoint(scored, near),
        visible=_only(scored, people.visibility == 2),
        hidden=_only(scored, people.visibility == 1),
        by_size=_bands(scored, near, np.sqrt(people.area), _SIZES),
        by_num_keypoints=_bands(scored, near, people.num_keypoints, counts),
        by_crowding=_bands(scored, near, max_iou(packed.truth, people), _MAX_IOU),
        by_crowd_index=_by_crowd_index(scored, near),
        pck=pck(scored, near),
        errors=error_types(scored, near),
        calibration=calibration(scored),
    )


def _by_keypoint(scored: Scored, near: Nearest) -> tuple[Group, ...]:
    groups = []
    similarity = near.similarity(scored)
    for keypoint, name in enumerate(scored.packed.truth.layout.keypoints):
        alone = np.zeros_like(scored.labelled)
        alone[:, keypoint] = scored.labelled[:, keypoint]
        try:
            own = score(scored.packed, alone)
        except InputError:  # nobody has this keypoint
            continue
        labelled = alone[near.person, keypoint]
        groups.append(
            Group(
                name=name,
                num_people=int(own.counted.sum()),
                ap=own.curves.ap,
                ap50=own.curves.ap_at(AT_50),
                ar=own.curves.ar,
                oks=_mean(similarity[labelled, keypoint]),
            )
        )
    return tuple(groups)


def _only(scored: Scored, labelled: np.ndarray) -> CocoScores | None:
    try:
        return coco_scores(score(scored.packed, labelled), num_results=len(scored.packed.poses.scores))
    except InputError:  # nobody has such a keypoint
        return None


def _bands(
    scored: Scored, near: Nearest, values: np.ndarray, bands: Sequence[tuple[str, float, float]]
) -> tuple[Group, ...]:
    """Return the group of every band of `values`, (N,), low included and high not."""
    groups = []
    for name, low, high in bands:
        people = (values >= low) & (values < high)
        like = near.home != NOBODY
        poses = like & people[np.where(like, near.home, 0)]
        groups.append(_group(scored, near, name, people, poses))
    return tuple(group for group in groups if group)


def _by_crowd_index(scored: Scored, near: Nearest) -> tuple[Group, ...]:
    images = scored.packed.images
    if not all(is_number(image.get("crowdIndex")) for image in images):
        return ()
    index = np.array([float(image["crowdIndex"]) for image in images])
    groups = []
    for name, low, high in _CROWD_INDEX:
        chosen = (index >= low) & (index < high)
        people, poses = chosen[scored.packed.people.image], chosen[scored.packed.poses.image]
        groups.append(_group(scored, near, name, people, poses))
    return tuple(group for group in groups if group)


def _group(scored: Scored, near: Nearest, name: str, people: np.ndarray, poses: np.ndarray) -> Group | None:
    """Score the chosen people, (N,) bool; `poses`, (P,) bool, are false ones when they find nobody."""
    counted = scored.counted & people
    if not counted.any():
        return None
    person = scored.matches.person
    found = scored.matches.found & counted[np.maximum(person, 0)]
    wrong = scored.matches.wrong & poses
    own = rank(Matches(person, found, wrong, counted), scored.packed.poses).curves(float(counted.sum()))
    return Group(
        name=name,
        num_people=int(counted.sum()),
        ap=own.ap,
        ap50=own.ap_at(AT_50),
        ar=own.ar,
        oks=_mean(near.oks[counted[near.person]]),
    )


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
