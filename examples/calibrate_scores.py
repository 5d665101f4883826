"""Fit `--calibration` to networks: what share of the poses with a score is right, at an OKS of .5 or more.

    posecli eval --gt train.json --images train --save train_results.json
    python examples/calibrate_scores.py --gt train.json --pred train_results.json
    posecli infer --pose-score calibrated --calibration SLOPE,INTERCEPT ...

Fit it on other pictures than those that it is judged on: `--check-gt` and `--check-pred` print the reliability there.
Poses that lie on people who do not count, such as crowds, are left out. The scores to fit must be the default ones.

Source: Platt, "Probabilistic Outputs for Support Vector Machines", 1999.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from posecli.evaluation import Results, Scored, load_ground_truth, load_results, pack, score
from posecli.evaluation.calibration import Calibration, calibration
from posecli.stages.merge import calibrate

Array = NDArray[np.float64]
_LEAST_CHANCE = 1e-6


def judged(scored: Scored) -> tuple[Array, Array]:
    """Return the (P,) scores of the poses that count and whether each is right, 1 or 0."""
    found, wrong = scored.matches.found[0], scored.matches.wrong[0]
    counts = found | wrong
    return scored.packed.poses.scores[counts].astype(float), found[counts].astype(float)


def fit(scores: Array, right: Array, *, steps: int = 50) -> tuple[float, float]:
    """Return slope and intercept of the likeliest logistic curve of the scores' log odds, by Newton's method."""
    clipped = scores.clip(_LEAST_CHANCE, 1 - _LEAST_CHANCE)
    columns = np.stack((np.log(clipped / (1 - clipped)), np.ones_like(clipped)), axis=1)  # (P, 2)
    weights = np.array((1.0, 0.0))
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-columns @ weights))
        slope = columns.T @ (right - chance)
        bend = (columns * (chance * (1 - chance))[:, None]).T @ columns + 1e-9 * np.eye(2)
        weights = weights + np.linalg.solve(bend, slope)
    return float(weights[0]), float(weights[1])


def calibrated(results: Results, curve: tuple[float, float]) -> Results:
    """Return the same poses with calibrated scores."""
    scores = calibrate(torch.tensor([pose["score"] for pose in results.poses], dtype=torch.float64), curve).tolist()
    return replace(
        results, poses=tuple({**pose, "score": new} for pose, new in zip(results.poses, scores, strict=True))
    )


def described(reliability: Calibration) -> str:
    """Return a reliability diagram as text."""
    lines = [f"off by {reliability.error or 0:.3f} on average"]
    for item in reliability.bins:
        lines.append(
            f"{item.low:.1f} to {item.high:.1f}: {item.num_poses:5d} poses, {item.share_right:.2f} of them right"
        )
    return "\n".join(lines)


@click.command()
@click.option("--gt", type=click.Path(path_type=Path), required=True, help="COCO dataset to fit on.")
@click.option("--pred", type=click.Path(path_type=Path), required=True, help="COCO results of its pictures.")
@click.option("--check-gt", type=click.Path(path_type=Path), help="COCO dataset to judge the fit on.")
@click.option("--check-pred", type=click.Path(path_type=Path), help="COCO results of its pictures.")
def main(gt: Path, pred: Path, check_gt: Path | None, check_pred: Path | None) -> None:
    """Print the calibration that fits a network's results."""
    truth = load_ground_truth(gt)
    scores, right = judged(score(pack(truth, load_results(pred, truth))))
    curve = fit(scores, right)
    click.echo(f"--calibration {curve[0]:.2f},{curve[1]:.2f}  # {len(scores)} poses, {right.mean():.2f} of them right")
    if check_gt is not None and check_pred is not None:
        truth = load_ground_truth(check_gt)
        results = load_results(check_pred, truth)
        for name, given in (("before", results), ("after", calibrated(results, curve))):
            click.echo(f"{name}: {described(calibration(score(pack(truth, given))))}")


if __name__ == "__main__":
    main()
