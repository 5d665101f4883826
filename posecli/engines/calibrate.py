"""Networks in 8 bits, after a look at what goes into them on real pictures, as the pipeline prepares it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor, nn

from posecli.backends.export import Exported, export_network, resolve
from posecli.backends.quantize import quantize
from posecli.config import DetectConfig, PipelineConfig, ReadConfig, RefineConfig
from posecli.errors import ConfigError, InputError
from posecli.media.sources import open_source
from posecli.networks import get_spec
from posecli.pipeline import load_pipeline

_ENOUGH = 96  # crops or pictures; more moved the ranges no more
_MOST_FRAMES = 120


@dataclass(frozen=True)
class Calibration:
    """Pictures that show the ranges of a network's numbers."""

    source: Path  # a folder of pictures or a video; frames are taken from all over it
    boxes: Path | None = None  # a COCO file with its people's boxes, in place of a detector's


def export_int8(
    name: str, path: Path, calibration: Calibration, *, weights: Path | None = None
) -> tuple[Exported, float]:
    """Write a network of the zoo as an ONNX file in 8 bits.

    Args:
        name: of a network of one input, or of a public checkpoint that was pulled.
        path: the file.
        calibration: see there.
        weights: instead of those on this machine.

    Returns:
        The file, and how far its answers are off; see `quantize`.

    Raises:
        ConfigError: no such network, one that takes poses, or the extra `onnx` is not installed.
        InputError: no pictures, or nobody on them.
        WeightsError: see `export_network` and `quantize`.
    """
    spec, file = resolve(name, weights)
    if spec.takes_prior:
        raise ConfigError(f"{name} takes poses beside pictures, which calibration does not make; leave out --int8")
    with TemporaryDirectory() as folder:
        exact = export_network(name, Path(folder) / "exact.onnx", weights=weights)
        off = quantize(exact.path, path, calibration_inputs(spec.name, file, calibration))
    return replace(exact, path=path, bytes=path.stat().st_size), off


def calibration_inputs(name: str, weights: Path, calibration: Calibration) -> list[Tensor]:
    """Run the pipeline on pictures and return what one of its networks got to see.

    Args:
        name: a refiner or a proposer of the zoo, which the pipeline takes beside default networks.
        weights: its own.
        calibration: the pictures.

    Returns:
        Batches (N, 3, h, w), of 96 pictures or crops together, or of a few more or less.

    Raises:
        InputError: no pictures, or nobody on them.
        WeightsError: damaged weights.
    """
    seen: list[Tensor] = []
    source = calibration.source

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].detach().clone())

    pipeline = load_pipeline(_config(name, calibration.boxes), device="cpu", weights={name: weights})
    pipeline.networks[name].register_forward_pre_hook(note)
    with open_source(source) as whole:
        count = whole.header_frames or 1
    with open_source(source, ReadConfig(stride=max(1, count // _MOST_FRAMES), max_frames=_MOST_FRAMES)) as frames:
        for _ in pipeline.run(frames):
            if sum(map(len, seen)) >= _ENOUGH:
                break
    if not seen:
        raise InputError(f"{source}: nobody on its pictures, wanted people to calibrate {name} on")
    return seen


def _config(name: str, boxes: Path | None) -> PipelineConfig:
    if get_spec(name).kind == "proposer":
        return PipelineConfig(detect=DetectConfig(detector=name))
    detect: dict[str, Any] = {"boxes": str(boxes)} if boxes else {}
    return PipelineConfig(detect=DetectConfig(**detect), refine=RefineConfig(refiner=name))
