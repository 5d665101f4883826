"""Our networks against the sizes of the public code and of the papers, and against the keys of public files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from posecli.networks import get_spec
from posecli.networks._count import count, count_params

FOREIGN_KEYS = Path(__file__).parents[4] / "shared" / "foreign_keys"

# counted in the public code (GMACs: 10^9 multiply-adds, transposed convolutions on their input grid)
PARAMS = {
    "simplebaseline-r50": 33_999_697,
    "simplebaseline-r101": 52_991_825,
    "simplebaseline-r152": 68_635_473,
    "hrnet-w32": 28_536_113,
    "hrnet-w48": 63_595_745,
    "mspn-1": 25_141_708,
    "mspn-2": 56_867_032,
    "mspn-3": 88_592_356,
    "mspn-4": 120_317_680,
    "hourglass-8": 32_823_176,
    "hourglass-52": 94_847_889 - 1_180_672,  # less the block that one stack does not use
}
GMACS = {"simplebaseline-r50": 5.426, "hrnet-w32-384x288": 17.201, "mspn-2": 11.263, "hourglass-8": 20.592}
PUBLIC = {
    "simplebaseline-r50": "simplebaseline_r50_256x192",
    "simplebaseline-r101": "simplebaseline_r101_256x192",
    "simplebaseline-r152": "simplebaseline_r152_256x192",
    "hrnet-w32": "hrnet_w32_256x192",
    "hrnet-w48-384x288": "hrnet_w48_384x288",
    "mspn-1": "mspn_1stg_256x192",
    "mspn-2": "mspn_2stg_256x192",
    "mspn-3": "mspn_3stg_256x192",
    "mspn-4": "mspn_4stg_256x192",
    "hourglass-8": "hourglass8_princeton_256x192",
}


def on_meta(name):
    with torch.device("meta"):
        return get_spec(name).build()


@pytest.mark.parametrize(("name", "params"), PARAMS.items())
def test_params_are_those_of_the_public_code(name, params):
    assert count_params(on_meta(name)) == params


@pytest.mark.parametrize(("name", "gmacs"), GMACS.items())
def test_gmacs_are_those_of_the_public_code(name, gmacs):
    assert count(get_spec(name)).gmacs == pytest.approx(gmacs, abs=5e-4)


def test_refine50_has_the_size_of_the_resnet_it_replaces():
    assert count_params(on_meta("refine50-4")) == pytest.approx(PARAMS["mspn-4"], rel=0.01)


@pytest.mark.parametrize(("name", "keys"), PUBLIC.items())
def test_public_files_have_a_place_for_every_tensor(name, keys):
    path = FOREIGN_KEYS / f"keys_{keys}.json"
    if not path.is_file():
        pytest.skip(f"{path} is not here: the public key lists lie beside the repository")

    theirs = Counter(tuple(shape) for _, shape, _ in json.loads(path.read_text()))
    ours = Counter(tuple(tensor.shape) for tensor in on_meta(name).state_dict().values())

    assert ours == theirs
