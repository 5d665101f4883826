"""ONNX files behind the contracts of our own networks; the extra `onnx` brings ONNX Runtime.

`onnx:FILE` names one wherever a detector or a refiner is named: what `posecli weights export` wrote, or other people's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, interpolate

from posecli.backends.families import PROPOSER_OUTPUTS, family_of, spec_of
from posecli.backends.found_boxes import Found, read_raw_rtmdet, read_rtmdet, read_yolox
from posecli.backends.sessions import answer, open_session
from posecli.errors import ConfigError, WeightsError
from posecli.geometry.constants import constant
from posecli.networks import ModelSpec
from posecli.networks.detposenet import RawProposals
from posecli.networks.posefix import PoseFix
from posecli.skeleton import EDGES, NUM_KEYPOINTS

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

PREFIX = "onnx:"


class OnnxRefiner(nn.Module):
    """Crops, and poses to refine where the network takes them, to heatmaps."""

    draw_prior = staticmethod(PoseFix.draw_prior)  # for networks that take poses

    def __init__(self, session: InferenceSession, read: Callable[[list[Tensor]], Tensor]) -> None:
        super().__init__()
        self._session, self._read = session, read

    def forward(self, crops: Tensor, *prior: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, h, w) normalised crops -> one set of heatmaps, (N, K, h/s, w/s)."""
        return (self._read(answer(self._session, crops, *prior)).to(crops.device),)


class OnnxProposer(nn.Module):
    """Pictures to boxes, coarse heatmaps and part affinity fields."""

    def __init__(self, session: InferenceSession) -> None:
        super().__init__()
        self._session = session
        self._order = [[output.name for output in session.get_outputs()].index(name) for name in PROPOSER_OUTPUTS]

    def forward(self, images: Tensor) -> RawProposals:
        """(N, 3, H, W) normalised pictures, H and W multiples of 32 -> `RawProposals`."""
        outputs = [part.float().to(images.device) for part in answer(self._session, images)]
        logits, boxes, heatmaps, pafs = (outputs[index] for index in self._order)
        return RawProposals(logits, boxes, heatmaps, pafs)


class OnnxDetector(nn.Module):
    """Pictures to people's boxes."""

    def __init__(self, session: InferenceSession, spec: ModelSpec, family: str) -> None:
        super().__init__()
        self._session, self._spec, self._family = session, spec, family

    def forward(self, images: Sequence[Tensor]) -> list[Found]:
        """(3, H, W) uint8 RGB pictures -> (boxes_xyxy, scores) each, in the picture's pixels."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Tensor) -> Found:
        height, width = self._spec.input_hw
        factor = min(height / image.shape[1], width / image.shape[2])
        size_hw = [max(1, round(side * factor)) for side in image.shape[1:]]
        small = _resize(image, size_hw, rounded=self._spec.rounded)
        whole = (255 * constant(self._spec.border, like=small))[:, None, None].repeat(1, height, width)
        whole[:, : size_hw[0], : size_hw[1]] = small
        boxes, scores = self._read(answer(self._session, self._spec.normalise(whole[None], white=255)))
        return boxes.to(image.device) / factor, scores.to(image.device)

    def _read(self, outputs: list[Tensor]) -> Found:
        if self._family == "yolox":
            return read_yolox(outputs[0][0], self._spec.input_hw)
        if self._family == "rtmdet-raw":
            return read_raw_rtmdet(outputs, self._spec.input_hw)
        return read_rtmdet(outputs)


def _resize(image: Tensor, size_hw: Sequence[int], *, rounded: bool) -> Tensor:
    """Return (3, h, w) float32 in [0, 255] of a (3, H, W) uint8 picture.

    Small detectors move a box by many pixels when a few grey values change by one. So a rounded picture is, on a CPU,
    the one of OpenCV that they were trained on.
    """
    if rounded and image.device.type == "cpu":
        bytes_hwc = cv2.resize(image.permute(1, 2, 0).numpy(), (size_hw[1], size_hw[0]))
        return torch.from_numpy(bytes_hwc).permute(2, 0, 1).float()
    return interpolate(image[None].float(), list(size_hw), mode="bilinear", align_corners=False)[0]


def _last(outputs: list[Tensor]) -> Tensor:
    return outputs[-1].float()


def _simcc(outputs: list[Tensor]) -> Tensor:
    """Spread (N, K, 2 w) and (N, K, 2 h) scores over the crop's pixels: each pixel has the mean of its column and row.

    The best pixel, its neighbours' curvature and its score are those of the two lists; heatmaps can be averaged.
    Source: RTMPose (Jiang et al., 2023), decoding of `SimCCLabel`.
    """
    across, down = (avg_pool1d(part.float(), 2) for part in outputs)
    return (down[..., :, None] + across[..., None, :]) / 2


def onnx_path(name: str) -> Path:
    """Return the file that `onnx:FILE` names.

    Raises:
        WeightsError: it is not there.
    """
    path = Path(name.removeprefix(PREFIX))
    if not path.is_file():
        raise WeightsError(f"{path}: no such ONNX file")
    return path


def load_onnx(name: str, *, device: torch.device, kinds: Sequence[str]) -> tuple[nn.Module, ModelSpec]:
    """Open the file that `onnx:FILE` names as a network; see `open_network`.

    Raises:
        ConfigError: see there.
        WeightsError: see there, or the file is missing.
    """
    return open_network(onnx_path(name), name=name, device=device, kinds=kinds)


def open_network(path: Path, *, name: str, device: torch.device, kinds: Sequence[str]) -> tuple[nn.Module, ModelSpec]:
    """Open an ONNX file as a network.

    Args:
        path: the file.
        name: what the network is called.
        device: where it shall run.
        kinds: those that will do, of "refiner", "proposer" and "detector".

    Raises:
        ConfigError: ONNX Runtime is not installed, the TOML beside the file is wrong, or a network of another kind.
        WeightsError: the file is damaged or of no known family.
    """
    session = open_session(path, device)
    family = family_of(session, path)
    spec = spec_of(session, path, family, name=name)
    if spec.kind not in kinds:
        raise ConfigError(f"{name} is a {spec.kind}, wanted a {' or '.join(kinds)}")
    if spec.kind == "detector":
        return OnnxDetector(session, spec, family).eval(), spec
    if spec.kind == "proposer":
        proposer = OnnxProposer(session).eval()
        return proposer, replace(spec, codec=replace(spec.codec, stride=_proposers_stride(proposer, spec, path)))
    refiner = OnnxRefiner(session, _simcc if family == "simcc" else _last).eval()
    return refiner, replace(spec, codec=replace(spec.codec, stride=_refiners_stride(refiner, spec, path)))


def _refiners_stride(network: nn.Module, spec: ModelSpec, path: Path) -> int:
    """Return the crop pixels of a heatmap's cell, as a first run shows them.

    Raises:
        WeightsError: its answer is no heatmaps of ours.
    """
    height, width = spec.input_hw
    inputs = [torch.zeros(1, 3, height, width)]
    if spec.takes_prior:
        inputs.append(torch.zeros(1, NUM_KEYPOINTS, height, width))
    shape = network(*inputs)[0].shape
    if len(shape) != 4 or shape[1] != NUM_KEYPOINTS or not shape[2] or height % shape[2]:
        raise WeightsError(f"{path}: its heatmaps are {tuple(shape)}, wanted (N, {NUM_KEYPOINTS}, h/s, w/s)")
    return height // shape[2]


def _proposers_stride(network: nn.Module, spec: ModelSpec, path: Path) -> int:
    """Return the input pixels of a heatmap's cell, as a first run on a picture of another size shows them.

    Raises:
        WeightsError: it takes one size only, or its answer has other parts than ours.
    """
    height, width = 64, 96
    try:
        raw = network(torch.zeros(1, 3, height, width))
    except Exception as error:  # as in `open_session`
        raise WeightsError(f"{path}: cannot take pictures of {width}x{height}; a proposer takes any size") from error
    shapes = [tuple(part.shape) for part in (raw.logits, raw.boxes, raw.heatmaps, raw.pafs)]
    cells, grid = shapes[0][-1:], shapes[2][-2:]
    wanted = [(1, *cells), (1, *cells, 4), (1, NUM_KEYPOINTS, *grid), (1, 2 * len(EDGES), *grid)]
    if shapes != wanted or not grid[0] or height % grid[0]:
        raise WeightsError(f"{path}: answers {shapes} to one picture of {width}x{height}, wanted {wanted}")
    return height // grid[0]
