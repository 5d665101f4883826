"""The table of public checkpoints agrees with itself, with the zoo, and with the facts it was made from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from posecli.networks import available
from posecli.networks._checkpoints import CHECKPOINTS
from posecli.networks._count import count
from posecli.networks._layouts import LAYOUTS
from posecli.networks._sizes import SIZES

FACTS = Path(__file__).parents[3].parent / "shared" / "foreign_keys"


@pytest.mark.parametrize("checkpoint", CHECKPOINTS.values(), ids=lambda checkpoint: checkpoint.name)
def test_checkpoint_fits_a_network_and_can_be_got(checkpoint):
    assert checkpoint.network in available()
    assert any(checkpoint.network.startswith(layout.family) and layout.name == checkpoint.layout for layout in LAYOUTS)
    assert checkpoint.url.startswith("https://") or checkpoint.page.startswith("https://")
    assert bool(checkpoint.url) == bool(checkpoint.sha256_prefix)


def test_names_and_addresses_are_unique():
    addresses = [checkpoint.url for checkpoint in CHECKPOINTS.values() if checkpoint.url]

    assert len(addresses) == len(set(addresses))
    assert not [name for name in CHECKPOINTS if name in available() and CHECKPOINTS[name].network != name]


def test_mmposes_own_list_says_the_same():
    if not FACTS.is_dir():
        pytest.skip("the public lists of checkpoints beside the checkout are not there")
    listed = {facts["url"]: facts for facts in json.loads((FACTS / "mmpose.json").read_text()).values()}

    ours = [checkpoint for checkpoint in CHECKPOINTS.values() if checkpoint.layout == "mmpose"]
    for checkpoint in ours:
        facts = listed[checkpoint.url]
        if "res101" not in checkpoint.url:  # two entries of the list share this address
            assert checkpoint.ap == facts["metrics"]["AP"]
        assert checkpoint.sha256_prefix == facts["sha256_prefix"]
        assert checkpoint.dark == ("dark" in facts["config"])
    assert len(ours) >= 17


@pytest.mark.parametrize("name", ["prs-tiny", "detposenet-tiny", "simplebaseline-r50", "mspn-1", "cpn-r50"])
def test_listed_sizes_are_the_counted_ones(name):
    size = count(available()[name])

    assert SIZES[name] == (size.params, round(size.gmacs, 3)), f"write this into _sizes.py for {name}"


def test_sizes_are_of_networks_that_there_are():
    assert SIZES.keys() <= available().keys()
