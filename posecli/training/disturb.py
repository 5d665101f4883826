"""Poses with the mistakes that pose networks make, drawn from true ones: what PoseFix learns to undo.

Source: Moon et al., "PoseFix", CVPR 2019, section 3.2 and supplementary; the rates are those of the official code
(`main/gen_batch.py`), which has them from Ronchi and Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose
Estimation", ICCV 2017. Where the official code fills unlabelled keypoints with another network's, ours leaves them out.
Instead of these rates, those of one's own refiner may be taken, as `posecli eval` measures them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from posecli.errors import InputError
from posecli.media.checked_json import checked_object, number, read_json
from posecli.skeleton import KEYPOINTS, MIRROR, OKS_SIGMAS

GOOD, JITTER, MISS, INVERSION, SWAP = range(5)
_MEASURED = ("jitter", "miss", "inversion", "swap")  # as `eval` names them, in this module's order
_MOST_WRONG = 0.9  # of a keypoint's disturbances: some must stay good
_TRIES = 12  # places drawn for each keypoint, of which the first that is no other kind of mistake counts


@dataclass(frozen=True, slots=True)
class TruePoses:
    """N people's keypoints and, for swaps, those of one person near each, all in one frame."""

    points: Tensor  # (N, K, 2) x y
    labelled: Tensor  # (N, K) bool
    near: Tensor  # (N, K, 2) of the person near
    near_labelled: Tensor  # (N, K) bool; nowhere True: nobody is near
    area: Tensor  # (N,) of the people, square units of `points`


def _per_part(values: dict[str, float]) -> list[float]:
    """Spread the values of parts over the keypoints with that part in their name; "" stands last, for all others."""
    return [next(value for part, value in values.items() if part in name) for name in KEYPOINTS]


_FACE, _LOWER = ("nose", "eye", "ear"), ("hip", "knee", "ankle")
_JITTER_MANY = _per_part({"nose": 0.10, "knee": 0.10, "ankle": 0.10, "hip": 0.20, "": 0.15})
_JITTER_FEW = _per_part({"nose": 0.15, "knee": 0.15, "ankle": 0.15, "hip": 0.25, "": 0.20})
_MISS = [  # of people with at most 5, at most 10, and more labelled keypoints
    _per_part({**dict.fromkeys(_FACE, face), "shoulder": ends, "ankle": ends, "": other})
    for face, ends, other in ((0.15, 0.20, 0.25), (0.10, 0.13, 0.15), (0.02, 0.05, 0.10))
]
_INVERSION = _per_part({**dict.fromkeys(_FACE, 0.01), **dict.fromkeys(_LOWER, 0.06), "": 0.03})
_SWAP_ALONE = _per_part({**dict.fromkeys(_FACE, 0.01), **dict.fromkeys(_LOWER, 0.03), "": 0.06})
_SWAP_CROWDED = _per_part({**dict.fromkeys(_FACE, 0.02), **dict.fromkeys(_LOWER, 0.10), "": 0.15})


def read_mistakes(path: Path) -> Tensor:
    """Read how often a refiner makes each mistake at each keypoint.

    Args:
        path: what `posecli eval --json` printed for it.

    Returns:
        (K, 4) shares of the labelled keypoints that are a JITTER, MISS, INVERSION and SWAP.

    Raises:
        InputError: no such file, or one without these shares.
    """
    where, value = str(path), read_json(path)
    for key in ("breakdown", "errors", "by_keypoint"):
        value = checked_object(value, where).get(key)
        where = f"{where}: {key}"
    if value is None:
        raise InputError(f"{where} is not there: wanted what `posecli eval --json` prints for one set of results")
    found = checked_object(value, where)
    shares = []
    for name in KEYPOINTS:
        if name not in found:
            raise InputError(f"{where}: no {name}; measure on people that have all {len(KEYPOINTS)} keypoints")
        entry = checked_object(found[name], f"{where}: {name}")
        kinds = [number(entry, kind, f"{where}: {name}") for kind in _MEASURED]
        if min(kinds) < 0 or sum(kinds) > 1:
            raise InputError(f"{where}: {name}: shares {kinds} are not within 0 and 1 together")
        shares.append(kinds)
    return torch.tensor(shares)


def possible_mistakes(mistakes: Tensor, present: Tensor, near_labelled: Tensor) -> Tensor:
    """Turn shares of all keypoints into rates of those that can have the mistake.

    Only a keypoint whose left-right partner is labelled can be inverted, and only one with somebody near swapped: as
    they are a part of all, the rate among them is higher.

    Args:
        mistakes: (K, 4), see `read_mistakes`.
        present: (M, K) bool, the labelled keypoints of a training set.
        near_labelled: (M, K) bool, those of the people near.

    Returns:
        (K, 4); all mistakes of a keypoint together are at most .9.
    """
    count = present.sum(dim=0)
    inverted = (present & present[:, list(MIRROR)]).sum(dim=0) / count.clamp(min=1)
    swapped = (present & near_labelled).sum(dim=0) / count.clamp(min=1)
    able = torch.stack((torch.ones_like(inverted), torch.ones_like(inverted), inverted, swapped), dim=1)
    rates = mistakes.to(able) / able.clamp(min=0.05)
    return rates * (_MOST_WRONG / rates.sum(dim=1, keepdim=True).clamp(min=1e-6)).clamp(max=1)


def mistake_rates(poses: TruePoses, measured: Tensor | None = None) -> Tensor:
    """Return the (N, K, 5) probabilities of GOOD, JITTER, MISS, INVERSION and SWAP.

    Args:
        poses: the truth.
        measured: (K, 4) rates of a refiner, see `possible_mistakes`; None: the official code's.
    """
    jitter, miss, inversion, swap = _official_rates(poses) if measured is None else measured.to(poses.points).unbind(1)
    inversion = inversion * poses.labelled[:, list(MIRROR)]
    inversion[:, KEYPOINTS.index("nose")] = 0  # it is its own partner
    swap = swap * poses.near_labelled
    wrong = torch.stack((jitter.expand_as(swap), miss.expand_as(swap), inversion, swap), dim=-1)
    return torch.cat((1 - wrong.sum(-1, keepdim=True), wrong), dim=-1)


def _official_rates(poses: TruePoses) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the rates of JITTER, MISS, INVERSION and SWAP, (N, K) or (K,) each, where they are possible."""
    count = poses.labelled.sum(dim=1)[:, None]  # (N, 1)
    rate = poses.points.new_tensor
    jitter = torch.where(count <= 10, rate(_JITTER_FEW), rate(_JITTER_MANY))
    miss = torch.where(count <= 5, rate(_MISS[0]), torch.where(count <= 10, rate(_MISS[1]), rate(_MISS[2])))
    crowded = poses.near_labelled.any(dim=1, keepdim=True) & (count <= 10)
    swap = torch.where(crowded, rate(_SWAP_CROWDED), rate(_SWAP_ALONE))
    return jitter, miss, rate(_INVERSION), swap


def oks_distance(oks: float, area: Tensor) -> Tensor:
    """Return the (N, K) distances at which keypoints of people of (N,) areas have a similarity."""
    sigmas = area.new_tensor(OKS_SIGMAS)
    return (-2 * math.log(oks) * area[:, None]).sqrt() * 2 * sigmas


def disturb(poses: TruePoses, generator: torch.Generator, measured: Tensor | None = None) -> Tensor:
    """Draw the keypoints that a network might have found.

    A good or jittered keypoint lies about its own true place (OKS above .85, or .5 to .85), a missed one farther off
    (.1 to .5), an inverted one about its left-right partner's, a swapped one about the same keypoint of the person
    near (above .5 both). It is always nearest to the place that it is about.

    Args:
        poses: the truth.
        generator: of randomness, on the CPU.
        measured: see `mistake_rates`.

    Returns:
        (N, K, 2), only to be used where `poses.labelled`.
    """
    mirror, device = list(MIRROR), poses.points.device
    kind = torch.multinomial(mistake_rates(poses, measured).flatten(0, 1).cpu(), 1, generator=generator)
    kind = kind.view(poses.labelled.shape).to(device)  # (N, K)
    places = torch.stack((poses.points, poses.points[:, mirror], poses.near, poses.near[:, mirror]), dim=2)
    labelled, near = poses.labelled, poses.near_labelled
    there = torch.stack((labelled, labelled[:, mirror], near, near[:, mirror]), dim=2)  # (N, K, 4)
    there[:, KEYPOINTS.index("nose"), 1::2] = False  # partners that are the same keypoint
    about = torch.tensor((0, 0, 0, 1, 2), device=device)[kind]  # (N, K), which of the places
    far, middle, close = (oks_distance(oks, poses.area) for oks in (0.1, 0.5, 0.85))
    none = torch.zeros_like(far)
    low = torch.stack((none, close, middle, none, none), dim=-1).gather(-1, kind[..., None])  # (N, K, 1)
    high = torch.stack((close, middle, far, middle, middle), dim=-1).gather(-1, kind[..., None])
    share, turn = torch.rand(2, *kind.shape, _TRIES, generator=generator).to(places)
    radius = low + (high - low) * share  # (N, K, tries)
    angle = 2 * torch.pi * turn
    centre = places.gather(2, about[..., None, None].expand(-1, -1, 1, 2))  # (N, K, 1, 2)
    drawn = centre + radius[..., None] * torch.stack((angle.cos(), angle.sin()), dim=-1)
    distance = (drawn[:, :, :, None] - places[:, :, None]).norm(dim=-1)  # (N, K, tries, 4)
    other = there & (torch.arange(4, device=device) != about[..., None])
    nearest = ((distance > 1.001 * radius[..., None]) | ~other[:, :, None]).all(-1)  # (N, K, tries)
    first = nearest.float().argmax(-1)[..., None, None].expand(-1, -1, 1, 2)
    chosen = drawn.gather(2, first).squeeze(2)
    return torch.where(nearest.any(-1, keepdim=True), chosen, poses.points)
