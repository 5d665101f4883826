"""What can be set, one frozen dataclass a stage, checked on creation. CLI options and JSON use these names."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from posecli.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} must be in [0, 1], got {value}")


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ConfigError(f"{name} must be above 0, got {value}")


BOX_NMS = ("hard", "soft_linear", "soft_gaussian")  # what `geometry.boxes.soft_nms` and `hard_nms` do


@dataclass(frozen=True, kw_only=True)
class DetectConfig:
    """Where a frame's boxes and coarse heatmaps come from, and which of the boxes are looked at."""

    detector: str = "detposenet-tiny"  # gives the boxes, and the coarse heatmaps if it is a proposal network
    proposer: str = "detposenet-tiny"  # gives the coarse heatmaps where the boxes come from elsewhere
    boxes: str = ""  # COCO JSON whose boxes are taken instead of the detector's
    detector_size: int = 416  # long side of a proposal network's input, pixels; other detectors have their own
    min_box_score: float = 0.15  # proposals below are not looked at
    max_proposals: int = 100  # per frame, best first

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _check_fraction("min_box_score", self.min_box_score)
        _check_positive("max_proposals", self.max_proposals)
        if self.detector_size < 64 or self.detector_size % 32:
            raise ConfigError(f"detector_size must be a multiple of 32, 64 or more, got {self.detector_size}")


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Which proposals go on to the refiner (DetPoseNet section III-B, Algorithm 1).

    The defaults were chosen on held-out COCO pictures for an earlier `detposenet-tiny`. For today's, from boxes of .26
    on, it takes 6% fewer runs than hard NMS with the same `max_box_iou`, and 30% fewer from .15 on; AP differs by
    +.0003 and -.0035 (paired 95% interval of the first: -.002 to +.003).
    """

    filter: bool = True  # False: hard box NMS instead, as usual detectors do
    min_coarse_score: float = 0.2  # a coarse keypoint counts from this heatmap value on
    min_coarse_keypoints: int = 3  # a box with fewer counted keypoints is likely no person (the paper's delta_kpt)
    confident_box_score: float = 0.3  # such a box stays with any number of keypoints: small people have few or none
    same_pose_oks: float = 0.95  # two coarse poses more alike than this are one person
    other_pose_oks: float = 0.02  # in boxes that overlap more than max_box_iou, only poses less alike are two people
    same_box_iou: float = 0.7  # of two people whose boxes overlap more, the second gets a box from its keypoints
    min_recovered_keypoints: int = 6  # a person without a box of its own needs that many connected keypoints
    min_recovered_score: float = 0.4  # and this much mean coarse score over all keypoints, missing ones counting 0
    recovered_weight: float = 0.5  # its box score is that mean times this: weaker evidence than a detector's box
    max_box_iou: float = 0.7  # box NMS, with --no-filter and where coarse keypoints are too few to compare
    box_nms: str = "hard"  # drop what overlaps more; "soft_linear" and "soft_gaussian" lower its score instead
    nms_sigma: float = 0.5  # of soft_gaussian, whose factor is exp(-IoU^2 / sigma)
    min_soft_score: float = 0.05  # boxes that soft NMS brings below are dropped
    max_people: int = 30  # per frame, best first

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        fractions = (
            "min_coarse_score",
            "confident_box_score",
            "same_pose_oks",
            "other_pose_oks",
            "same_box_iou",
            "min_recovered_score",
            "recovered_weight",
            "max_box_iou",
            "min_soft_score",
        )
        for name in fractions:
            _check_fraction(name, getattr(self, name))
        _check_positive("min_recovered_keypoints", self.min_recovered_keypoints)
        _check_positive("max_people", self.max_people)
        _check_positive("nms_sigma", self.nms_sigma)
        if self.box_nms not in BOX_NMS:
            raise ConfigError(f"box_nms must be one of {', '.join(BOX_NMS)}, got {self.box_nms!r}")


SUBPIXEL_METHODS = (
    "none", "quarter", "second_peak", "parabola", "log_parabola", "paraboloid", "dark", "dark_udp", "soft_argmax",
)  # fmt: skip
POSE_NMS = ("hard", "soft", "fusion", "none")
POSE_SCORES = ("mean", "counted", "calibrated")
_MERGE_FRACTIONS = (
    "pose_share",
    "min_keypoint_score",
    "max_oks",
    "min_score",
    "min_labelled_score",
    "min_visible_score",
)


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """How a likely person's crops are made, averaged and read; what is None is as the network's weights expect it."""

    refiner: str = "prs-tiny"  # one network, or several joined by +, whose heatmaps are averaged
    posefix: str = ""  # a network that looks at the refiner's poses and answers better ones
    flip_test: bool = False  # average with the mirrored crop's heatmaps: twice the time
    flip_shift: float | None = None  # cells, 0 to 1, by which the mirrored crop's map is moved right
    scales: tuple[float, ...] = (1.0,)  # of the crop's margin; heatmaps are averaged, each scale costs a run
    rotations: tuple[float, ...] = (0.0,)  # of the crop, degrees; heatmaps are averaged, each rotation costs a run
    subpixel: str | None = None  # one of SUBPIXEL_METHODS: where between the heatmap's cells the keypoint is
    blur: int | None = None  # kernel of the heatmaps' Gaussian filter, cells, odd; 0 = none
    blur_sigma: float | None = None  # of that filter, cells

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not all(self.members):
            raise ConfigError(f"refiner must be networks joined by +, got {self.refiner!r}")
        if self.flip_shift is not None:
            _check_fraction("flip_shift", self.flip_shift)
        if self.subpixel is not None and self.subpixel not in SUBPIXEL_METHODS:
            raise ConfigError(f"unknown subpixel {self.subpixel!r}; choose from {', '.join(SUBPIXEL_METHODS)}")
        if not self.scales or not self.rotations:
            raise ConfigError("scales and rotations must name at least one each")
        if not all(0.25 <= scale <= 4 for scale in self.scales):
            raise ConfigError(f"scales must be within 0.25 and 4, got {self.scales}")
        if not all(abs(angle) <= 180 for angle in self.rotations):
            raise ConfigError(f"rotations must be within 180 degrees, got {self.rotations}")

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the networks whose heatmaps are averaged."""
        return tuple(self.refiner.split("+"))

    @property
    def networks(self) -> tuple[str, ...]:
        """The names of all networks."""
        return (*self.members, self.posefix) if self.posefix else self.members


@dataclass(frozen=True, kw_only=True)
class MergeConfig:
    """How poses are scored and doubles removed."""

    pose_score: str = "counted"  # what it is made of, see `stages.merge.pose_scores`
    # HRNet has .5, the plain product, and .2. Chosen on held-out COCO people and on some of the training set: our
    # keypoints tell a right pose from a wrong one better than our box does, and keypoints that are unsure tell nothing.
    pose_share: float = 0.75  # of the keypoints in the counted score; the rest is the box's
    min_keypoint_score: float = 0.4  # a keypoint is counted above this
    # Slope and intercept of the calibrated score, a logistic curve of the counted score's log odds. Fitted to the
    # default networks on 434 of their training pictures by examples/calibrate_scores.py; others want their own.
    calibration: tuple[float, float] = (7.06, 8.47)
    pose_nms: str = "hard"  # "soft" lowers a double's score, "fusion" averages a pose with its doubles, "none"
    # HRNet has .9. At .7 AP is the same; on 434 held-out pictures 130 poses fewer are written, and 3 of 1,057 people
    # lose their pose.
    max_oks: float = 0.7  # poses more alike than this are doubles
    soft_nms_sigma: float = 0.9  # of soft NMS, whose factor is exp(-OKS^2 / sigma), as in HRNet
    min_score: float = 0.0  # poses below are not written; COCO's AP wants them all
    # A keypoint's `v` in the dataset file. Chosen on held-out COCO people in true boxes: the first keeps 96% of their
    # labelled keypoints, the second tells visible from hidden ones best (70% of the visible, 72% of the hidden right).
    min_labelled_score: float = 0.3  # v is 1 or 2 from here on, else 0
    min_visible_score: float = 0.55  # v is 2 from here on

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for name in _MERGE_FRACTIONS:
            _check_fraction(name, getattr(self, name))
        _check_positive("soft_nms_sigma", self.soft_nms_sigma)
        if len(self.calibration) != 2 or not all(abs(value) <= 100 for value in self.calibration):
            raise ConfigError(f"calibration must be a slope and an intercept within 100, got {self.calibration}")
        _check_positive("calibration's slope", self.calibration[0])
        for name, known in (("pose_score", POSE_SCORES), ("pose_nms", POSE_NMS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"unknown {name} {getattr(self, name)!r}; choose from {', '.join(known)}")


# Presets of `--quality`, by field. They only set fields: an option that is given wins, and every field is recorded. On
# held-out COCO pictures neither a larger input of the detector nor fusion adds to the flip test.
QUALITIES: dict[str, dict[str, Any]] = {
    "fast": {"detector_size": 320},
    "balanced": {},
    "best": {"flip_test": True},
}


ENGINES = ("torch", "onnx")  # what networks run in: torch, or ONNX Runtime, which the extra `onnx` brings
PRECISIONS = ("auto", "fp32", "bf16", "fp16")  # of the networks' layers; auto: bf16 where a CPU computes in it


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """Everything that decides which poses come out for a given input; each run writes it beside its output."""

    detect: DetectConfig = field(default_factory=DetectConfig)
    filtering: FilterConfig = field(default_factory=FilterConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    merge: MergeConfig = field(default_factory=MergeConfig)
    quality: str = "balanced"  # the preset of QUALITIES that was asked for; the fields say what came of it
    engine: str = "torch"  # one of ENGINES; the same answers within rounding
    precision: str = "fp32"  # one of PRECISIONS, for networks in torch; the record says what auto came to
    batch_frames: int = 4  # frames a proposal batch
    batch_crops: int = 16  # crops a refiner batch, taken across frames

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.quality not in QUALITIES:
            raise ConfigError(f"unknown quality {self.quality!r}; choose from {', '.join(QUALITIES)}")
        if self.engine not in ENGINES:
            raise ConfigError(f"unknown engine {self.engine!r}; choose from {', '.join(ENGINES)}")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"unknown precision {self.precision!r}; choose from {', '.join(PRECISIONS)}")
        if self.engine != "torch" and self.precision not in {"auto", "fp32"}:
            raise ConfigError(f"--precision {self.precision} is for --engine torch; the {self.engine} one has its own")
        _check_positive("batch_frames", self.batch_frames)
        _check_positive("batch_crops", self.batch_crops)


@dataclass(frozen=True, kw_only=True)
class ReadConfig:
    """Which frames of a source are read; a journal belongs to one such choice."""

    recursive: bool = False  # folders with the images of their subfolders
    stream: int | None = None  # which of a file's video streams, from 0; None: the best one
    start: float = 0.0  # seconds after a video's first frame
    end: float | None = None  # seconds after a video's first frame; the frame there is not read any more
    stride: int = 1  # every so many-th frame or image
    max_frames: int | None = None  # most frames or images of a source
    hwaccel: str = ""  # FFmpeg's name of hardware that decodes videos; empty: the processor does

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for name, least in (("stream", 0), ("start", 0), ("stride", 1), ("max_frames", 1)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ConfigError(f"{name} must be {least} or more, got {value}")
        if self.end is not None and not self.end > self.start:
            raise ConfigError(f"end must be after start ({self.start} s), got {self.end} s")


@dataclass(frozen=True, kw_only=True)
class TimelineConfig:
    """What is made of the poses of one frame after the other. It changes no journal: these steps work from it."""

    track: bool = False  # number the people of a video
    smooth: bool = False  # One-Euro filter on the keypoints of a video; it needs the numbers
    max_gap: float = 1.5  # seconds out of sight after which somebody who comes back gets a new number

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _check_positive("max_gap", self.max_gap)

    @property
    def tracks(self) -> bool:
        """Whether people are numbered."""
        return self.track or self.smooth


OVERLAY_BACKGROUNDS = ("image", "black", "blur")
OVERLAY_LABELS = ("id", "score", "names")


@dataclass(frozen=True, kw_only=True)
class OverlayConfig:
    """How people are drawn, and how a drawn video is encoded."""

    overlay_codec: str = "h264"
    background: str = "image"  # one of OVERLAY_BACKGROUNDS
    blur_faces: bool = False
    thickness: float | None = None  # line width, pixels; None: by the sizes of the person and the picture
    labels: tuple[str, ...] = ()  # of OVERLAY_LABELS: track id, pose score, names of the keypoints
    caption: str = ""  # one line on every picture, such as a warning

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.background not in OVERLAY_BACKGROUNDS:
            raise ConfigError(f"background must be one of {', '.join(OVERLAY_BACKGROUNDS)}, got {self.background!r}")
        if self.thickness is not None:
            _check_positive("thickness", self.thickness)
        for label in self.labels:
            if label not in OVERLAY_LABELS:
                raise ConfigError(f"labels must be none or some of {', '.join(OVERLAY_LABELS)}, got {label!r}")


TABLE_FORMATS = ("jsonl", "csv", "parquet")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What is written where, and which sources are left out."""

    directory: Path = Path("poses")
    keep_tree: bool = False  # each source's folders again below `directory`
    overlay: bool = True
    explain: bool = False  # write and draw rejected proposals with their reasons
    formats: tuple[str, ...] = ()  # of TABLE_FORMATS, beside COCO
    to_stdout: bool = False  # JSON lines there, and no files
    keep_journal: bool = False
    resume: bool = False  # go on with the journals of an interrupted run
    restart: bool = False  # start over where an interrupted run left a journal
    skip_done: bool = False  # leave sources whose files an earlier run has made from the same input and settings
    fail_fast: bool = False  # stop at the first source that fails
    shard: tuple[int, int] | None = None  # (i, n): only the i-th of n parts of the sources, i from 1
    reading: ReadConfig = field(default_factory=ReadConfig)
    timeline: TimelineConfig = field(default_factory=TimelineConfig)
    drawing: OverlayConfig = field(default_factory=OverlayConfig)

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.resume and self.restart:
            raise ConfigError("--resume goes on and --restart starts over; choose one")
        for name in self.formats:
            if name not in TABLE_FORMATS:
                raise ConfigError(f"format must be some of {', '.join(TABLE_FORMATS)}, got {name!r}")
        if self.to_stdout and (self.formats or self.keep_journal or self.resume or self.skip_done):
            raise ConfigError("-o - writes no files: no --format, --keep-journal, --resume or --skip-done with it")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise ConfigError(f"shard must be i/n with i from 1 to n, got {self.shard[0]}/{self.shard[1]}")


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """One folder of pictures to train on; paths are relative to `--data`."""

    images: str  # a folder; with pseudo and no annotations a video will do, too
    annotations: str = ""  # COCO JSON; empty: pictures without people, or of those alone whom pseudo has
    pseudo: str = ""  # keypoints of another network, see training.labels; they fill what people did not label
    pseudo_weight: float = 0.5
    min_pseudo_score: float = 0.3  # of a keypoint
    min_person_score: float = 0.3  # of somebody in a file of `posecli infer`
    min_pseudo_keypoints: int = 5  # so many above their score make a crop of somebody without labels
    every: int = 1  # of a video only every so many-th frame: neighbours look alike
    min_area: float = 32.0 * 32.0  # square pixels; smaller people are no use as crops
    empty_crops: int = 2  # crops without people from each picture without people
    mined: str = ""  # what `posecli infer` wrote for these pictures: boxes on nobody become crops without people (HNDM)
    only_mined: bool = False  # nothing but those crops: the annotations only say where somebody is
    hold_out: bool = False  # leave three of ten pictures (in name order: 0, 3, 6 of each ten) for measuring
    max_people: int = 0  # only so many first people of the annotations that make crops; 0 = all
    repeat: int = 1  # times an epoch
    part: str = ""  # a letter that phases call it by, such as CCM's A, C, H and U; several may share one

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for name in ("pseudo_weight", "min_person_score"):
            _check_fraction(name, getattr(self, name))
        for name in ("repeat", "every", "min_pseudo_keypoints"):
            _check_positive(name, getattr(self, name))
        if self.only_mined and not self.mined:
            raise ConfigError(f"only_mined without mined leaves nothing of {self.images}")
        if len(self.part) > 1 or (self.part and not self.part.isalpha()):
            raise ConfigError(f"part must be a letter, got {self.part!r}")
        if self.max_people < 0:
            raise ConfigError(f"max_people must be 0 (all) or more, got {self.max_people}")


@dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """One leg of a run that trains on some of its data after the other."""

    parts: str  # letters of the datasets, as in "ACH"
    steps: int
    learning_rate: float | None = None  # None: the run's
    warmup: int | None = None  # steps; None: the run's

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _check_positive("steps of a phase", self.steps)
        if self.learning_rate is not None:
            _check_positive("learning_rate of a phase", self.learning_rate)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the losses' parts."""

    structure: float = 0.02  # alpha_2 of the structure-aware loss
    location: float = 0.002  # cross-entropy of each keypoint's place
    hardest: int = 8  # last refiner stage: only so many hardest keypoints count; 0 = all
    coarse_scale: float = 0.5  # weight of every stage before the last
    coarse_to_fine: bool = True  # wider target Gaussians for the stages before the last; false: as wide, in crop pixels
    box: float = 2.0  # proposer: box loss, the score loss weighing 1
    heatmaps: float = 20.0  # proposer
    pafs: float = 10.0  # proposer


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """A trained refiner whose heatmaps are targets beside the labels."""

    network: str  # a refiner of the zoo, or onnx:FILE, relative to `--data`
    weights: str = ""  # relative to `--data`; empty: those that come with posecli
    weight: float = 1.0  # of its loss, the labels' weighing 1
    min_score: float = 0.3  # keypoints where its heatmap's peak is lower are left out
    location: float = 0.0  # weight of the cross-entropy between its places and the network's
    share: float = 1.0  # of each batch's crops that it sees: it may take longer than a training step
    input_hw: tuple[int, int] | None = None  # of the crops that it sees; None: the network's

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _check_positive("weight of the teacher", self.weight)
        _check_fraction("min_score of the teacher", self.min_score)
        _check_fraction("share of the teacher", self.share)
        _check_positive("share of the teacher", self.share)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run; read from TOML by `load_train_config`."""

    network: str
    datasets: tuple[DatasetConfig, ...]
    network_options: dict[str, Any] = field(default_factory=dict)  # arguments of the network other than the zoo's
    loss: LossConfig = field(default_factory=LossConfig)
    teacher: TeacherConfig | None = None
    mistakes: str = ""  # posefix: what `posecli eval --json` said of the refiner to be fixed; empty: the paper's rates
    init: str = ""  # start weights, relative to `--data`: .safetensors of the same network, or a folded MobileNet-v2
    phases: tuple[PhaseConfig, ...] = ()  # one after the other, see training.phases; none: all at once
    steps: int = 1000  # with phases the sum of theirs, and best left out
    batch: int = 32
    input_hw: tuple[int, int] | None = None  # of the training crops; a refiner is measured at it; None: the network's
    small_hw: tuple[int, int] | None = None  # of the first crops: cheaper, and enough to learn the coarse shape
    small_until: float = 0.0  # fraction of the steps with small crops
    learning_rate: float = 1e-3
    trunk_rate: float = 0.5  # learning rate of the trunk, relative
    warmup: int = 100  # steps
    schedule: str = "cosine"  # or "step": a tenth after 70% of the steps, a hundredth after 90%; or "constant"
    optimizer: str = "adamw"  # or "muon": that for convolutions, AdamW for the rest; worth samples where they are few
    weight_decay: float = 0.02
    ema: float = 0.998
    frozen_blocks: int = 4  # first blocks of a MobileNet-v2 trunk that keep their start weights, if there are any
    augment: dict[str, float] = field(default_factory=dict)  # overrides of training.augment
    half: bool = True  # bfloat16
    seed: int = 1
    eval_minutes: float = 10.0
    checkpoint_minutes: float = 4.0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for name in ("steps", "batch", "learning_rate"):
            _check_positive(name, getattr(self, name))
        _check_fraction("small_until", self.small_until)
        for size in filter(None, (self.input_hw, self.small_hw)):
            if size[0] % 32 or size[1] % 32:
                raise ConfigError(f"input sizes must be multiples of 32, got {size[0]}x{size[1]}")
        if self.schedule not in {"cosine", "step", "constant"}:
            raise ConfigError(f"schedule must be cosine, step or constant, got {self.schedule!r}")
        if self.optimizer not in {"adamw", "muon"}:
            raise ConfigError(f"optimizer must be adamw or muon, got {self.optimizer!r}")
        if not self.datasets:
            raise ConfigError("a training needs at least one [[datasets]]")
        if self.phases:
            self._check_phases()

    def _check_phases(self) -> None:
        total, known = sum(phase.steps for phase in self.phases), {dataset.part for dataset in self.datasets}
        if self.steps != total:
            raise ConfigError(f"steps is {self.steps}, but the phases take {total}; leave steps out")
        if "" in known:
            raise ConfigError("with [[phases]] every one of the [[datasets]] needs its part, a letter")
        asked = set("".join(phase.parts for phase in self.phases))
        if asked != known:
            told = f"[[phases]] name {', '.join(sorted(asked)) or 'none'}, [[datasets]] are {', '.join(sorted(known))}"
            raise ConfigError(f"{told}; each part must be in both")


def load_train_config(path: Path) -> TrainConfig:
    """Read a TOML file.

    Raises:
        ConfigError: no such file, no TOML, or a key that does not exist.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML ({error})") from error
    return train_config_from(table, str(path))


def train_config_from(table: dict[str, Any], where: str) -> TrainConfig:
    """Make a training run's configuration of plain tables and lists.

    Args:
        table: as TOML or JSON gave it.
        where: what messages call it.

    Raises:
        ConfigError: an unknown key, or a value that cannot work.
    """
    parts: dict[str, Any] = {
        "datasets": _tables(DatasetConfig, table, "datasets", where),
        "phases": _tables(PhaseConfig, table, "phases", where),
        "loss": _build(LossConfig, table.get("loss", {}), f"{where}: loss"),
    }
    if table.get("teacher") is not None:
        parts["teacher"] = _build(TeacherConfig, table["teacher"], f"{where}: teacher")
    if parts["phases"] and "steps" not in table:
        parts["steps"] = sum(phase.steps for phase in parts["phases"])
    return _build(TrainConfig, {**table, **parts}, where)


_Config = TypeVar("_Config")
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {  # by a field's type: what files may have, and how to say it
    "str": ((str,), "a text"),
    "int": ((int,), "an integer"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "true or false"),
}


def _tables(kind: Callable[..., _Config], table: dict[str, Any], key: str, where: str) -> tuple[_Config, ...]:
    entries = table.get(key, ())
    if not isinstance(entries, (list, tuple)):
        raise ConfigError(f"{where}: {key} is {entries!r}, wanted [[{key}]]")
    return tuple(_build(kind, entry, f"{where}: {key}") for entry in entries)


def _build(kind: Callable[..., _Config], table: dict[str, Any], where: str) -> _Config:
    if not isinstance(table, dict):
        raise ConfigError(f"{where} is {table!r}, wanted a table")
    known = {item.name: str(item.type) for item in fields(kind)}  # type: ignore[arg-type]
    for name in table:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
            raise ConfigError(f"{where}: unknown key {name!r}; {hint}")
    try:
        return kind(**{name: _value(value, known[name], f"{where}: {name}") for name, value in table.items()})
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error


def _value(value: Any, kind: str, where: str) -> Any:
    """Return a file's value as a field of this type has it."""
    wanted = kind.removesuffix(" | None")
    if value is None and wanted != kind:
        return None
    if wanted == "tuple[int, int]":
        if not (isinstance(value, (list, tuple)) and [type(side) for side in value] == [int, int]):
            raise ConfigError(f"{where} is {value!r}, wanted two integers, as in [256, 192]")
        return tuple(value)
    types, said = _KINDS.get(wanted, ((object,), ""))
    if not isinstance(value, types) or (isinstance(value, bool) and wanted in {"int", "float"}):
        raise ConfigError(f"{where} is {value!r}, wanted {said}")
    return value
