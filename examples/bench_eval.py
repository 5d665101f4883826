"""How fast and how large `posecli eval` is beside plain pycocotools, on made-up people.

    python examples/bench_eval.py --images 5000 --poses 50000

Both read the same files, in processes of their own, in turns: times are ratios of runs next to each other, memory is
each process's peak. Their ten numbers must agree.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click
import numpy as np

KIB_PER_MIB = 1024
TOLERANCE = 1e-9


def make_files(folder: Path, num_images: int, num_poses: int, seed: int = 0) -> None:
    """Write gt.json, with two and a half people an image, and pred.json: half of its poses are of nobody."""
    random = np.random.default_rng(seed)
    image = np.sort(random.integers(1, num_images + 1, num_images * 5 // 2))
    side = random.uniform(24, 300, len(image))
    corner = random.uniform(0, 340, (len(image), 2))
    points = corner[:, None] + random.uniform(0, 1, (len(image), 17, 2)) * side[:, None, None]
    visibility = random.choice([0, 1, 2], (len(image), 17), p=[0.3, 0.1, 0.6])
    points[visibility == 0] = 0
    annotations = [
        {
            "id": number + 1, "image_id": int(image[number]), "category_id": 1, "iscrowd": int(number % 50 == 0),
            "bbox": [*corner[number].tolist(), side[number], side[number]], "area": side[number] ** 2 * 0.5,
            "keypoints": np.column_stack((points[number], visibility[number])).ravel().round(2).tolist(),
            "num_keypoints": int((visibility[number] > 0).sum()),
        }
        for number in range(len(image))
    ]  # fmt: skip
    whom = random.integers(0, len(image), num_poses)
    moved = points[whom] + random.normal(0, 1, (num_poses, 17, 2)) * side[whom, None, None] * 0.06
    moved[num_poses // 2 :] += 700
    scores = random.uniform(0, 1, num_poses)
    poses = [
        {
            "image_id": int(image[whom[number]]), "category_id": 1, "score": round(float(scores[number]), 4),
            "keypoints": np.column_stack((moved[number], np.ones(17))).ravel().round(2).tolist(),
        }
        for number in range(num_poses)
    ]  # fmt: skip
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(1, num_images + 1)]
    dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    (folder / "gt.json").write_text(json.dumps(dataset))
    (folder / "pred.json").write_text(json.dumps(poses))


def run_posecli(folder: Path) -> list[float]:
    """Return COCO's ten numbers by posecli."""
    from posecli.evaluation import keypoint_scores, load_ground_truth, load_results

    truth = load_ground_truth(folder / "gt.json")
    scores = keypoint_scores(truth, load_results(folder / "pred.json", truth))
    return [-1 if value is None else value for values in scores.rows().values() for value in values]


def run_matching(folder: Path) -> list[float]:
    """Return the same ten numbers by the matching that breakdowns and intervals are made of."""
    from posecli.evaluation import coco_scores, load_ground_truth, load_results, pack, score

    truth = load_ground_truth(folder / "gt.json")
    results = load_results(folder / "pred.json", truth)
    scores = coco_scores(score(pack(truth, results)), num_results=len(results.poses))
    return [-1 if value is None else value for values in scores.rows().values() for value in values]


def run_everything(folder: Path) -> list[float]:
    """Return the same ten numbers; compute all breakdowns and intervals, too."""
    from posecli.evaluation import examine, load_ground_truth, load_results, pack, resample, score

    truth = load_ground_truth(folder / "gt.json")
    results = load_results(folder / "pred.json", truth)
    scored = score(pack(truth, results))
    scores = examine(scored, results, samples=resample(scored, 1000), with_breakdown=True).scores
    return [-1 if value is None else value for values in scores.rows().values() for value in values]


def run_pycocotools(folder: Path) -> list[float]:
    """Return COCO's ten numbers by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "gt.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(folder / "pred.json")), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


RUNS = {
    "posecli": run_posecli,
    "pycocotools": run_pycocotools,
    "matching": run_matching,
    "everything": run_everything,
}


def peak_mib() -> float:
    """Return this process's largest resident memory; getrusage would count the parent's, too. Linux only."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / KIB_PER_MIB


def measure(name: str, folder: Path) -> dict[str, object]:
    """Run one of them in a process of its own."""
    command = [sys.executable, __file__, "--only", name, "--folder", str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@click.command()
@click.option("--images", default=5000, show_default=True)
@click.option("--poses", default=50000, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="Turns of each.")
@click.option("--only", type=click.Choice(list(RUNS)), hidden=True)
@click.option("--folder", type=click.Path(path_type=Path), hidden=True)
def main(images: int, poses: int, rounds: int, only: str | None, folder: Path | None) -> None:
    """Compare posecli with pycocotools, A B A B."""
    if only and folder:
        start = time.perf_counter()
        numbers = RUNS[only](folder)
        seconds = time.perf_counter() - start
        click.echo(json.dumps({"numbers": numbers, "seconds": seconds, "peak_mib": peak_mib()}))
        return
    with tempfile.TemporaryDirectory() as name:
        make_files(Path(name), images, poses)
        turns = [{run: measure(run, Path(name)) for run in RUNS} for _ in range(rounds)]
    expected = turns[0]["pycocotools"]["numbers"]
    for run in RUNS:
        numbers = turns[0][run]["numbers"]
        if not np.allclose(numbers, expected, rtol=0, atol=TOLERANCE):
            raise click.ClickException(f"{run} scores {numbers}, pycocotools {expected}")
        ratios = [turn[run]["seconds"] / turn["pycocotools"]["seconds"] for turn in turns]
        peak = median(turn[run]["peak_mib"] for turn in turns)
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        click.echo(f"{run:12} time x {median(ratios):.3f} of pycocotools ({spread}), peak {peak:.0f} MiB")


if __name__ == "__main__":
    main()
