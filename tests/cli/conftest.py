"""Tiny networks with random weights: what they find means nothing, but it always comes out the same."""

from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner

from posecli.cli import main
from posecli.config import DetectConfig, RefineConfig
from posecli.networks import get_spec
from posecli.networks._weights import save_weights


@pytest.fixture(scope="session")
def networks(tmp_path_factory):
    """Options that name random weights and small inputs, and let through up to two people a frame."""
    folder = tmp_path_factory.mktemp("weights")
    options = ["--device", "cpu", "--detector-size", "64", "--min-box-score", "0", "--no-filter", "--max-people", "2"]
    options += ["--min-score", "0"]
    for name in (DetectConfig.detector, RefineConfig.refiner):
        torch.manual_seed(0)
        save_weights(get_spec(name).build(), folder / f"{name}.safetensors", {})
        options += ["--weights", f"{name}={folder / name}.safetensors"]
    return options


@pytest.fixture
def posecli(networks):
    """Run a command with these networks."""

    def run(command, *arguments, **options):
        return CliRunner().invoke(main, [command, *networks, *map(str, arguments)], **options)

    return run
