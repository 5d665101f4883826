"""The keypoint sets of the public data sets: names, order, OKS sigmas, and what of them COCO's 17 have, too.

Sources: pycocotools `Params` (COCO), the CrowdPose evaluation tool (CrowdPose; its sigmas are COCO's, .079 for head and
neck), AI Challenger 2017 `keypoint_eval.py` (AIC; its delta is twice these), MPII (order of the joints in the JSON
files that HRNet and others read). MPII defines no OKS: COCO's sigmas stand in, .079 where COCO has no such keypoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from posecli.skeleton import KEYPOINTS, OKS_SIGMAS


@dataclass(frozen=True)
class Layout:
    """The keypoints of one data set, in its files' order."""

    name: str
    keypoints: tuple[str, ...]
    oks_sigmas: tuple[float, ...]  # as fractions of sqrt(area); OKS's falloff is twice that

    def __len__(self) -> int:
        return len(self.keypoints)

    @cached_property
    def in_coco(self) -> tuple[int | None, ...]:
        """For every keypoint its index among COCO's 17, or None: tops of heads, necks and the like."""
        return tuple(KEYPOINTS.index(name) if name in KEYPOINTS else None for name in self.keypoints)

    @cached_property
    def mirror(self) -> tuple[int, ...]:
        """For every keypoint the one on the other side of the body, or itself."""
        others = (
            name.replace("left_", "right_") if name.startswith("left_") else name.replace("right_", "left_")
            for name in self.keypoints
        )
        return tuple(self.keypoints.index(other) for other in others)


def _limbs(*names: str) -> tuple[str, ...]:
    return tuple(f"{side}_{name}" for name in names for side in ("left", "right"))


def _side(side: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{side}_{name}" for name in names)


_ARM, _LEG = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")

COCO = Layout("coco", KEYPOINTS, OKS_SIGMAS)
_TRUNK_SIGMA = 0.079  # shoulders' in COCO, and head's and neck's in CrowdPose


def _coco_sigma(name: str) -> float:
    return OKS_SIGMAS[KEYPOINTS.index(name)] if name in KEYPOINTS else _TRUNK_SIGMA


_CROWDPOSE_NAMES = (*_limbs(*_ARM, *_LEG), "head", "neck")
CROWDPOSE = Layout("crowdpose", _CROWDPOSE_NAMES, tuple(map(_coco_sigma, _CROWDPOSE_NAMES)))
AIC = Layout(
    "aic",
    (
        *_side("right", *_ARM), *_side("left", *_ARM), *_side("right", *_LEG), *_side("left", *_LEG),
        "head_top", "neck",
    ),
    (
        0.01388152, 0.01515228, 0.01057665, 0.01417709, 0.01497891, 0.01402144, 0.03909642, 0.03686941, 0.01981803,
        0.03843971, 0.03412318, 0.02415081, 0.01291456, 0.01236173,
    ),
)  # fmt: skip
_MPII_NAMES = (
    *reversed(_side("right", *_LEG)), *_side("left", *_LEG), "pelvis", "thorax", "upper_neck", "head_top",
    *reversed(_side("right", *_ARM)), *_side("left", *_ARM),
)  # fmt: skip
MPII = Layout("mpii", _MPII_NAMES, tuple(map(_coco_sigma, _MPII_NAMES)))

LAYOUTS = (COCO, CROWDPOSE, AIC, MPII)


def in_coco_order(layout: Layout) -> Layout:
    """Return COCO's 17 keypoints with the sigmas that `layout` has for those they share."""
    if layout is COCO:
        return COCO
    sigmas = list(OKS_SIGMAS)
    for own, coco in enumerate(layout.in_coco):
        if coco is not None:
            sigmas[coco] = layout.oks_sigmas[own]
    return Layout(f"{layout.name} in COCO's order", KEYPOINTS, tuple(sigmas))
