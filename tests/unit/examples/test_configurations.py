"""Every configuration of examples/ loads and builds, and what their README says of them is true."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
import torch

from posecli.config import load_train_config
from posecli.networks import get_spec
from posecli.networks._layouts import RESNET_TRUNK
from posecli.networks._resnet import ResNet
from posecli.networks._sizes import SIZES
from posecli.networks._weights import weights_of
from posecli.training.tasks import run_spec

EXAMPLES = Path(__file__).parents[3] / "examples"
COCO = EXAMPLES / "coco2017"
ALL = sorted(path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("*.toml"))
_SUSTAINED, _EIGHT = 20e12, 0.9 * 8  # as the README states them


@cache
def built(name):
    with torch.device("meta"):
        return get_spec(name).build()


@pytest.mark.parametrize("path", ALL, ids=str)
def test_every_configuration_describes_a_network_that_can_be_built(path):
    config = load_train_config(EXAMPLES / path)

    spec = run_spec(config)
    with torch.device("meta"):
        assert sum(weight.numel() for weight in spec.build().parameters()) > 1e6


def test_the_default_networks_and_the_papers_full_size_ones_have_configurations():
    names = {load_train_config(EXAMPLES / path).network for path in ALL}

    assert names >= {"prs-tiny", "detposenet-tiny"}
    wanted = {
        "simplebaseline-r50",
        "hrnet-w32",
        "cpn-r50",
        "mspn-2",
        "ccm-r50",
        "pcr-r50",
        "prs-base",
        "detposenet-base",
    }
    assert {path.stem for path in COCO.glob("*.toml")} == wanted
    assert all(load_train_config(COCO / f"{name}.toml").network == name for name in wanted)


def test_those_that_start_from_a_resnet_have_exactly_its_tensors():
    usual = weights_of(built("simplebaseline-r50").trunk)
    assert len(usual) == 53 * 5  # ResNet-50's convolutions, each with a batch norm of four tensors
    for path in COCO.glob("*.toml"):
        config = load_train_config(path)
        assert bool(config.init) == isinstance(getattr(built(config.network), "trunk", None), ResNet)
        if config.init:
            trunk = weights_of(built(config.network).trunk)
            assert {name: value.shape for name, value in trunk.items()} == {n: v.shape for n, v in usual.items()}
    assert RESNET_TRUNK.rename("layer4.2.bn3.running_var") in usual


def test_the_hours_of_the_readme_follow_from_its_formula():
    row = r"\| \[`(.*?)`\].*?\| (.*?) \| (.*?) M \| (.*?) \| (.*?) \| (.*?) \|"
    rows = re.findall(row, (COCO / "README.md").read_text("utf-8"))

    assert {row[0] for row in rows} == {path.stem for path in COCO.glob("*.toml")}
    for name, *told in rows:
        config = load_train_config(COCO / f"{name}.toml")
        gmacs, samples = SIZES[name][1], config.steps * config.batch
        operations = gmacs * 1e9 * 2 * 3 * samples
        hours = operations / _SUSTAINED / 3600
        sizes = (f"{gmacs:.2f}", f"{samples / 1e6:.1f}", f"{operations / 1e18:.2f}")
        wanted = (*sizes, f"{hours:.0f}", f"{hours / _EIGHT:.1f}")
        assert tuple(told) == wanted
