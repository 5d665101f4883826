"""What flows between the stages: frozen records of tensors, replaced and never edited."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a source, upright."""

    index: int  # 0-based position in the source
    image: Tensor | None  # (H, W, 3) uint8 RGB on the CPU; None when the frame could not be decoded
    width: int  # pixels, after rotation
    height: int  # pixels, after rotation
    file_name: str  # what annotation tools look for: the image's own name, or the video's with the frame index
    pts: int | None = None  # presentation time stamp, in the stream's own time base
    time_s: float | None = None  # pts x time base; None for still images
    status: str = "ok"  # or "damaged" (the decoder patched it up, or one that it builds on), or "decode_error"
    image_id: int | None = None  # what the dataset that the picture belongs to calls it; None where there is none


@dataclass(frozen=True, slots=True)
class CoarsePeaks:
    """What the proposal network's bottom-up branch shows of one frame: keypoints that nobody has yet, and limbs."""

    peaks: Tensor  # (K, P, 2) float32, x y, heatmap cells; see `geometry.paf.find_peaks`
    scores: Tensor  # (K, P) float32 in [0, 1]; 0 is no peak
    limbs: Tensor  # (L, P, P) float32, how well the fields agree with each; 0 is no limb; see `geometry.paf.find_limbs`
    map_scale: float  # image pixels per heatmap cell; cell (x, y) lies at image ((x, y) + .5) * map_scale - .5

    @staticmethod
    def none(num_keypoints: int = 17, num_limbs: int = 19) -> CoarsePeaks:
        """Nothing."""
        empty = torch.zeros(num_keypoints, 0)
        return CoarsePeaks(empty[..., None].expand(-1, -1, 2), empty, torch.zeros(num_limbs, 0, 0), 1.0)


@dataclass(frozen=True, slots=True)
class Proposals:
    """Where people may be in one frame: boxes before the filter, and what it looks at to judge them; on the CPU."""

    boxes: Tensor  # (P, 4) float32, xyxy, image pixels, best score first
    box_scores: Tensor  # (P,) float32 in [0, 1]
    coarse: CoarsePeaks | None = None  # None where no coarse poses were asked for: the filter is off


@dataclass(frozen=True, slots=True)
class Rejection:
    """A proposal that the filter dropped, and why."""

    box: tuple[float, float, float, float]  # xyxy, image pixels
    box_score: float
    reason: str  # "too_few_keypoints", "same_pose", "box_overlap" (with --no-filter), "low_score", "too_many"
    num_keypoints: int | None = None  # coarse keypoints found inside, where they were counted


@dataclass(frozen=True, slots=True)
class Candidates:
    """The likely people of one frame: what the refiner looks at."""

    boxes: Tensor  # (N, 4) float32, xyxy, image pixels
    box_scores: Tensor  # (N,) float32 in [0, 1]
    coarse_keypoints: Tensor  # (N, K, 2) float32, x y, image pixels
    coarse_scores: Tensor  # (N, K) float32 in [0, 1]; 0 where no coarse keypoint was found
    origins: tuple[str, ...]  # per person: "proposal", "second_in_box" or "bottom_up"
    rejections: tuple[Rejection, ...] = ()

    def __len__(self) -> int:
        """Count the candidates."""
        return len(self.boxes)


@dataclass(frozen=True, slots=True)
class Poses:
    """The people of one frame, in that frame's pixels, best score first."""

    boxes: Tensor  # (N, 4) float32, xyxy
    keypoints: Tensor  # (N, K, 2) float32, x y
    keypoint_scores: Tensor  # (N, K) float32 in [0, 1]
    scores: Tensor  # (N,) float32 in [0, 1]
    origins: tuple[str, ...] = ()
    track_ids: tuple[int, ...] = ()  # the same person's number in every frame, from 1; empty where nobody was tracked
    raw_keypoints: Tensor | None = None  # (N, K, 2) float32, x y before smoothing; None where nothing was smoothed

    @staticmethod
    def empty(num_keypoints: int = 17) -> Poses:
        """Nobody."""
        return Poses(torch.zeros(0, 4), torch.zeros(0, num_keypoints, 2), torch.zeros(0, num_keypoints), torch.zeros(0))

    def __len__(self) -> int:
        """Count the people."""
        return len(self.boxes)


@dataclass(frozen=True, slots=True)
class Annotated:
    """One finished frame: who is on it, what it cost, and what was dropped on the way."""

    frame: Frame
    poses: Poses
    refiner_runs: int  # people that the refinement network looked at in this frame
    rejections: tuple[Rejection, ...] = ()
    proposal_boxes: Tensor = field(default_factory=lambda: torch.zeros(0, 4))  # (P, 4) before the filter, best first
    proposal_scores: Tensor = field(default_factory=lambda: torch.zeros(0))  # (P,)
