"""Kernels are compiled once for each shape of batch, however many shapes there are."""

import os
import subprocess
import sys

import pytest
import torch

RUN = """
import torch
from posecli.backends.loading import Loader
from posecli.networks import get_spec

torch.set_num_threads(1)
load = Loader("cpu", None, allow_random=True, engine="torch", precision="fp32")
network, _ = load("prs-tiny", "refiner")
crops = [torch.rand(count, 3, 32, 32) for count in range(1, 21)]
with torch.inference_mode():
    for turn in range(2):
        print("turn", turn, flush=True)
        for batch in crops:
            network(batch)
"""


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch is built without oneDNN")
def test_batches_of_twenty_sizes_find_their_kernels_again():
    told = {name: value for name, value in os.environ.items() if not name.startswith(("ONEDNN_", "DNNL_"))}
    told["ONEDNN_VERBOSE"] = "profile_create"
    done = subprocess.run(
        [sys.executable, "-c", RUN], env=told, capture_output=True, text=True, timeout=300, check=True
    )

    _, first, second = done.stdout.split("turn ")

    assert first.count("create:cache_miss") > 1024  # more than oneDNN keeps by itself
    assert second.count("create:cache_miss") == 0
