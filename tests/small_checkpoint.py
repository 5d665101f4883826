"""A public checkpoint small enough for every test: HRNet of width 4, in its release's names or in mmpose's."""

from __future__ import annotations

from functools import partial

import pytest
import torch

import public_code
from posecli.networks import hrnet
from posecli.networks._checkpoints import CHECKPOINTS, Checkpoint
from posecli.networks._spec import ModelSpec

NAME, FILE = "hrnet-w4", "td-hm_hrnet-w4_coco-64x64-{}_20220909.pth"
MMPOSE = {"body": "backbone.", "head": "head."}


def public_tensors(images=None, **names):
    """Return a checkpoint's tensors, and what its code answers to `images`."""
    public = public_code.Public()
    images = torch.zeros(1, 3, 64, 64) if images is None else images
    answers = public_code.hrnet(public, images, width=4, **names)
    return dict(public), answers


@pytest.fixture
def small_network(monkeypatch):
    """Add the network to the zoo and, as `hrnet-w4`, to the public checkpoints; returns its spec."""
    full = hrnet.SPECS[0]
    values = {name: getattr(full, name) for name in ("mean", "std", "codec", "source", "license")}
    spec = ModelSpec(name=NAME, kind="refiner", build=partial(hrnet.HRNet, 4), input_hw=(64, 64), **values)
    monkeypatch.setattr(hrnet, "SPECS", (*hrnet.SPECS, spec))
    return spec


@pytest.fixture
def publish(monkeypatch):
    """Return a function that lists a checkpoint of the small network at an address."""

    def add(url, *, name=NAME, **facts):
        known = {"network": NAME, "layout": "mmpose", "license": "MIT", "ap": 0.1, "ap_on": "nothing", **facts}
        monkeypatch.setitem(CHECKPOINTS, name, Checkpoint(name=name, url=url, **known))

    return add
