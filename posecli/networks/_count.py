"""How large a network is: its weights, and the multiply-adds of one forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from posecli.networks._spec import ModelSpec
from posecli.skeleton import NUM_KEYPOINTS

# What papers count: convolutions (transposed ones on their input grid, as FlopCounterMode has it) and linear layers.
# Additions, norms, resizing, and the products inside RoIAlign are left out.
_COUNTED = frozenset(("aten.convolution", "aten.addmm", "aten.mm"))


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a network."""

    params: int  # learnable numbers, those that a public file holds and its network never reads included
    gmacs: float  # 10^9 multiply-adds for one input of `input_hw`
    input_hw: tuple[int, int]


def count_params(network: nn.Module) -> int:
    """Count the learnable numbers, frozen or not; a batch norm's statistics are not learnt."""
    return sum(weight.numel() for weight in network.parameters())


@torch.no_grad()
def count_gmacs(network: Callable[..., object], *inputs: Tensor) -> float:
    """Return the 10^9 multiply-adds of convolutions and linear layers in one forward pass.

    Args:
        network: or another function of tensors, its weights on the inputs' device; on the meta device nothing is
            computed.
        inputs: what its forward takes.
    """
    with FlopCounterMode(display=False) as counter:
        network(*inputs)
    flops = counter.get_flop_counts().get("Global", {})  # absent where nothing counts
    return sum(count for operation, count in flops.items() if str(operation) in _COUNTED) / 2e9


def count(spec: ModelSpec) -> Size:
    """Count a network at its own input size, without holding its weights; a detector on a picture full of things."""
    with torch.device("meta"):
        network = spec.build().eval()
        images = torch.empty(1, 3, *spec.input_hw)
        prior = (torch.empty(1, NUM_KEYPOINTS, *spec.input_hw),) if spec.takes_prior else ()
        forward = getattr(network, "busiest", network)  # how much a detector's `forward` does, the picture decides
        return Size(count_params(network), count_gmacs(forward, images, *prior), spec.input_hw)
