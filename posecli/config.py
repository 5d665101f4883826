"""What can be set, one frozen dataclass a stage, checked on creation. The CLI's options and the JSON use these names."""

from __future__ import annotations

from dataclasses import dataclass, field

from posecli.errors import ConfigError


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} must be in [0, 1], got {value}")


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ConfigError(f"{name} must be above 0, got {value}")


@dataclass(frozen=True, kw_only=True)
class DetectConfig:
    """How a frame is shown to the proposal network, and which boxes it proposes."""

    detector: str = "detposenet-tiny"
    detector_size: int = 416  # long side of the network's input, pixels
    min_box_score: float = 0.1  # proposals below are not looked at
    max_proposals: int = 100  # per frame, best first

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _check_fraction("min_box_score", self.min_box_score)
        _check_positive("max_proposals", self.max_proposals)
        if self.detector_size < 64 or self.detector_size % 32:
            raise ConfigError(f"detector_size must be a multiple of 32, 64 or more, got {self.detector_size}")


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Which proposals go on to the refiner (DetPoseNet section III-B, Algorithm 1)."""

    filter: bool = True  # False: hard box NMS instead, as usual detectors do
    min_coarse_score: float = 0.15  # a coarse keypoint counts from this heatmap value on
    min_coarse_keypoints: int = 3  # a box with fewer counted keypoints is likely no person (the paper's delta_kpt)
    same_pose_oks: float = 0.5  # two coarse poses more alike than this are one person
    same_box_iou: float = 0.7  # two boxes that overlap more than this are one box
    max_box_iou: float = 0.6  # with --no-filter: hard NMS
    max_people: int = 30  # per frame, best first

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for name in ("min_coarse_score", "same_pose_oks", "same_box_iou", "max_box_iou"):
            _check_fraction(name, getattr(self, name))
        _check_positive("max_people", self.max_people)


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """How a likely person's crop is made and read."""

    refiner: str = "prs-tiny"
    margin: float = 1.25  # the crop is this much larger than the box, as in HRNet
    flip_test: bool = False  # average with the mirrored crop's heatmaps: twice the time

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _check_positive("margin", self.margin)


@dataclass(frozen=True, kw_only=True)
class MergeConfig:
    """How poses are scored and doubles removed."""

    min_keypoint_score: float = 0.2  # the pose's score is box score x mean of the keypoints above this, as in HRNet
    max_oks: float = 0.9  # OKS NMS after refinement
    min_score: float = 0.0  # poses below are not written; COCO's AP wants them all

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for name in ("min_keypoint_score", "max_oks", "min_score"):
            _check_fraction(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """Everything that decides which poses come out for a given input; each run writes it beside its output."""

    detect: DetectConfig = field(default_factory=DetectConfig)
    filtering: FilterConfig = field(default_factory=FilterConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    merge: MergeConfig = field(default_factory=MergeConfig)
    batch_frames: int = 4  # frames a proposal batch
    batch_crops: int = 16  # crops a refiner batch, taken across frames

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _check_positive("batch_frames", self.batch_frames)
        _check_positive("batch_crops", self.batch_crops)
