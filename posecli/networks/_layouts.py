"""The layouts of public checkpoints: whose names, for which of our networks, and what such weights expect."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from posecli.networks._key_rules import (
    BODY,
    HEAD,
    Rule,
    faster_rcnn,
    hourglass,
    hourglass52,
    hrnet,
    mspn_mmpose,
    mspn_release,
    resnet,
    simplebaseline,
)
from posecli.networks._spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec

_DROPPED = {
    r".*\.num_batches_tracked": "batch counters, which inference does not read",
    r"(backbone\.)?(fc|classifier)\.(weight|bias)": "the ImageNet classifier",
}


@dataclass(frozen=True)
class Layout:
    """How one project names the tensors of one family of networks."""

    name: str  # of the project
    family: str  # our networks' names start with it
    mark: str  # a public name that tells this layout from the family's others
    rules: tuple[Rule, ...]
    conventions: Callable[[ModelSpec], ModelSpec] = lambda spec: spec
    dropped: Mapping[str, str] = field(default_factory=dict)  # patterns of public names, with the reason
    absent: str = r"(?!)"  # our names that the project has no tensor for: zeros

    def rename(self, public: str) -> str | None:
        """Return our name of a public one, None if no rule knows it."""
        for pattern, ours in self.rules:
            if match := re.fullmatch(pattern, public):
                return match.expand(ours) if isinstance(ours, str) else ours(match)
        return None

    def why_dropped(self, public: str) -> str | None:
        """Return the reason why a tensor is left out, None if it is not."""
        reasons = {**_DROPPED, **self.dropped}
        return next((why for pattern, why in reasons.items() if re.fullmatch(pattern, public)), None)


def _rgb(spec: ModelSpec) -> ModelSpec:
    """Show RGB, as mmpose does to every network. Source: `PoseDataPreprocessor` in its configurations."""
    return replace(spec, bgr=False, mean=IMAGENET_MEAN, std=IMAGENET_STD, margin=(1.25, 1.25))


def _mspn_as_mmpose(spec: ModelSpec) -> ModelSpec:
    """Add what mmpose decodes MSPN's heatmaps with. Source: mmpose `codecs/megvii_heatmap.py`."""
    return replace(_rgb(spec), codec=replace(spec.codec, subpixel="quarter", blur=5, peak=255.0, flip_shift=0.0))


def _towards_255(spec: ModelSpec) -> ModelSpec:
    """MSPN's code trains towards heatmaps of peak 255. Source: its `dataset/JointsDataset.py`, `generate_heatmap`."""
    return replace(spec, codec=replace(spec.codec, peak=255.0))


def with_dark(spec: ModelSpec) -> ModelSpec:
    """Return a spec that decodes as DARK's checkpoints want, with a filter of about the target's width.

    Source: mmpose `MSRAHeatmap(unbiased=True)`, whose configurations filter with 11 cells for a sigma of 2, 17 for 3.
    """
    blur = 11 if spec.codec.heatmap_sigma < 3 else 17
    return replace(spec, codec=replace(spec.codec, subpixel="dark", blur=blur))


# Not a network but a trunk that knows ImageNet: what a training starts from
RESNET_TRUNK = Layout("torchvision", "", "layer1.0.conv1.weight", resnet("", ""))

LAYOUTS = (
    Layout("official", "simplebaseline-", "deconv_layers.0.weight", simplebaseline()),
    Layout("mmpose", "simplebaseline-", "backbone.layer1.0.conv1.weight", simplebaseline(BODY, HEAD), _rgb),
    Layout("official", "hrnet-", "transition1.0.0.weight", hrnet()),
    Layout("mmpose", "hrnet-", "backbone.transition1.0.0.weight", hrnet(BODY, HEAD), _rgb),
    Layout("official", "mspn-", "top.conv.conv.weight", mspn_release(), _towards_255),
    Layout(
        "mmpose",
        "mspn-",
        "backbone.top.top.0.conv.weight",
        mspn_mmpose(),
        _mspn_as_mmpose,
        absent=r".*\.conv\.bias",  # under batch norms, where mmpose has none
    ),
    Layout("official", "hourglass-", "pre.0.conv.weight", hourglass()),
    Layout(
        "mmpose",
        "hourglass-52",
        "backbone.hourglass_modules.0.up1.0.conv1.weight",
        hourglass52(),
        dropped={r"backbone\.inters\..*": "a block between stacks, which a single stack does not use"},
    ),
    Layout("torchvision", "fasterrcnn-r50-fpn", "backbone.body.conv1.weight", faster_rcnn()),
)
