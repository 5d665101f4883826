"""Files of weights, ours or public, put into a network's own names, every tensor and shape accounted for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from posecli.errors import WeightsError
from posecli.networks._checkpoints import CHECKPOINTS
from posecli.networks._conventions import KEY, from_metadata
from posecli.networks._layouts import LAYOUTS, Layout, with_dark
from posecli.networks._spec import ModelSpec
from posecli.networks._weights import WeightsFile, check_fit, check_tensor, some, weights_of

_WRAPPER = "module."  # of data-parallel training


@dataclass(frozen=True)
class Fitted:
    """Weights in a network's own names, with the spec that they want."""

    tensors: dict[str, Tensor]
    spec: ModelSpec
    layout: str = ""  # the project whose names they had; "" for our own
    dropped: Counter[str] = field(default_factory=Counter)  # tensors left out, by reason


def fit(file: WeightsFile, spec: ModelSpec, network: nn.Module | None = None, *, dark: bool | None = None) -> Fitted:
    """Put the weights of a file, ours or public, into a network's names.

    Args:
        file: see `read_weights`.
        spec: of the network.
        network: the network, where there is one already.
        dark: a public checkpoint is to be decoded as DARK's are, which its tensors do not show; by the publisher's
            name of the file if None.

    Raises:
        WeightsError: a tensor is unknown, missing or of another shape, or the metadata are damaged.
    """
    own, where = own_tensors(spec) if network is None else weights_of(network), str(file.path)
    public = _unwrapped(file.tensors)
    layout = layout_of(public, spec.name)
    if layout is None or KEY in file.metadata:
        check_fit(own, file.tensors, where=where, name=spec.name)
        return Fitted(file.tensors, from_metadata(spec, file.metadata, where=where))
    tensors, dropped = translate(public, own, layout, where=where, name=spec.name)
    if dark is None:
        dark = any(known.dark for known in CHECKPOINTS.values() if known.file_name == file.path.name)
    wanted = layout.conventions(spec)
    return Fitted(tensors, with_dark(wanted) if dark else wanted, layout.name, dropped)


def layout_of(names: Collection[str], network: str) -> Layout | None:
    """Return the layout in which these names may be a network's weights."""
    bare = {name.removeprefix(_WRAPPER) for name in names}
    return next((one for one in LAYOUTS if network.startswith(one.family) and one.mark in bare), None)


def own_tensors(spec: ModelSpec) -> dict[str, Tensor]:
    """Return the names and shapes of a network's weights, without memory for them."""
    with torch.device("meta"):
        return weights_of(spec.build())


def translate(
    public: Mapping[str, Tensor], own: Mapping[str, Tensor], layout: Layout, *, where: str, name: str
) -> tuple[dict[str, Tensor], Counter[str]]:
    """Put a public checkpoint into our names, every tensor and shape accounted for.

    Args:
        public: tensors by public name.
        own: what the network wants, by our name; values are not looked at.
        layout: whose names they are.
        where: the file, for messages.
        name: the network's name, for messages.

    Returns:
        The tensors, and how many were left out by reason.

    Raises:
        WeightsError: a tensor is unknown, missing or of another shape; the message has the public name.
    """
    renamed: dict[str, str] = {}  # ours to public
    dropped: Counter[str] = Counter()
    unknown = []
    for key in public:
        ours = layout.rename(key)
        if ours is not None and ours in own and ours not in renamed:
            renamed[ours] = key
        elif why := layout.why_dropped(key):
            dropped[why] += 1
        else:
            unknown.append(key)
    if unknown:
        raise WeightsError(f"{where}: has {some(unknown)}, which {name} does not know")
    for ours, key in renamed.items():
        check_tensor(public[key], own[ours], where=where, key=key, name=name)
    absent = [ours for ours in own if ours not in renamed]
    if missing := [ours for ours in absent if not re.fullmatch(layout.absent, ours)]:
        raise WeightsError(f"{where}: lacks what {name} calls {some(missing)}")
    tensors = {ours: public[key].float() for ours, key in renamed.items()}
    return tensors | {ours: torch.zeros(own[ours].shape) for ours in absent}, dropped


def _unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take off what data-parallel training puts before every name."""
    if all(key.startswith(_WRAPPER) for key in tensors):
        return {key[len(_WRAPPER) :]: tensor for key, tensor in tensors.items()}
    return dict(tensors)
