"""Networks of the zoo as ONNX files: written, compared with torch, and only then put in place.

torch's older exporter, which follows one run of the network, wants no package beside `onnx`; the newer one wants
`onnxscript` and what that wants.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import torch
from torch import Tensor, nn

from posecli import __version__
from posecli.backends.families import PROPOSER_OUTPUTS, REFINER_OUTPUTS
from posecli.backends.sessions import answer, open_session, without_extra
from posecli.errors import ConfigError, WeightsError
from posecli.media.files import replacing
from posecli.networks import ModelSpec, get_spec, load_network
from posecli.networks._checkpoints import CHECKPOINTS
from posecli.networks._conventions import KEY, to_metadata
from posecli.networks._weights import SHIPPED_LICENSE, cached_path, digest, find_weights, read_weights, shipped_path
from posecli.skeleton import NUM_KEYPOINTS

TOLERANCE = 1e-3  # the most that an answer may differ from torch's, as a share of the largest; 2e-6 to 5e-5 are usual

_OPSET = 17  # ONNX Runtime 1.12 and later know it
_MARGIN_HW = (96, 32)  # pixels that the picture of a proposer's comparison is larger than the one that was followed


def can_be_exported(spec: ModelSpec) -> bool:
    """Say whether a network has one answer for each input: the boxes of a detector are as many as there are people."""
    return spec.kind != "detector"


class _Inference(nn.Module):
    """What inference uses of a network's answer, as a tuple of tensors."""

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self._network, self._kind = network, spec.kind

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        answered = self._network(*inputs)
        if self._kind == "refiner":
            return (answered[-1],)
        return tuple(getattr(answered, name) for name in PROPOSER_OUTPUTS)


@dataclass(frozen=True)
class Exported:
    """A network as an ONNX file."""

    path: Path
    network: str
    bytes: int
    difference: float  # see `export`


def export_network(name: str, path: Path, *, weights: Path | None = None) -> Exported:
    """Write a network of the zoo as an ONNX file; see `export`.

    Args:
        name: of a network, or of a public checkpoint that was pulled.
        path: the file.
        weights: instead of those on this machine.

    Raises:
        ConfigError: no such network, a detector, or the extra `onnx` is not installed.
        WeightsError: no weights, damaged ones, or see `export`.
    """
    spec, file = resolve(name, weights)
    network, fitted = load_network(spec.name, file)
    license_ = SHIPPED_LICENSE if file == shipped_path(name) else read_weights(file).metadata.get("license", "")
    difference = export(network, fitted, path, {"license": license_, "weights_sha256": digest(file)})
    return Exported(path, spec.name, path.stat().st_size, difference)


def resolve(name: str, weights: Path | None = None) -> tuple[ModelSpec, Path]:
    """Return the network that a name of a network or of a public checkpoint stands for, and its weights.

    Raises:
        ConfigError: no such network, or a detector.
        WeightsError: its weights are not on this machine.
    """
    checkpoint = CHECKPOINTS.get(name)
    spec = get_spec(checkpoint.network if checkpoint else name)
    _check_kind(spec)
    if weights is not None:
        return spec, weights
    if name == spec.name:
        return spec, find_weights(name)
    if not cached_path(name).is_file():
        raise WeightsError(f"{name}: its weights are not on this machine; get them with: posecli weights pull {name}")
    return spec, cached_path(name)


def _check_kind(spec: ModelSpec) -> None:
    if not can_be_exported(spec):
        raise ConfigError(f"{spec.name} is a {spec.kind}; ONNX files are made of refiners and proposers")


@torch.inference_mode()
def export(network: nn.Module, spec: ModelSpec, path: Path, facts: Mapping[str, str]) -> float:
    """Write a network with its weights as an ONNX file whose batch, and a proposer's picture, may have any size.

    Args:
        network: on the CPU, ready for inference: evaluation mode, batch norms folded.
        spec: what its weights want; it goes into the file.
        path: the file; it is there only if its answers are torch's.
        facts: what else the file shall say of itself, short words by name.

    Returns:
        The largest difference from torch's answer, as a share of the largest number there.

    Raises:
        ConfigError: a detector, or the extra `onnx` is not installed.
        WeightsError: the network has parts that ONNX cannot express, answers differently, or cannot be written.
    """
    _check_kind(spec)
    if find_spec("onnx") is None:
        raise without_extra(str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, path.with_name(f".{path.name}.{uuid4().hex}.part")) as temporary:
            inference = _Inference(network, spec).eval()
            _write(inference, spec, temporary, where=path)
            _say(temporary, {**facts, "network": spec.name, "posecli": __version__, KEY: to_metadata(spec)})
            difference = _difference(inference, spec, temporary, where=path)
            if not difference <= TOLERANCE:
                raise WeightsError(
                    f"{path}: not written: its answers differ from torch's by {difference:.1e} of the largest, "
                    f"{TOLERANCE:.0e} is allowed"
                )
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written ({error.strerror or error})") from error
    return difference


def _inputs(spec: ModelSpec, batch: int, more_hw: tuple[int, int] = (0, 0)) -> tuple[Tensor, ...]:
    """Return random pictures or crops, always the same ones, and a prior where the network takes one."""
    generator = torch.Generator().manual_seed(batch)
    height, width = (side + more for side, more in zip(spec.input_hw, more_hw, strict=True))
    images = spec.normalise(torch.rand(batch, 3, height, width, generator=generator)).contiguous()
    if not spec.takes_prior:
        return (images,)
    return images, 255 * torch.rand(batch, NUM_KEYPOINTS, height, width, generator=generator)


def _write(inference: nn.Module, spec: ModelSpec, path: Path, *, where: Path) -> None:
    given = _inputs(spec, batch=2)
    names = ["images", "prior"][: len(given)]
    outputs = list(REFINER_OUTPUTS if spec.kind == "refiner" else PROPOSER_OUTPUTS)
    axes = {name: {0: "batch"} for name in (*names, *outputs)}
    if spec.kind == "proposer":
        axes["images"] |= {2: "height", 3: "width"}
    try:
        with warnings.catch_warnings(), _silent():
            warnings.simplefilter("ignore")  # of numbers that it takes for constants: the comparison tells
            torch.onnx.export(
                inference,
                given,
                str(path),
                dynamo=False,
                opset_version=_OPSET,
                input_names=names,
                output_names=outputs,
                dynamic_axes=axes,
            )
    except OSError:
        raise
    except Exception as error:  # torch has many kinds
        raise WeightsError(f"{where}: {spec.name} cannot be expressed in ONNX ({_first_line(error)})") from error


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the exporter from printing a graph that it cannot express to stdout, where results go."""
    log = getattr(torch._C, "_jit_set_onnx_log_enabled", lambda _: None)
    log(False)
    try:
        yield
    finally:
        log(True)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _say(path: Path, facts: Mapping[str, str]) -> None:
    """Put facts into a file's metadata."""
    onnx = import_module("onnx")
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {name: value for name, value in facts.items() if value})
    model.producer_name, model.producer_version = "posecli", __version__
    onnx.save(model, str(path))


def _difference(inference: nn.Module, spec: ModelSpec, path: Path, *, where: Path) -> float:
    """Compare with torch on random inputs of other sizes than the one that was followed."""
    session = open_session(path, torch.device("cpu"))
    worst = 0.0
    for batch, more_hw in ((1, (0, 0)), (3, _MARGIN_HW if spec.kind == "proposer" else (0, 0))):
        given = _inputs(spec, batch, more_hw)
        try:
            found = answer(session, *given)
        except Exception as error:  # as in `open_session`
            told = _first_line(error)
            raise WeightsError(f"{where}: not written: {spec.name} works for one size only there ({told})") from error
        for ours, theirs in zip(inference(*given), found, strict=True):
            if ours.shape != theirs.shape:
                raise WeightsError(f"{where}: not written: answers {tuple(theirs.shape)}, torch {tuple(ours.shape)}")
            gap = float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1e-12))
            worst = max(worst, gap if gap == gap else float("inf"))  # noqa: PLR0124 - not a number
    return worst
