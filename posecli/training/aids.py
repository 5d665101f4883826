"""What a run takes beside its samples and its start weights, where its configuration asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from posecli.config import TrainConfig
from posecli.training.distill import Teacher, load_teacher
from posecli.training.disturb import possible_mistakes, read_mistakes
from posecli.training.samples import Crops, Pictures


@dataclass(frozen=True, slots=True)
class Aids:
    """Loaded and ready."""

    teacher: Teacher | None = None
    mistakes: Tensor | None = None  # (K, 4) rates, see `disturb.possible_mistakes`


def load_aids(config: TrainConfig, samples: Crops | Pictures, root: Path, device: torch.device) -> Aids:
    """Load what a configuration asks for.

    Args:
        config: its paths are relative to `root`.
        samples: of the run.
        root: the run's `--data`.
        device: where it trains.

    Raises:
        ConfigError: no such network, or one that cannot teach.
        InputError: no report of mistakes where one is named.
        WeightsError: no weights of the teacher, or damaged ones.
    """
    mistakes = None
    if config.mistakes and isinstance(samples, Crops):
        mistakes = possible_mistakes(read_mistakes(root / config.mistakes), samples.present, samples.near_labelled)
    return Aids(load_teacher(config, root, device), mistakes)
