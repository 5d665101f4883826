"""posecli beside rtmlib on the same ONNX files: frames a second, and where both put the same people's keypoints.

    python3 -m venv peer && peer/bin/pip install onnxruntime opencv-python-headless tqdm numpy
    peer/bin/pip install --no-deps rtmlib
    python examples/compare_rtmlib.py CLIP... --peer peer/bin/python --detector rtmdet.onnx --refiner tinypose.onnx

Both are commands that read a video and write JSON and a drawn video; they run in turns, each in a process of its own,
start-up included. rtmlib gets its own classes (RTMDet, ViTPose) and a loop around them, which this file is, too, when
the peer's Python runs it. Two habits of its ViTPose matter: it takes blue for red, which posecli is told to do as well;
and it spreads the first and the last heatmap cell over the crop's whole width, which puts the cells up to four crop
pixels from where its crop has them. So keypoints are compared twice: as they are, and with the cells in their places.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

MIN_BOX_SCORE = 0.3  # rtmlib's own
INPUT_HW, STRIDE, MARGIN = (256, 192), 4, 1.25
OPTIONS = (
    "--no-filter", "--min-box-score", MIN_BOX_SCORE, "--min-score", 0, "--pose-nms", "none", "--subpixel", "dark",
    "--blur", 11, "-q",
)  # fmt: skip


def run_rtmlib(source: str, folder: str, detector: str, refiner: str) -> None:
    """Annotate a video with rtmlib: poses.json and overlay.mp4."""
    import cv2
    from rtmlib import RTMDet, ViTPose, draw_skeleton

    find, refine = RTMDet(detector, model_input_size=(640, 640)), ViTPose(refiner, model_input_size=(192, 256))
    video = cv2.VideoCapture(source)
    size_wh = int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
    code = cv2.VideoWriter_fourcc(*"mp4v")
    drawn = cv2.VideoWriter(f"{folder}/overlay.mp4", code, video.get(cv2.CAP_PROP_FPS), size_wh)
    frames = []
    while True:
        there, image = video.read()
        if not there:
            break
        boxes = find(image)
        people = []
        if len(boxes):  # without boxes, rtmlib takes the whole picture for a person
            points, scores = refine(image, boxes)
            image = draw_skeleton(image, points, scores, kpt_thr=0.3)
            people = [
                {"box": box.tolist(), "keypoints": rows.tolist(), "scores": row.tolist()}
                for box, rows, row in zip(boxes, points, scores)  # noqa: B905 - any Python that rtmlib runs on
            ]
        drawn.write(image)
        frames.append(people)
    drawn.release()
    Path(folder, "poses.json").write_text(json.dumps(frames))


def in_their_places(box: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Put (K, 2) keypoints of rtmlib's ViTPose where its crop has the heatmap cells that they came from."""
    height, width = INPUT_HW
    size_wh = (box[2:] - box[:2]) * MARGIN
    size_wh = np.maximum(size_wh, size_wh[::-1] * np.array([width / height, height / width]))
    corner = (box[:2] + box[2:]) / 2 - size_wh / 2
    cells = (points - corner) / size_wh * (np.array([width, height]) / STRIDE - 1)
    return corner + cells * STRIDE * size_wh / np.array([width, height])


def agreement(own: dict[str, Any], other: list[list[dict[str, Any]]]) -> dict[str, float]:
    """Say which share of rtmlib's keypoints posecli puts within a pixel of them, on the person of the same box."""
    boxes_of: dict[int, list[dict[str, Any]]] = {}
    for result in own["annotations"]:
        boxes_of.setdefault(result["image_id"], []).append(result)
    near = {"as they are": 0, "with cells in their places": 0, "so, and within a crop pixel": 0}
    people = alone = 0
    for number, frame in enumerate(other, start=1):
        mine = boxes_of.get(number, [])
        for person in frame:
            people += 1
            box, points = np.array(person["box"]), np.array(person["keypoints"])
            partner = min(mine, key=lambda one: _distance(one["bbox"], box), default=None)
            if partner is None or _distance(partner["bbox"], box) > 0.1 * max(box[2:] - box[:2]):
                alone += 1
                continue
            found, placed = np.array(partner["points"]), in_their_places(box, points)
            scale = max((box[2:] - box[:2]) * MARGIN / INPUT_HW[::-1])  # pixels a crop pixel
            for name, theirs, most in zip(near, (points, placed, placed), (1, 1, scale), strict=True):
                near[name] += int((np.linalg.norm(found - theirs, axis=1) <= most).sum())
    total = max(1, 17 * people)
    return {"people": people, "without_partner": alone, **{name: count / total for name, count in near.items()}}


def _distance(bbox_xywh: list[float], box: np.ndarray) -> float:
    left, top, width, height = bbox_xywh
    return float(np.abs(np.array([left, top, left + width, top + height]) - np.clip(box, 0, None)).max())


def timed(words: list[str]) -> float:
    """Run a command to its end; return its seconds."""
    started = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def compare(clip: str, peer: str, detector: str, refiner: str, rounds: int) -> dict[str, Any]:
    """Run both tools in turn on one clip."""
    with tempfile.TemporaryDirectory() as folder:
        swapped = Path(folder, "refiner.onnx")
        shutil.copy(refiner, swapped)
        swapped.with_suffix(".toml").write_text("bgr = true\n")
        posecli = [sys.executable, "-m", "posecli", "infer", clip, "-o", folder, "--detector", f"onnx:{detector}"]
        posecli += ["--refiner", f"onnx:{swapped}", *map(str, OPTIONS)]
        rtmlib = [peer, __file__, "--as-peer", clip, folder, detector, refiner]
        seconds = [(timed(posecli), timed(rtmlib)) for _ in range(rounds)]
        own = json.loads(Path(folder, f"{Path(clip).stem}.coco.json").read_text())
        places = json.loads(Path(folder, f"{Path(clip).stem}.results.json").read_text())
        for annotation, result in zip(own["annotations"], places, strict=True):  # these keep unsure keypoints, too
            annotation["points"] = np.array(result["keypoints"]).reshape(-1, 3)[:, :2].tolist()
        other = json.loads(Path(folder, "poses.json").read_text())
    mine, theirs = (median(column) for column in zip(*seconds, strict=True))
    frames = len(other)
    return {
        "clip": Path(clip).name,
        "frames": frames,
        "posecli_fps": frames / mine,
        "rtmlib_fps": frames / theirs,
        "ratio": theirs / mine,
        "within_1_px": agreement(own, other),
    }


def main() -> None:
    """Parse, compare, print a line of JSON a clip."""
    import click

    @click.command(help=(__doc__ or "").splitlines()[0])
    @click.argument("clips", nargs=-1, required=True)
    @click.option("--peer", required=True, help="Python that has rtmlib.")
    @click.option("--detector", required=True, help="RTMDet as ONNX file.")
    @click.option("--refiner", required=True, help="Heatmap network of 17 keypoints as ONNX file.")
    @click.option("--rounds", default=2, show_default=True)
    def command(clips: tuple[str, ...], peer: str, detector: str, refiner: str, rounds: int) -> None:
        for clip in clips:
            click.echo(json.dumps(compare(clip, peer, detector, refiner, rounds)))

    command()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-peer"]:
        run_rtmlib(*sys.argv[2:])
    else:
        main()
