"""posecli beside rtmlib on the same ONNX files: frames a second, where both put keypoints, and who is nearer the truth.

    python3 -m venv peer && peer/bin/pip install onnxruntime opencv-python-headless tqdm numpy
    peer/bin/pip install --no-deps rtmlib==0.0.16
    python examples/compare_rtmlib.py CLIP... --peer peer/bin/python --detector rtmdet.onnx --refiner tinypose.onnx

Both are commands that read a video and write JSON and a drawn video; they run in turns, each in a process of its own.
rtmlib gets its own classes (RTMDet, ViTPose) and a loop around them, which this file is, too, when the peer's Python
runs it. What a run of one frame takes is called start-up, and frames a second are given with and without it; the
processor's time of both is given, too, which other work on the machine changes little.

A heatmap network's file does not say how its crops are cut and its cells are read. rtmlib's ViTPose class has one way
for all of them, which posecli follows where the TOML beside the file says so (`RTMLIB`): blue for red, crops without
the half pixel, and heatmaps stretched over the whole crop. posecli's own way is another. So keypoints are compared
both ways, and `--gt` with `--images` says how near both are to the truth, on the true boxes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

MIN_BOX_SCORE, DRAWN_SCORE = 0.3, 0.3  # rtmlib's own: boxes that it looks at, keypoints that it draws
OPTIONS = ("--no-filter", "--min-box-score", MIN_BOX_SCORE, "--min-score", 0, "--pose-nms", "none", "-q")
CELLS = 'half_pixel = false\n[codec]\nspacing = "stretched"\nsubpixel = "dark_udp"\n'
RTMLIB = f"bgr = true\n{CELLS}"  # as its users call it, with OpenCV's blue first
WAYS = {"posecli's own": "", "rtmlib's": RTMLIB, "rtmlib's, red first": CELLS}  # TOMLs beside the refiner
Seconds = np.ndarray  # (2,), by the clock and of the processor
_NEAR = 0.1  # of a box's longer side: boxes whose edges are nearer are one person's


def run_rtmlib(source: str, folder: str, detector: str, refiner: str, most: str) -> None:
    """Annotate so many frames of a video with rtmlib: poses.json and overlay.mp4."""
    import cv2
    from rtmlib import RTMDet, ViTPose, draw_skeleton

    find, refine = RTMDet(detector, model_input_size=(640, 640)), ViTPose(refiner, model_input_size=(192, 256))
    video = cv2.VideoCapture(source)
    size_wh = int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
    code = cv2.VideoWriter_fourcc(*"mp4v")
    drawn = cv2.VideoWriter(f"{folder}/overlay.mp4", code, video.get(cv2.CAP_PROP_FPS), size_wh)
    frames = []
    while len(frames) < int(most):
        there, image = video.read()
        if not there:
            break
        boxes = find(image)
        people = []
        if len(boxes):  # without boxes, rtmlib takes the whole picture for a person
            points, scores = refine(image, boxes)
            image = draw_skeleton(image, points, scores, kpt_thr=DRAWN_SCORE)
            people = [
                {"box": box.tolist(), "keypoints": rows.tolist(), "scores": row.tolist()}
                for box, rows, row in zip(boxes, points, scores)  # noqa: B905 - any Python that rtmlib runs on
            ]
        drawn.write(image)
        frames.append(people)
    drawn.release()
    Path(folder, "poses.json").write_text(json.dumps(frames))


def agreement(own: list[dict[str, Any]], other: list[list[dict[str, Any]]]) -> dict[str, float]:
    """Say which share of rtmlib's keypoints posecli puts within a pixel of them, on the person of the same box.

    Args:
        own: posecli's people, each with its `image_id`, `bbox` and `points`.
        other: rtmlib's people of each frame. One without a partner counts as differing in all of its keypoints.
    """
    people_of: dict[int, list[dict[str, Any]]] = {}
    for person in own:
        people_of.setdefault(person["image_id"], []).append(person)
    people = alone = near = near_drawn = drawn = 0
    for number, frame in enumerate(other, start=1):
        mine = people_of.get(number, [])
        for person in frame:
            box, sure = np.array(person["box"]), np.array(person["scores"]) > DRAWN_SCORE
            people, drawn = people + 1, drawn + int(sure.sum())
            partner = min(mine, key=lambda one: _distance(one["bbox"], box), default=None)
            if partner is None or _distance(partner["bbox"], box) > _NEAR * max(box[2:] - box[:2]):
                alone += 1
                continue
            there = np.linalg.norm(np.array(partner["points"]) - np.array(person["keypoints"]), axis=1) <= 1
            near, near_drawn = near + int(there.sum()), near_drawn + int(there[sure].sum())
    return {
        "people": people,
        "without_partner": alone,
        "within_1_px": near / max(1, 17 * people),
        "within_1_px_of_those_drawn": near_drawn / max(1, drawn),
    }


def _distance(bbox_xywh: list[float], box: np.ndarray) -> float:
    left, top, width, height = bbox_xywh
    return float(np.abs(np.array([left, top, left + width, top + height]) - np.clip(box, 0, None)).max())


def found(folder: Path, stem: str) -> list[dict[str, Any]]:
    """Read what posecli wrote: boxes, and all keypoints, unsure ones too."""
    people: list[dict[str, Any]] = json.loads((folder / f"{stem}.coco.json").read_text())["annotations"]
    places = json.loads((folder / f"{stem}.results.json").read_text())
    for person, result in zip(people, places, strict=True):
        person["points"] = np.array(result["keypoints"]).reshape(-1, 3)[:, :2].tolist()
    return people


def timed(words: list[str]) -> Seconds:
    """Run a command to its end; return its seconds, by the clock and of the processor."""
    before, started = os.times(), time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return np.array((wall, used))


def beside(refiner: str, toml: str, folder: Path) -> str:
    """Put the refiner's file into a folder of its own, with a TOML beside it; return how posecli names it."""
    folder.mkdir()
    copy = Path(shutil.copy(refiner, folder / "refiner.onnx"))
    copy.with_suffix(".toml").write_text(toml)
    return f"onnx:{copy}"


def compare(clip: str, peer: str, detector: str, refiner: str, *, rounds: int, quick: bool) -> dict[str, Any]:
    """Run both tools in turn on one clip; `quick` leaves out posecli's own way to read the heatmaps."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        networks = [beside(refiner, toml, folder / f"way{index}") for index, toml in enumerate(WAYS.values())]

        def posecli(refiner: str, *options: str) -> Seconds:
            words = [sys.executable, "-m", "posecli", "infer", clip, "-o", name, "--detector", f"onnx:{detector}"]
            return timed([*words, "--refiner", refiner, *map(str, OPTIONS), "--restart", *options])

        def rtmlib(most: int = sys.maxsize) -> Seconds:
            return timed([peer, __file__, "--as-peer", clip, name, detector, refiner, str(most)])

        start = posecli(networks[1], "--max-frames", "1"), rtmlib(1)
        rows = np.array([(posecli(networks[1]), rtmlib()) for _ in range(rounds)])
        other = json.loads((folder / "poses.json").read_text())
        agreed = {"rtmlib's": agreement(found(folder, Path(clip).stem), other)}
        if not quick:
            posecli(networks[0], "--no-overlay")
            agreed["posecli's own"] = agreement(found(folder, Path(clip).stem), other)
    return {"clip": Path(clip).name, **speeds(len(other), np.array(start), rows), "agreement": agreed}


def speeds(frames: int, start: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
    """Turn times into frames a second and the processor's time a frame.

    Args:
        frames: of a run.
        start: (2, 2) seconds of a run of one frame, of posecli and of rtmlib, by the clock and of the processor.
        rows: (rounds, 2, 2), those of each round's runs.
    """
    (mine, my_work), (theirs, their_work) = np.median(rows, axis=0).tolist()
    (my_start, _), (their_start, _) = start.tolist()
    after = frames - 1
    return {
        "frames": frames,
        "posecli_fps": frames / mine,
        "rtmlib_fps": frames / theirs,
        "ratio": theirs / mine,
        "ratio_of_each_round": (rows[:, 1, 0] / rows[:, 0, 0]).tolist(),
        "start_up_s": [my_start, their_start],
        "posecli_fps_after_start_up": after / (mine - my_start),
        "rtmlib_fps_after_start_up": after / (theirs - their_start),
        "ratio_after_start_up": (theirs - their_start) / (mine - my_start),
        "posecli_cpu_ms_a_frame": 1000 * my_work / frames,
        "rtmlib_cpu_ms_a_frame": 1000 * their_work / frames,
    }


def accuracy(refiner: str, gt: str, images: str) -> dict[str, Any]:
    """Measure the refiner's AP on true boxes, read in each way."""
    measured = {}
    with tempfile.TemporaryDirectory() as name:
        for index, (way, toml) in enumerate(WAYS.items()):
            network = beside(refiner, toml, Path(name, f"way{index}"))
            words = [sys.executable, "-m", "posecli", "eval", "--gt", gt, "--images", images, "--true-boxes", "--json"]
            told = subprocess.run([*words, "-q", "--refiner", network], check=True, stdout=subprocess.PIPE, text=True)
            measured[way] = json.loads(told.stdout.splitlines()[-1])
    return {"true_boxes": {way: {key: told[key] for key in ("AP", "AP50", "AP75")} for way, told in measured.items()}}


def main() -> None:
    """Parse, compare, print a line of JSON a clip."""
    import click

    @click.command(help=(__doc__ or "").splitlines()[0])
    @click.argument("clips", nargs=-1)
    @click.option("--peer", help="Python that has rtmlib; needed for clips.")
    @click.option("--detector", help="RTMDet as ONNX file; needed for clips.")
    @click.option("--refiner", required=True, help="Heatmap network of 17 keypoints as ONNX file.")
    @click.option("--rounds", default=2, show_default=True)
    @click.option("--quick", is_flag=True, help="Compare keypoints in rtmlib's way alone.")
    @click.option("--gt", help="COCO keypoints ground truth, to measure AP.")
    @click.option("--images", help="Its pictures.")
    def command(clips: tuple[str, ...], refiner: str, gt: str, images: str, **options: Any) -> None:
        if clips and not (options["peer"] and options["detector"]):
            raise click.UsageError("clips need --peer and --detector")
        for clip in clips:
            click.echo(json.dumps(compare(clip, refiner=refiner, **options)))
        if gt and images:
            click.echo(json.dumps(accuracy(refiner, gt, images)))

    command()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-peer"]:
        run_rtmlib(*sys.argv[2:])
    else:
        main()
