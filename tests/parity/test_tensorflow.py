"""CPN and PoseFix answer what the official codes' TensorFlow graphs answer: `golden/tensorflow_graphs.py` wrote it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from foreign_keys import fill_seeded
from posecli.networks.cpn import CascadedPyramidNetwork
from posecli.networks.posefix import PoseFix
from tensorflow_names import seeded_images

GOLDEN = Path(__file__).parent / "golden"


def check(actual, expected):
    """Compare within a ten-thousandth of the spread, as a checkpoint's figures bear it."""
    assert float((actual - torch.from_numpy(expected)).abs().max()) < 1e-4 * expected.std()


def test_cpn_answers_as_tensorflow_does():
    golden = np.load(GOLDEN / "cpn.npz")
    with torch.inference_mode():
        res5, *_, refined = fill_seeded(CascadedPyramidNetwork())(torch.from_numpy(seeded_images(3)))

    check(res5[0], golden["res5"])
    check(refined[0], golden["refined"])


def test_posefix_answers_as_tensorflow_does():
    golden = np.load(GOLDEN / "posefix.npz")
    images = torch.from_numpy(seeded_images(20))
    with torch.inference_mode():
        answer = fill_seeded(PoseFix())(images[:, :3], images[:, 3:])[0]

    check(answer[0], golden["answer"])
