"""What a file of weights says of its own preprocessing and decoding: JSON in its metadata, strictly checked.

A checkpoint is only right with its own: two files that fit the same network may want other colours, crops or decoding.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from posecli.errors import ConfigError, WeightsError
from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks._spec import ModelSpec

KEY = "posecli.spec"  # of the safetensors metadata
_FIELDS = ("input_hw", "bgr", "mean", "std", "margin", "half_pixel", "border", "rounded", "codec")
_OPTIONAL = frozenset(item.name for item in fields(HeatmapCodec) if "None" in str(item.type))
_MAX_CHARS = 10_000
_RANGES = {  # inclusive
    "input_hw": (32, 2048),
    "mean": (-1000, 1000),
    "std": (1e-6, 1000),
    "margin": (0.5, 4),
    "border": (0, 1),
    "stride": (1, 64),
    "heatmap_sigma": (0.1, 100),
    "offset": (-64, 64),
    "peak": (1e-6, 1e6),
    "blur": (0, 99),
    "blur_sigma": (0.1, 100),
}


def to_metadata(spec: ModelSpec) -> str:
    """Write a spec's preprocessing and decoding as JSON."""
    values = {name: getattr(spec, name) for name in _FIELDS}
    return json.dumps({**values, "codec": asdict(spec.codec)})


def from_metadata(spec: ModelSpec, metadata: Mapping[str, str], *, where: str) -> ModelSpec:
    """Return a spec with what a file's metadata say of preprocessing and decoding; the spec itself if they say nothing.

    Args:
        spec: of the network that the file is for.
        metadata: of a file that anybody may have made.
        where: the file, for messages.

    Raises:
        WeightsError: the metadata are not what `to_metadata` writes.
    """
    if KEY not in metadata:
        return spec
    try:
        values = json.loads(metadata[KEY]) if len(metadata[KEY]) <= _MAX_CHARS else None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise WeightsError(f"{where}: its {KEY} is no short JSON object; import the weights again")
    try:
        return override(spec, values)
    except ConfigError as error:
        raise WeightsError(f"{where}: its {KEY} cannot be used: {error}; import the weights again") from error


def override(spec: ModelSpec, values: Mapping[str, object]) -> ModelSpec:
    """Return a spec with other preprocessing and decoding.

    Args:
        spec: stays as it is where nothing else is said.
        values: by field, as JSON or TOML gave them; `codec` is a table of its own.

    Raises:
        ConfigError: an unknown name, a value of another kind, or out of range.
    """
    codec = values.get("codec", {})
    if not isinstance(codec, dict):
        raise ConfigError(f"codec is {codec!r:.40}, wanted an object")
    known = tuple(item.name for item in fields(HeatmapCodec))
    changed = replace(spec.codec, **_checked(codec, like=spec.codec, known=known))
    others = {name: value for name, value in values.items() if name != "codec"}
    return replace(spec, **_checked(others, like=spec, known=_FIELDS[:-1]), codec=changed)


def _checked(values: Mapping[str, object], *, like: ModelSpec | HeatmapCodec, known: tuple[str, ...]) -> dict[str, Any]:
    """Return fields that have the kind of those of `like`.

    Raises:
        ConfigError: an unknown name, another kind, or out of range.
    """
    for name in values:
        if name not in known:
            raise ConfigError(f"unknown {name!r:.40}")
    return {name: _like(name, value, getattr(like, name)) for name, value in values.items()}


def _like(name: str, value: object, example: object) -> object:
    if isinstance(example, tuple):
        if not isinstance(value, list) or len(value) != len(example):
            raise ConfigError(f"{name} is {value!r:.40}, wanted {len(example)} numbers")
        return tuple(_like(name, item, old) for item, old in zip(value, example, strict=True))
    if name in {"blur_sigma", "offset"}:
        if value is None:
            return None
        example = 0.0
    if isinstance(example, bool | str):
        if type(value) is not type(example):
            raise ConfigError(f"{name} is {value!r:.40}, wanted {'true or false' if example in {0, 1} else 'a word'}")
        return value
    kinds = (int,) if isinstance(example, int) else (int, float)
    if type(value) not in kinds or value != value:  # noqa: PLR0124 - not a number
        raise ConfigError(f"{name} is {value!r:.40}, wanted {'a whole' if kinds == (int,) else 'a'} number")
    low, high = _RANGES.get(name, (-math.inf, math.inf))
    if not low <= value <= high:  # type: ignore[operator]
        raise ConfigError(f"{name} is {value!r:.40}, wanted {low:g} to {high:g}")
    return value if kinds == (int,) else float(value)  # type: ignore[arg-type]
