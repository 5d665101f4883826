"""What a run takes beside its samples and its start weights, loaded where its configuration asks for it.

A pack brings none of it: it trains without this module, whose ONNX files want libraries that a bare machine lacks.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from posecli.backends.onnx import PREFIX, load_onnx
from posecli.config import TrainConfig
from posecli.networks import load_network
from posecli.training.distill import Teacher
from posecli.training.disturb import possible_mistakes, read_mistakes
from posecli.training.samples import Crops, Pictures
from posecli.training.tasks import Aids


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


def load_teacher(run: TrainConfig, root: Path, device: torch.device) -> Teacher | None:
    """Load the network that a run's configuration names, if it names one.

    Args:
        run: its paths are relative to `root`.
        root: the run's `--data`.
        device: where the run trains.

    Raises:
        ConfigError: no such network, or one that cannot teach.
        WeightsError: no weights, or damaged ones.
    """
    if (config := run.teacher) is None:
        return None
    if config.network.startswith(PREFIX):
        path = root / config.network.removeprefix(PREFIX)
        network, spec = load_onnx(f"{PREFIX}{path}", device=device, kinds=["refiner"])
    else:
        weights = root / config.weights if config.weights else None
        network, spec = load_network(config.network, weights, kind="refiner")
    return Teacher(network, replace(spec, input_hw=config.input_hw or spec.input_hw), config, device, half=run.half)
