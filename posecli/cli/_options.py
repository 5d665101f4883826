"""The options that `infer` and `eval` share; their words are the configuration's fields, their defaults its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from posecli.config import (
    BOX_NMS,
    ENGINES,
    POSE_NMS,
    POSE_SCORES,
    PRECISIONS,
    QUALITIES,
    SUBPIXEL_METHODS,
    DetectConfig,
    FilterConfig,
    MergeConfig,
    PipelineConfig,
    RefineConfig,
)
from posecli.errors import ConfigError

_UNIT = click.FloatRange(0, 1)
_COUNT = click.IntRange(1)


def numbers(text: str) -> tuple[float, ...]:
    """Turn "1,1.2" into (1.0, 1.2)."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers such as 1,1.2") from None


def _told(qualities: dict[str, dict[str, Any]]) -> str:
    """Say of every preset which options it stands for, as one would type them."""

    def option(name: str, value: Any) -> str:
        text = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            return text if value else f"--no-{text[2:]}"
        return f"{text} {','.join(f'{part:g}' for part in value) if isinstance(value, tuple) else value}"

    presets = {name: " ".join(option(*item) for item in fields.items()) for name, fields in qualities.items()}
    return "; ".join(f"{name}: {text or 'the defaults'}" for name, text in presets.items())


_OPTIONS = (
    click.option(
        "--quality",
        type=click.Choice(tuple(QUALITIES)),
        default=PipelineConfig.quality,
        show_default=True,
        help=f"Preset of other options, which win where they are given: {_told(QUALITIES)}.",
    ),
    click.option(
        "--device",
        default="auto",
        show_default=True,
        help="auto, cpu, cuda or cuda:N; infer takes several, cuda:0,cuda:1, and all.",
    ),
    click.option(
        "--engine",
        type=click.Choice(ENGINES),
        default=PipelineConfig.engine,
        show_default=True,
        help="What the networks run in; onnx is ONNX Runtime, of the extra posecli[onnx].",
    ),
    click.option("--detector", default=DetectConfig.detector, show_default=True, help="Network that gives the boxes."),
    click.option(
        "--boxes", metavar="FILE", default="", help="Take the boxes of this COCO results or dataset JSON instead."
    ),
    click.option(
        "--proposer",
        default=DetectConfig.proposer,
        show_default=True,
        help="Network that gives the coarse heatmaps for the filter, where --detector is none that does, or --boxes.",
    ),
    click.option(
        "--refiner",
        default=RefineConfig.refiner,
        show_default=True,
        help="Refinement network, or several as a+b: their heatmaps are averaged.",
    ),
    click.option(
        "--posefix", default=RefineConfig.posefix, metavar="NAME", help="Network that corrects the refiner's poses."
    ),
    click.option(
        "--weights",
        multiple=True,
        metavar="NAME=FILE",
        help="Weights of a network (.safetensors) instead of those that come with posecli. Repeatable.",
    ),
    click.option(
        "--allow-random-weights", is_flag=True, help="Run networks that have no weights; their poses mean nothing."
    ),
    click.option(
        "--detector-size",
        type=_COUNT,
        default=DetectConfig.detector_size,
        show_default=True,
        help="Long side of a proposal network's input, pixels; larger finds smaller people, slower.",
    ),
    click.option(
        "--filter/--no-filter",
        default=FilterConfig.filter,
        help="Filter proposals by their coarse poses, or by box NMS.  [default: filter]",
    ),
    click.option(
        "--box-nms",
        type=click.Choice(BOX_NMS),
        default=FilterConfig.box_nms,
        show_default=True,
        help="With --no-filter, and where the filter has only boxes to compare.",
    ),
    click.option(
        "--max-box-iou",
        type=_UNIT,
        default=FilterConfig.max_box_iou,
        show_default=True,
        help="Boxes that overlap more are one person; to the filter not if their coarse poses are far apart.",
    ),
    click.option(
        "--nms-sigma",
        type=click.FloatRange(0, min_open=True),
        default=FilterConfig.nms_sigma,
        show_default=True,
        help="Of --box-nms soft_gaussian: the larger, the weaker.",
    ),
    click.option(
        "--min-coarse-keypoints",
        type=click.IntRange(0),
        default=FilterConfig.min_coarse_keypoints,
        show_default=True,
        help="A box with fewer coarse keypoints is likely no person.",
    ),
    click.option(
        "--max-people",
        type=_COUNT,
        default=FilterConfig.max_people,
        show_default=True,
        help="Most people of a frame, best first.",
    ),
    click.option("--flip-test", is_flag=True, help="Average with the mirrored crop: a little better, twice the time."),
    click.option(
        "--flip-shift",
        type=_UNIT,
        help="Heatmap cells that the mirrored crop's map is moved right by.  [default: as the refiner's weights want]",
    ),
    click.option(
        "--scales",
        type=numbers,
        default=",".join(f"{scale:g}" for scale in RefineConfig.scales),
        show_default=True,
        metavar="A,B,...",
        help="Average over crops with these many times the usual margin; each costs a run.",
    ),
    click.option(
        "--rotations",
        type=numbers,
        default=",".join(f"{angle:g}" for angle in RefineConfig.rotations),
        show_default=True,
        metavar="A,B,...",
        help="Average over crops turned by these degrees; each costs a run.",
    ),
    click.option(
        "--subpixel",
        type=click.Choice(SUBPIXEL_METHODS),
        help="Where between a heatmap's cells the keypoint is.  [default: as the refiner's weights want]",
    ),
    click.option(
        "--blur",
        type=click.IntRange(0),
        help="Kernel of the heatmaps' Gaussian filter, odd; 0: none.  [default: as the refiner's weights want]",
    ),
    click.option(
        "--blur-sigma",
        type=click.FloatRange(0, min_open=True),
        help="Of that filter, in heatmap cells.  [default: by the kernel, as OpenCV]",
    ),
    click.option(
        "--pose-score",
        type=click.Choice(POSE_SCORES),
        default=MergeConfig.pose_score,
        show_default=True,
        help="A pose's score: its box's times the mean of all keypoints' or, weighed by --pose-share, of those above "
        "--min-keypoint-score; or that calibrated: the share of such poses that are right.",
    ),
    click.option(
        "--pose-share",
        type=_UNIT,
        default=MergeConfig.pose_share,
        show_default=True,
        help="Of the keypoints in the pose's score, the box has the rest: .5 is their product, 1 leaves the box out.",
    ),
    click.option(
        "--calibration",
        type=numbers,
        default=",".join(f"{value:g}" for value in MergeConfig.calibration),
        show_default=True,
        metavar="SLOPE,INTERCEPT",
        help="Of --pose-score calibrated; examples/calibrate_scores.py fits it to a network.",
    ),
    click.option(
        "--min-keypoint-score",
        type=_UNIT,
        default=MergeConfig.min_keypoint_score,
        show_default=True,
        help="Keypoints that count in the pose's score.",
    ),
    click.option(
        "--pose-nms",
        type=click.Choice(POSE_NMS),
        default=MergeConfig.pose_nms,
        show_default=True,
        help="What becomes of a person's second pose: dropped, scored lower, or averaged with the first.",
    ),
    click.option(
        "--max-oks",
        type=_UNIT,
        default=MergeConfig.max_oks,
        show_default=True,
        help="Poses more alike than this are one person's (hard, fusion).",
    ),
    click.option(
        "--soft-nms-sigma",
        type=click.FloatRange(0, min_open=True),
        default=MergeConfig.soft_nms_sigma,
        show_default=True,
        help="Of --pose-nms soft: the larger, the weaker.",
    ),
    click.option(
        "--min-labelled-score",
        type=_UNIT,
        default=MergeConfig.min_labelled_score,
        show_default=True,
        help="Keypoints below are not labelled (v 0) in the dataset file.",
    ),
    click.option(
        "--min-visible-score",
        type=_UNIT,
        default=MergeConfig.min_visible_score,
        show_default=True,
        help="Keypoints from here on are visible (v 2) in the dataset file, those in between hidden (v 1).",
    ),
    click.option(
        "--batch",
        "batch_crops",
        type=_COUNT,
        default=PipelineConfig.batch_crops,
        show_default=True,
        help="Crops in one pass of the refiner.",
    ),
    click.option(
        "--batch-frames",
        type=_COUNT,
        default=PipelineConfig.batch_frames,
        show_default=True,
        help="Frames in one pass of the detector; a GPU wants more than a CPU.",
    ),
)


def pipeline_options(
    *,
    min_score: float,
    min_box_score: float = DetectConfig.min_box_score,
    precision: str = PipelineConfig.precision,
) -> Callable[[Callable[..., None]], Any]:
    """Add the options; the command gets `config: PipelineConfig` and `loading`, keywords of `pipeline.load_pipeline`.

    Args:
        min_score: the command's default of --min-score.
        min_box_score: the command's default of --min-box-score.
        precision: the command's default of --precision.
    """
    with_defaults = (
        click.option(
            "--min-box-score",
            type=_UNIT,
            default=min_box_score,
            show_default=True,
            help="Proposals below are not looked at.",
        ),
        click.option(
            "--min-score",
            type=_UNIT,
            default=min_score,
            show_default=True,
            help="Poses with a lower score are left out.",
        ),
        click.option(
            "--precision",
            type=click.Choice(PRECISIONS),
            default=precision,
            show_default=True,
            help="What networks compute in; auto is bf16 where the processor has it, else fp32.",
        ),
    )

    def decorate(command: Callable[..., None]) -> Any:
        @wraps(command)
        def collected(device: str, weights: tuple[str, ...], allow_random_weights: bool, **options: Any) -> None:
            stages = {"detect": DetectConfig, "filtering": FilterConfig, "refine": RefineConfig, "merge": MergeConfig}
            _preset(options)
            parts: dict[str, Any] = {name: _build(kind, options) for name, kind in stages.items()}
            own = ("quality", "engine", "precision", "batch_crops", "batch_frames")
            config = PipelineConfig(**parts, **{name: options.pop(name) for name in own})
            loading = {"device": device, "weights": _weight_files(weights), "allow_random": allow_random_weights}
            command(config=config, loading=loading, **options)

        for option in reversed((*_OPTIONS, *with_defaults)):
            collected = option(collected)
        return collected

    return decorate


# Of what COCO's AP wants, `infer` writes what helps somebody who looks at it. Boxes below .26 cost half as many refiner
# runs again for .003 of AP; of poses below .2 five in a hundred are right.
annotating_options = pipeline_options(min_score=0.21, min_box_score=0.26, precision="auto")


def _preset(options: dict[str, Any]) -> None:
    """Set what --quality says, but nothing that the user set."""
    context = click.get_current_context()
    for name, value in QUALITIES[options["quality"]].items():
        if context.get_parameter_source(name) is ParameterSource.DEFAULT:
            options[name] = value


def _build(kind: type[Any], options: dict[str, Any]) -> Any:
    """Make a configuration of the options that bear its fields' names, taking them out of `options`."""
    return kind(**{item.name: options.pop(item.name) for item in fields(kind) if item.name in options})


def _weight_files(given: tuple[str, ...]) -> dict[str, Path]:
    files = {}
    for item in given:
        name, separator, path = item.partition("=")
        if not separator or not path:
            raise ConfigError(f"--weights {item}: wanted NAME=FILE, as in --weights prs-tiny=mine.safetensors")
        files[name] = Path(path)
    return files
