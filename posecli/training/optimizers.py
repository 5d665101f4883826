"""What turns gradients into steps: AdamW, and beside it Muon for the convolutions if a configuration asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from posecli.config import TrainConfig

_QUINTIC = (3.4445, -4.7750, 2.0315)  # its iteration drives singular values in (0, 1] to about 1
_ROUNDS = 5
_ADAM_RMS = 0.2  # usual size of AdamW's steps: Muon's get the same, so that both share learning rate and decay


def make_optimizers(network: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Group a network's weights by trunk or not, and by decay (matrices) or not (biases, norms).

    Every group has its learning rate without the schedule's factor as "rate". Muon takes the convolutions that a batch
    norm follows, unless they are depthwise: these are no matrices, and heads have a scale to keep.
    """
    trained = [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]
    muon, adam = [], []
    for trunk in (False, True):
        rate = config.learning_rate * (config.trunk_rate if trunk else 1.0)
        part = [(name, weight) for name, weight in trained if name.startswith("trunk.") == trunk]
        turned = [weight for name, weight in part if config.optimizer == "muon" and _is_inner_matrix(name, weight)]
        rest = [weight for _, weight in part if all(weight is not other for other in turned)]
        muon += _group(turned, rate, config.weight_decay)
        adam += _group([weight for weight in rest if weight.dim() > 1], rate, config.weight_decay)
        adam += _group([weight for weight in rest if weight.dim() <= 1], rate, 0.0)
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(adam)] if adam else []
    return [*optimizers, Muon(muon)] if muon else optimizers


def _is_inner_matrix(name: str, weight: Tensor) -> bool:
    return name.endswith(".conv.weight") and weight.shape[1] > 1


def _group(weights: Sequence[Tensor], rate: float, decay: float) -> list[dict[str, Any]]:
    return [{"params": weights, "lr": rate, "rate": rate, "weight_decay": decay}] if weights else []


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal: all singular values of a step are about equal, rare directions move like common ones.

    A convolution counts as a matrix of outputs by inputs x kernel. Where a run sees some ten thousand crops only, this
    is worth several times the samples of AdamW.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; the size of the steps is
    that of Liu et al., "Muon is Scalable for LLM Training", 2025, section 2.2.

    Args:
        groups: weights of two dimensions or more, with "lr" and "weight_decay" (decoupled, as AdamW's).
        momentum: of the gradients; Nesterov's.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, momentum: float = 0.95) -> None:
        super().__init__(groups, {"lr": 1e-3, "weight_decay": 0.0, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad.flatten(1), group)

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["mean"] = torch.zeros_like(gradient)
        mean = state["mean"].lerp_(gradient, 1 - group["momentum"])
        turned = orthogonal(gradient.lerp(mean, group["momentum"]))
        size = _ADAM_RMS * max(turned.shape) ** 0.5
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(turned.view_as(weight), alpha=-group["lr"] * size)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return (m, n) with the singular vectors of the (m, n) `matrix` and singular values of .7 to 1.2.

    Newton and Schulz's iteration: matrix products alone, no decomposition.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mT if tall else matrix
    x = x / (x.norm() + 1e-7)
    linear, cubic, quintic = _QUINTIC
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = linear * x + (cubic * gram + quintic * gram @ gram) @ x
    return x.mT if tall else x
