"""How far scores would move on other images of the same kind: resampling the images, with replacement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from posecli.evaluation.coco_scores import Scored
from posecli.evaluation.matching import AT_50, AT_75, rank

NAMES = ("ap", "ap50", "ap75", "ar")
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a score lies in 95% of the resamples: from the 2.5th to the 97.5th percentile."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two results lists on the same images: b against a."""

    difference: float  # AP of b - AP of a
    interval: Interval  # of the difference
    verdict: str  # "b is better", "a is better" or "no difference shown"
    share_better: float  # of the resamples in which b has the higher AP
    num_resamples: int


def draw_images(num_images: int, num_resamples: int, *, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield how often each image is drawn, (num_images,) int, for every resample; the same seed draws the same."""
    generator = np.random.default_rng(seed)
    for _ in range(num_resamples):
        yield np.bincount(generator.integers(0, num_images, num_images), minlength=num_images)


def resample(scored: Scored, num_resamples: int, *, seed: int = 0) -> np.ndarray:
    """Return the scores of every resample, (up to num_resamples, 4) float in the order of NAMES.

    What a pose finds does not depend on other images, so images are matched once and only weighted anew. A resample
    without anybody to find is left out, for all results of a ground truth alike.
    """
    packed = scored.packed
    people_per_image = np.bincount(packed.people.image[scored.counted], minlength=packed.num_images)
    ranked, rows = rank(scored.matches, packed.poses), []
    for drawn in draw_images(packed.num_images, num_resamples, seed=seed):
        num_people = float(drawn @ people_per_image)
        if num_people:
            found = ranked.curves(num_people, drawn)
            rows.append([found.ap, found.ap_at(AT_50), found.ap_at(AT_75), found.ar])
    return np.array(rows).reshape(-1, len(NAMES))


def intervals(samples: np.ndarray) -> dict[str, Interval]:
    """Return the 95% interval of every score from `resample`'s answer; none from no samples."""
    return {name: _interval(samples[:, column]) for column, name in enumerate(NAMES) if len(samples)}


def compare(a: Scored, b: Scored, samples_a: np.ndarray, samples_b: np.ndarray) -> Comparison:
    """Say whether b is really better than a: paired, because both are scored on the same drawn images.

    Args:
        a: the first results on a ground truth.
        b: the second results on the same ground truth.
        samples_a: `resample` of a, not empty.
        samples_b: `resample` of b with the same seed.
    """
    differences = samples_b[:, 0] - samples_a[:, 0]
    interval = _interval(differences)
    verdict = "b is better" if interval.low > 0 else "a is better" if interval.high < 0 else "no difference shown"
    return Comparison(
        difference=b.curves.ap - a.curves.ap,
        interval=interval,
        verdict=verdict,
        share_better=float(np.mean(differences > 0)),
        num_resamples=len(differences),
    )


def _interval(samples: np.ndarray) -> Interval:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(samples, (tail, 1 - tail))
    return Interval(float(low), float(high))
