"""What the pipeline and the trainer know of a network: its spec, never its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from posecli.errors import ConfigError
from posecli.geometry.constants import constant
from posecli.geometry.heatmaps import HeatmapCodec

_WHITE = 255  # of a byte
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB, of values in [0, 1]


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One network of the zoo, with the preprocessing and decoding that its weights expect.

    A "refiner" maps (N, 3, h, w) crops to a tuple of (N, K, h/s, w/s) heatmaps, coarse first, the answer last at the
    codec's stride; with `takes_prior` its second argument are the (N, K, h, w) heatmaps of the poses to refine.
    A "proposer" maps (N, 3, H, W) pictures to `detposenet.RawProposals`. A "detector" maps a list of
    (3, H, W) uint8 RGB pictures of any size to a list of (boxes_xyxy, scores), one a picture.
    """

    name: str
    kind: str  # "refiner", "proposer" or "detector"
    build: Callable[[], nn.Module]
    input_hw: tuple[int, int]  # pixels; a proposer takes any multiple of 32
    bgr: bool = False  # the network takes blue first
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)  # of values in [0, 1], in the order that the network takes them
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    margin: tuple[float, float] = (1.25, 1.25)  # a person's box grows by this in x and y before its crop is cut
    half_pixel: bool = True  # how a box becomes a crop: see `affine.crop_matrices`
    border: tuple[float, float, float] = (0.0, 0.0, 0.0)  # RGB in [0, 1] of what a crop sees outside the picture
    rounded: bool = False  # it takes whole grey values, as programs that keep their crops in bytes give it
    codec: HeatmapCodec = field(default_factory=HeatmapCodec)
    target_sigmas: tuple[float, ...] = ()  # heatmap cells, one an output, coarse first; empty: as the codec says
    takes_prior: bool = False
    source: str = ""  # paper section or public code
    license: str = ""  # of the public weights, as their publisher states it
    reported_ap: float | None = None  # by the publisher of code or paper, in [0, 1]; never measured by us
    reported_on: str = ""  # which data and person boxes that was measured with

    def normalise(self, images: Tensor, *, white: float = 1.0) -> Tensor:
        """Turn (N, 3, H, W) RGB in [0, `white`] into what the network takes, channels last in memory."""
        if self.rounded:
            images = images.round() if white == _WHITE else (images * (_WHITE / white)).round() * (white / _WHITE)
        images = images.flip(1) if self.bgr else images
        scales = tuple(1 / (white * std) for std in self.std)
        shifts = tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True))
        if len({*scales}) == len({*shifts}) == 1:  # numbers are several times as fast on a CPU
            normal = images * scales[0] + shifts[0]
        else:
            scale, shift = (constant(values, like=images)[:, None, None] for values in (scales, shifts))
            normal = torch.addcmul(shift, images, scale)
        return normal.contiguous(memory_format=torch.channels_last)

    def with_options(self, options: Mapping[str, Any], *, input_hw: tuple[int, int] | None = None) -> ModelSpec:
        """Return the spec of the same network with some of its constructor's arguments, or its input size, changed.

        Args:
            options: by the arguments' names. What builds a part, a trunk say, gets a table of that part's own options.
            input_hw: instead of the spec's.

        Raises:
            ConfigError: the network has no such argument, or cannot be built with its value.
        """
        build = _with_options(self.build, options, self.name)
        if options:
            try:
                with torch.device("meta"):
                    build()
            except (TypeError, ValueError, RuntimeError, LookupError, AttributeError, ArithmeticError) as error:
                raise ConfigError(f"{self.name} cannot be built with {dict(options)}: {error}") from error
        return replace(self, build=build, input_hw=input_hw or self.input_hw)


def _with_options(build: Callable[..., Any], options: Mapping[str, Any], where: str) -> Callable[..., Any]:
    if isinstance(build, partial):  # what it was given by place can be replaced by name
        build = partial(build.func, **signature(build.func).bind_partial(*build.args, **build.keywords).arguments)
    known = signature(build).parameters
    chosen: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known:
            raise ConfigError(f"{where} has no option {name!r}; choose from {', '.join(known) or 'none'}")
        part = known[name].default
        if isinstance(value, Mapping):
            if not callable(part):
                raise ConfigError(f"{where}: option {name} is no part with options of its own, got a table")
            chosen[name] = _with_options(part, value, f"{where}: {name}")
        else:
            chosen[name] = tuple(value) if isinstance(value, list) else value
    return partial(build, **chosen) if chosen else build
