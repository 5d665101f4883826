"""Other people's networks as ONNX files, behind the contracts of our own; the extra `onnx` brings ONNX Runtime.

`onnx:FILE` names one wherever a detector or a refiner is named. Which kind of network it is shows in its outputs; how
pictures go in is that family's habit, or stands in a TOML beside it, `FILE` with the suffix `.toml`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, interpolate, pad

from posecli.errors import ConfigError, InputError, WeightsError
from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks import ModelSpec
from posecli.networks._conventions import override
from posecli.networks._spec import IMAGENET_MEAN, IMAGENET_STD
from posecli.runtime import onnx_providers, share_cores
from posecli.skeleton import NUM_KEYPOINTS

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREFIX = "onnx:"

_YOLOX_STRIDES = (8, 16, 32)
_PERSON = 0  # COCO's first class
_MOST_BOXES = 300  # of a detector without NMS inside, best first; the filter does the rest


def _not_built() -> nn.Module:
    raise ConfigError("a network of an ONNX file has no weights to train or to change")


def _habit(kind: str, *, codec: HeatmapCodec | None = None, **changed: Any) -> ModelSpec:
    spec = ModelSpec(name="", kind=kind, build=_not_built, input_hw=(256, 192), source="ONNX file")
    return replace(spec, codec=codec or HeatmapCodec(), **changed)


_BYTES = ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))  # mean and std of networks that take values of 0 to 255
_GREY = (114 / 255, 114 / 255, 114 / 255)

# How the published networks of a family want their pictures; input sizes count where the file leaves them open.
_FAMILIES = {
    "heatmaps": _habit(
        "refiner", mean=IMAGENET_MEAN, std=IMAGENET_STD, codec=HeatmapCodec(offset=0.0, subpixel="dark", blur=11)
    ),
    "simcc": _habit("refiner", mean=IMAGENET_MEAN, std=IMAGENET_STD, codec=HeatmapCodec(stride=1, subpixel="parabola")),
    "rtmdet": _habit(
        "detector", input_hw=(640, 640), bgr=True, mean=IMAGENET_MEAN[::-1], std=IMAGENET_STD[::-1], border=_GREY
    ),
    "yolox": _habit("detector", input_hw=(640, 640), bgr=True, mean=_BYTES[0], std=_BYTES[1], border=_GREY),
}


class OnnxRefiner(nn.Module):
    """Crops to heatmaps through ONNX Runtime."""

    def __init__(self, session: InferenceSession, read: Callable[[list[Tensor]], Tensor]) -> None:
        super().__init__()
        self._session, self._read = session, read

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, h, w) normalised crops -> one set of heatmaps, (N, K, h/s, w/s)."""
        return (self._read(_answer(self._session, crops)).to(crops.device),)


class OnnxDetector(nn.Module):
    """Pictures to people's boxes through ONNX Runtime."""

    def __init__(self, session: InferenceSession, spec: ModelSpec) -> None:
        super().__init__()
        self._session, self._spec = session, spec

    def forward(self, images: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """(3, H, W) pictures, RGB in [0, 1] -> (boxes_xyxy, scores) each, in the picture's pixels."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Tensor) -> tuple[Tensor, Tensor]:
        height, width = self._spec.input_hw
        factor = min(height / image.shape[1], width / image.shape[2])
        size_hw = [max(1, round(side * factor)) for side in image.shape[1:]]
        small = interpolate(image[None], size_hw, mode="bilinear", align_corners=False)
        whole = small.new_tensor(self._spec.border)[:, None, None].repeat(1, height, width)
        whole[:, : size_hw[0], : size_hw[1]] = small[0]
        answer = _answer(self._session, self._spec.normalise(whole[None]))
        boxes, scores = _yolox(answer[0][0], (height, width)) if len(answer) == 1 else _rtmdet(answer)
        return boxes.to(image.device) / factor, scores.to(image.device)


def _answer(session: InferenceSession, inputs: Tensor) -> list[Tensor]:
    """Run a session; a file with a fixed batch gets batches of that size, the last one filled up."""
    (wanted,) = session.get_inputs()
    fixed = wanted.shape[0] if isinstance(wanted.shape[0], int) else len(inputs)
    parts = []
    for batch in inputs.cpu().contiguous().split(max(1, fixed)):
        filled = pad(batch, (0, 0, 0, 0, 0, 0, 0, fixed - len(batch)))
        outputs = session.run(None, {wanted.name: filled.numpy()})
        parts.append([torch.from_numpy(output)[: len(batch)] for output in outputs])
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def _heatmaps(answer: list[Tensor]) -> Tensor:
    return answer[-1].float()


def _simcc(answer: list[Tensor]) -> Tensor:
    """Spread (N, K, 2 w) and (N, K, 2 h) scores over the crop's pixels: each pixel has the mean of its column and row.

    The best pixel, its neighbours' curvature and its score are those of the two lists; heatmaps can be averaged.
    Source: RTMPose (Jiang et al., 2023), decoding of `SimCCLabel`.
    """
    across, down = (avg_pool1d(part.float(), 2) for part in answer)
    return (down[..., :, None] + across[..., None, :]) / 2


def _rtmdet(answer: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Read (1, P, 5) boxes with scores and (1, P) classes, NMS inside. Source: mmdeploy's detection export."""
    dets, labels = answer
    people = dets[0][labels[0] == _PERSON].float()
    return people[:, :4], people[:, 4].clamp(0, 1)


def _yolox(rows: Tensor, input_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Read (P, 85) cells of strides 8, 16 and 32, no NMS inside. Source: YOLOX (Ge et al., 2021), `decode_outputs`."""
    cells: list[Tensor] = []
    strides: list[Tensor] = []
    for stride in _YOLOX_STRIDES:
        y, x = torch.meshgrid(torch.arange(input_hw[0] // stride), torch.arange(input_hw[1] // stride), indexing="ij")
        cells.append(torch.stack((x, y), dim=-1).view(-1, 2))
        strides.append(torch.full((x.numel(), 1), float(stride)))
    scale = torch.cat(strides)
    if len(rows) != len(scale):
        raise InputError(f"an output of {len(rows)} cells, wanted {len(scale)} for {input_hw[0]}x{input_hw[1]}")
    centre = (rows[:, :2] + torch.cat(cells)) * scale
    half = rows[:, 2:4].exp() * scale / 2
    scores = (rows[:, 4] * rows[:, 5 + _PERSON]).float().clamp(0, 1)
    best, index = scores.topk(min(_MOST_BOXES, len(scores)))
    return torch.cat((centre - half, centre + half), dim=1).float()[index], best


def onnx_path(name: str) -> Path:
    """Return the file that `onnx:FILE` names.

    Raises:
        WeightsError: it is not there.
    """
    path = Path(name.removeprefix(PREFIX))
    if not path.is_file():
        raise WeightsError(f"{path}: no such ONNX file")
    return path


def load_onnx(name: str, *, device: torch.device, kind: str) -> tuple[nn.Module, ModelSpec]:
    """Open an ONNX file as a network.

    Args:
        name: `onnx:FILE`.
        device: where it shall run.
        kind: "refiner" or "detector".

    Raises:
        ConfigError: ONNX Runtime is not installed, the TOML beside the file is wrong, or a network of another kind.
        WeightsError: the file is missing, damaged, or of no known family.
    """
    path = onnx_path(name)
    session = _session(path, device)
    family = _family(session, path)
    spec = _beside(path, replace(_FAMILIES[family], name=name))
    if spec.kind != kind:
        raise ConfigError(f"{name} is a {spec.kind}, wanted a {kind}")
    height, width = session.get_inputs()[0].shape[2:]
    spec = replace(
        spec,
        input_hw=(
            height if isinstance(height, int) else spec.input_hw[0],
            width if isinstance(width, int) else spec.input_hw[1],
        ),
    )
    if kind == "detector":
        return OnnxDetector(session, spec).eval(), spec
    network = OnnxRefiner(session, _simcc if family == "simcc" else _heatmaps).eval()
    shape = network(torch.zeros(1, 3, *spec.input_hw))[0].shape
    if len(shape) != 4 or shape[1] != NUM_KEYPOINTS or spec.input_hw[0] % shape[2]:
        raise WeightsError(f"{path}: its heatmaps are {tuple(shape)}, wanted (N, {NUM_KEYPOINTS}, h/s, w/s)")
    return network, replace(spec, codec=replace(spec.codec, stride=spec.input_hw[0] // shape[2]))


def _session(path: Path, device: torch.device) -> InferenceSession:
    try:
        import onnxruntime  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError(f"{PREFIX}{path}: needs ONNX Runtime: pip install 'posecli[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = share_cores(device).cores  # batches run side by side
    options.log_severity_level = 3  # errors; they come as exceptions
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=onnx_providers(device))
    except Exception as error:  # onnxruntime has a dozen kinds, with no base class of their own
        raise WeightsError(f"{path}: ONNX Runtime cannot use it ({str(error).splitlines()[0]})") from error


def _family(session: InferenceSession, path: Path) -> str:
    """Tell the family by the outputs' names and shapes."""
    outputs = session.get_outputs()
    shapes = [output.shape for output in outputs]
    names = {output.name for output in outputs}
    if len(session.get_inputs()) == 1:
        if {"dets", "labels"} <= names:
            return "rtmdet"
        if {"simcc_x", "simcc_y"} <= names:
            return "simcc"
        if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][-1] == 85:
            return "yolox"
        if len(shapes[-1]) == 4 and shapes[-1][1] == NUM_KEYPOINTS:
            return "heatmaps"
    described = ", ".join(f"{output.name} {output.shape}" for output in outputs)
    raise WeightsError(f"{path}: outputs {described}: neither heatmaps of 17 keypoints, SimCC, RTMDet nor YOLOX")


def _beside(path: Path, spec: ModelSpec) -> ModelSpec:
    """Apply the TOML beside a file, if there is one."""
    beside = path.with_suffix(".toml")
    if not beside.is_file():
        return spec
    try:
        return override(spec, tomllib.loads(beside.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{beside}: cannot be read as TOML ({error})") from error
    except ConfigError as error:
        raise ConfigError(f"{beside}: {error}") from error
