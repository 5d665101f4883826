"""Small tables of numbers on a device, sent there once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


def constant(values: tuple[Any, ...], *, like: Tensor) -> Tensor:
    """Return numbers, or rows of numbers, as a tensor of another one's type and device; not to be written to.

    Every `new_tensor` waits for a GPU to have done all that it was given; this waits the first time only.
    """
    return _tensor(values, like.dtype, like.device)


def indexes(values: tuple[int, ...], *, like: Tensor) -> Tensor:
    """Return (N,) int64 indexes on another tensor's device; not to be written to."""
    return _tensor(values, torch.int64, like.device)


@lru_cache(maxsize=256)
def _tensor(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(mode=False):  # training may meet it, too
        return torch.tensor(values, dtype=dtype, device=device)
