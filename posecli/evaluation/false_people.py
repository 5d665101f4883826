"""People who are not there: poses on images where nobody is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posecli.evaluation.packing import Packed

_LEAST_SCORES = (0.0, 0.1, 0.3, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class FalsePeople:
    """Poses on images where nobody is annotated, crowds included; the best 20 poses an image."""

    num_images: int
    per_image: dict[str, float]  # poses an image by the least score that a pose must have; empty without such images


def false_people(packed: Packed) -> FalsePeople:
    """Count the poses on empty images."""
    empty = np.bincount(packed.people.image, minlength=packed.num_images) == 0
    scores = packed.poses.scores[empty[packed.poses.image]]
    num_images = int(empty.sum())
    per_image = {f"{least:g}": float((scores >= least).sum()) / num_images for least in _LEAST_SCORES if num_images}
    return FalsePeople(num_images=num_images, per_image=per_image)
