"""ONNX files in 8 bits: weights and features as whole numbers, whose ranges real pictures have shown.

The last layers stay in float32: they place a heatmap's top to a fraction of a cell, and most of what 8 bits cost in
accuracy was theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor

from posecli.backends.sessions import answer, import_onnxruntime, open_session
from posecli.errors import WeightsError
from posecli.media.files import replacing

_LAYERS = ("Conv", "ConvTranspose", "Gemm")
_BETWEEN = ("Add", "Clip", "Concat", "MatMul", "MaxPool", "Relu", "Resize")  # what ONNX Runtime does in 8 bits, too
_FLOAT_SHARE = 0.2  # of these layers, the last ones, that stay in float32


def quantize(path: Path, out: Path, batches: Sequence[Tensor]) -> float:
    """Write the network of an ONNX file in 8 bits, with all that the file says of itself.

    Args:
        path: what `export` wrote, of one input.
        out: the file to write.
        batches: (N, 3, h, w) each, as the network takes them; they show the ranges.

    Returns:
        How far the answers to these very batches are off: root of the mean square, as a share of the largest number
        of the same output; of several outputs the worst.

    Raises:
        ConfigError: the extra `onnx` is not installed.
        WeightsError: the network cannot be quantised, or the file not be written.
    """
    import_onnxruntime(str(path))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as folder, replacing(out, out.with_name(f".{out.name}.{uuid4().hex}.part")) as part:
            _write(path, part, batches, prepared=Path(folder) / "prepared.onnx")
            return _difference(path, part, batches)
    except OSError as error:
        raise WeightsError(f"{out}: cannot be written ({error.strerror or error})") from error


def _write(path: Path, out: Path, batches: Sequence[Tensor], *, prepared: Path) -> None:
    onnx, tools = import_module("onnx"), import_module("onnxruntime.quantization")
    prepare = import_module("onnxruntime.quantization.shape_inference").quant_pre_process
    try:
        prepare(str(path), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(str(prepared)).graph
        tools.quantize_static(
            str(prepared),
            str(out),
            _Reader(graph.input[0].name, batches),
            quant_format=tools.QuantFormat.QDQ,
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            op_types_to_quantize=[*_LAYERS, *_BETWEEN],
            nodes_to_exclude=_last_layers(graph),
            extra_options={"CalibMovingAverage": True},  # the mean of the batches' ranges: outliers count less
        )
    except OSError:
        raise
    except Exception as error:  # of many kinds
        raise WeightsError(f"{path}: cannot be quantised ({error})") from error


class _Reader:
    """Hands out batches, as `onnxruntime.quantization.CalibrationDataReader` does."""

    def __init__(self, name: str, batches: Sequence[Tensor]) -> None:
        self._name, self._batches = name, iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch.contiguous().numpy()}


def _last_layers(graph: Any) -> list[str]:
    """Name all nodes from the first layer on that stays in float32, in the order in which they are computed."""
    places = [place for place, node in enumerate(graph.node) if node.op_type in _LAYERS]
    first = places[int(len(places) * (1 - _FLOAT_SHARE))] if places else 0
    return [node.name for node in graph.node[first:]]


def _difference(path: Path, quantized: Path, batches: Sequence[Tensor]) -> float:
    exact, rough = (open_session(file, torch.device("cpu")) for file in (path, quantized))
    answers = [(answer(exact, batch), answer(rough, batch)) for batch in batches]
    return max(
        _off([wanted[index] for wanted, _ in answers], [found[index] for _, found in answers])
        for index in range(len(answers[0][0]))
    )


def _off(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """Compare one output over all batches."""
    squares = sum(float((ours - theirs).square().sum()) for ours, theirs in zip(wanted, found, strict=True))
    mean = squares / sum(item.numel() for item in wanted)
    return float(mean**0.5 / max(1e-12, *(float(item.abs().max()) for item in wanted)))
