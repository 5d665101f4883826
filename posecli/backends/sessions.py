"""ONNX Runtime's sessions: opened with the threads that they may have, and run on tensors."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from posecli.errors import ConfigError, WeightsError
from posecli.runtime import onnx_providers, share_cores

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def without_extra(what: str) -> ConfigError:
    """Return the error of those who lack a package of the extra `onnx`."""
    return ConfigError(f"{what}: needs ONNX and ONNX Runtime: pip install 'posecli[onnx]'")


def import_onnxruntime(what: str) -> ModuleType:
    """Return ONNX Runtime, which tells nobody what it runs.

    From 1.29 on its packages report each model to their maker, and leave an identifier of the machine in the user's
    cache, unless this variable is set before the import; on Windows the call stops it.

    Args:
        what: needs it.

    Raises:
        ConfigError: it is not installed.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime  # noqa: PLC0415 - an extra
    except ImportError:
        raise without_extra(what) from None
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def falls_back(device: torch.device) -> str:
    """Say why sessions run elsewhere than on a device; empty where they do run there.

    Raises:
        ConfigError: ONNX Runtime is not installed.
    """
    there = import_onnxruntime("--engine onnx").get_available_providers()
    if onnx_providers(device)[0] in there:
        return ""
    return f"runs on the CPU: this ONNX Runtime knows no {device.type}; pip install onnxruntime-gpu in its place"


def open_session(path: Path, device: torch.device) -> InferenceSession:
    """Open a file.

    Its threads sleep when they have nothing to do. ONNX Runtime would let them spin, to be quicker by microseconds at
    the next layer, and take the cores from what decodes, crops and draws meanwhile.

    Raises:
        ConfigError: ONNX Runtime is not installed.
        WeightsError: the file is damaged, or has layers that ONNX Runtime does not know.
    """
    onnxruntime = import_onnxruntime(str(path))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = share_cores(device).cores  # batches run side by side
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors; they come as exceptions
    try:
        wanted = [name for name in onnx_providers(device) if name in onnxruntime.get_available_providers()]
        return onnxruntime.InferenceSession(str(path), options, providers=wanted)
    except Exception as error:  # onnxruntime has a dozen kinds, with no base class of their own
        raise WeightsError(f"{path}: ONNX Runtime cannot use it ({str(error).splitlines()[0]})") from error


def answer(session: InferenceSession, *inputs: Tensor) -> list[Tensor]:
    """Run a session on (N, C, h, w) inputs; a file with a fixed batch gets batches of that size, the last filled up."""
    names = [wanted.name for wanted in session.get_inputs()]
    first, count = session.get_inputs()[0].shape[0], len(inputs[0])
    size = first if isinstance(first, int) and first > 0 else max(1, count)
    parts = []
    for batch in zip(*(item.cpu().contiguous().split(size) for item in inputs), strict=True):
        there = len(batch[0])
        short = size - there if isinstance(first, int) else 0
        filled = [pad(item, (0, 0, 0, 0, 0, 0, 0, short)) if short else item for item in batch]
        outputs = session.run(None, {name: item.numpy() for name, item in zip(names, filled, strict=True)})
        parts.append([torch.from_numpy(output)[:there] for output in outputs])
    return [torch.cat(column) if len(column) > 1 else column[0] for column in zip(*parts, strict=True)]
