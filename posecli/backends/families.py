"""Which kind of network an ONNX file holds, and how pictures go into it.

The kind shows in the outputs. How pictures go in is the family's habit; files that `export` wrote say it themselves,
and a TOML beside the file, its name with the suffix `.toml`, has the last word.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from posecli.backends.found_boxes import is_raw_rtmdet
from posecli.errors import ConfigError, WeightsError
from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks import ModelSpec
from posecli.networks._conventions import KEY, from_metadata, override
from posecli.networks._spec import IMAGENET_MEAN, IMAGENET_STD
from posecli.skeleton import NUM_KEYPOINTS

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROPOSER_OUTPUTS = ("logits", "boxes", "heatmaps", "pafs")  # of `detposenet.RawProposals`, as `export` writes them
REFINER_OUTPUTS = ("heatmaps",)


def _not_built() -> nn.Module:
    raise ConfigError("a network of an ONNX file has no weights to train or to change")


def _habit(kind: str, *, codec: HeatmapCodec | None = None, **changed: Any) -> ModelSpec:
    # other people's code cuts crops of bytes out of bytes, with OpenCV
    spec = ModelSpec(name="", kind=kind, build=_not_built, input_hw=(256, 192), rounded=True, source="ONNX file")
    return replace(spec, codec=codec or HeatmapCodec(), **changed)


_BYTES = ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))  # mean and std of networks that take values of 0 to 255
_GREY = (114 / 255, 114 / 255, 114 / 255)
_DARK = HeatmapCodec(offset=0.0, subpixel="dark", blur=11)
_UDP = HeatmapCodec(spacing="corners", subpixel="dark_udp", blur=11)
_RTMDET = _habit(
    "detector", input_hw=(640, 640), bgr=True, mean=IMAGENET_MEAN[::-1], std=IMAGENET_STD[::-1], border=_GREY
)

# How the published networks of a family want their pictures; input sizes count where the file leaves them open.
_FAMILIES = {
    "detposenet": _habit("proposer", input_hw=(416, 416)),
    "heatmaps": _habit("refiner", mean=IMAGENET_MEAN, std=IMAGENET_STD, codec=_DARK),
    "vitpose": _habit("refiner", mean=IMAGENET_MEAN, std=IMAGENET_STD, codec=_UDP),
    "posefix": _habit("refiner", takes_prior=True),
    "simcc": _habit("refiner", mean=IMAGENET_MEAN, std=IMAGENET_STD, codec=HeatmapCodec(stride=1, subpixel="parabola")),
    "rtmdet": _RTMDET,
    "rtmdet-raw": _RTMDET,
    "yolox": _habit("detector", input_hw=(640, 640), bgr=True, mean=_BYTES[0], std=_BYTES[1], border=_GREY),
}


def family_of(session: InferenceSession, path: Path) -> str:
    """Tell the family by the names and shapes of what goes in and out, and heatmaps of ViTPose by the file's name.

    Raises:
        WeightsError: none that posecli knows.
    """
    outputs, inputs = session.get_outputs(), session.get_inputs()
    shapes = [list(output.shape) for output in outputs]
    if all(len(item.shape) == 4 for item in inputs):
        if len(inputs) == 1 and (family := _by_names({item.name for item in outputs}) or _by_shapes(shapes)):
            return "vitpose" if family == "heatmaps" and "vitpose" in path.name.lower() else family
        if len(inputs) == 2 and inputs[1].name == "prior" and _are_heatmaps(shapes):
            return "posefix"
    described = ", ".join(f"{output.name} {output.shape}" for output in outputs)
    raise WeightsError(
        f"{path}: outputs {described}: neither heatmaps of {NUM_KEYPOINTS} keypoints, SimCC, RTMDet, YOLOX nor what "
        "posecli writes"
    )


def _by_names(names: set[str]) -> str:
    known = {"detposenet": PROPOSER_OUTPUTS, "rtmdet": ("dets", "labels"), "simcc": ("simcc_x", "simcc_y")}
    return next((family for family, wanted in known.items() if names >= set(wanted)), "")


def _by_shapes(shapes: list[list[Any]]) -> str:
    if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][-1] == 85:
        return "yolox"
    if is_raw_rtmdet(shapes):
        return "rtmdet-raw"
    return "heatmaps" if _are_heatmaps(shapes) else ""


def _are_heatmaps(shapes: list[list[Any]]) -> bool:
    return len(shapes[-1]) == 4 and shapes[-1][1] == NUM_KEYPOINTS


def spec_of(session: InferenceSession, path: Path, family: str, *, name: str) -> ModelSpec:
    """Return how pictures go in and how answers are read: the family's habit, the file's own word, the TOML's.

    Raises:
        ConfigError: the TOML cannot be used.
        WeightsError: what the file says of itself cannot be used.
    """
    told = session.get_modelmeta().custom_metadata_map
    spec = replace(_FAMILIES[family], name=name)
    if KEY in told:  # of ours: nothing is rounded unless it says so, which older files do not know of
        spec = from_metadata(replace(spec, rounded=False), told, where=str(path))
    height, width = session.get_inputs()[0].shape[2:]
    spec = _beside(path, spec)
    return replace(
        spec,
        input_hw=(
            height if isinstance(height, int) else spec.input_hw[0],
            width if isinstance(width, int) else spec.input_hw[1],
        ),
    )


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
