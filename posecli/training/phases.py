"""The legs of a run: CCM's strategies Train|Phi -> Finetune|Theta, one configuration, one run, exactly resumable.

Each phase is what a run of its own would be that starts from the averaged weights of the one before: its samples, its
warm-up and schedule, its optimizers without memory. A run without phases is one phase of everything.

Source: Zhang et al., "Towards High Performance Human Keypoint Detection", IJCV 2021, Eq. (7).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from posecli.config import TrainConfig
from posecli.errors import InputError


@dataclass(frozen=True, slots=True)
class Phase:
    """One leg."""

    first: int  # step of the run
    config: TrainConfig  # as of a run of its own
    samples: Tensor  # (n,) int64, numbers of the samples that it trains on


def phases_of(config: TrainConfig, datasets: Tensor) -> tuple[Phase, ...]:
    """Return a run's phases in their order.

    Args:
        config: of the run.
        datasets: (M,) int64, of which of the configuration's datasets each sample is.

    Raises:
        InputError: a phase has fewer samples than a batch.
    """
    if not config.phases:
        return (Phase(0, config, _enough(torch.arange(len(datasets)), config, "")),)
    phases, first = [], 0
    for leg in config.phases:
        numbers = [number for number, dataset in enumerate(config.datasets) if dataset.part in leg.parts]
        samples = torch.isin(datasets.cpu(), torch.tensor(numbers)).nonzero().flatten()
        changes = {name: value for name in ("learning_rate", "warmup") if (value := getattr(leg, name)) is not None}
        own = replace(config, phases=(), steps=leg.steps, **changes)
        phases.append(Phase(first, own, _enough(samples, config, f" of phase {leg.parts}")))
        first += leg.steps
    return tuple(phases)


def _enough(samples: Tensor, config: TrainConfig, whose: str) -> Tensor:
    if len(samples) < config.batch:
        raise InputError(f"{len(samples)} samples{whose} are fewer than one batch of {config.batch}")
    return samples
