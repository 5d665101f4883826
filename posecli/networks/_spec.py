"""What the pipeline and the trainer know of a network: its spec, never its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from posecli.geometry.heatmaps import HeatmapCodec


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One network of the zoo, with the preprocessing and decoding that its weights expect.

    A "refiner" maps (N, 3, h, w) crops to a tuple of (N, K, h/s, w/s) heatmaps, coarse first, the answer last at the
    codec's stride. A "proposer" maps (N, 3, H, W) pictures to `detposenet.RawProposals`.
    """

    name: str
    kind: str  # "refiner" or "proposer"
    build: Callable[[], nn.Module]
    input_hw: tuple[int, int]  # pixels; a proposer takes any multiple of 32
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)  # RGB, of values in [0, 1]
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    codec: HeatmapCodec = field(default_factory=HeatmapCodec)
    source: str = ""  # paper section or public code
