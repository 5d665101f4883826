"""`posecli infer` killed again and again: what is left, and what a resumed run makes of it.

A script, too, for many kills of a long clip with the default networks: `python tests/faults.py --signal KILL`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import av
import cv2
import numpy as np

from posecli.media.journal import read_journal

# A run in the background may have SIGINT ignored, which a child inherits.
PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from posecli.cli import main; main()"
)

# Everything that might be somebody: two a frame, also where pictures are too small to know.
_SMALL_PICTURES = ("--detector-size", "160", "--no-filter", "--min-box-score", "0", "--max-people", "2")
_SMALL_PICTURES += ("--min-score", "0", "--smooth", "--explain")


def walking_clip(path, *, frames, size_wh=(160, 120), rate=25):
    """Encode rendered walkers, there and back, for as long as wanted."""
    with av.open(str(Path(__file__).parents[1] / "examples/walkers.mp4")) as source:
        pictures = [cv2.resize(f.to_ndarray(format="rgb24"), size_wh) for f in source.decode(video=0)]
    pictures += pictures[::-1]
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=rate, options={"preset": "veryfast"})
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        for index in range(frames):
            shifted = np.roll(pictures[index % len(pictures)], index // len(pictures), axis=1)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(shifted), format="rgb24")))
        output.mux(stream.encode(None))
    return path


class Infer:
    """`posecli infer` on one source, as a process."""

    def __init__(self, source, out, *options):
        self.out, self.journal = Path(out), Path(out) / f"{Path(source).stem}.jsonl"
        self.command = [sys.executable, "-c", PROGRAM, "infer", str(source), "-o", str(out), *map(str, options)]

    def start(self, *more):
        return subprocess.Popen([*self.command, *more], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def run(self, *more):
        with self.start(*more) as process:
            messages = process.communicate()[1]
        return process.returncode, messages

    def frames_done(self):
        try:
            return max(0, self.journal.read_bytes().count(b"\n") - 1)
        except OSError:
            return 0

    def files(self):
        """Every file but run.json, which tells the time, and what is unfinished."""
        found = (path for path in self.out.rglob("*") if path.is_file())
        return {p.name: p.read_bytes() for p in found if p.name != "run.json" and not p.name.startswith(".")}

    def strike(self, number, *, at_frame, wait_s, more=()):
        """Start, wait until so many frames are done and then a moment, and send the signal.

        Returns:
            The exit status, the messages, and how many frames were done then.
        """
        with self.start(*more) as process:
            while process.poll() is None and self.frames_done() < at_frame:
                time.sleep(0.001)
            time.sleep(wait_s)
            process.send_signal(number)
            messages = process.communicate()[1]
        return process.returncode, messages, self.frames_done()


def assert_whole(infer, expected):
    """What bears a final name is whole, and what the journal has is in order."""
    for name, data in infer.files().items():
        if name != infer.journal.name:
            assert data == expected[name], f"{name} is not what an uninterrupted run makes"
    if infer.journal.exists() and infer.frames_done():
        indexes = [entry["frame_index"] for entry in read_journal(infer.journal)[1]]
        assert indexes == list(range(len(indexes))), "the journal lost or doubled a frame"


def strike_often(source, folder, number, *, times, frames, options=(), seed=0):
    """Interrupt a run at random moments, resume it each time, and compare with an uninterrupted one.

    Returns:
        Frames that were done at each interruption.
    """
    whole, infer = Infer(source, folder / "whole", *options), Infer(source, folder / "out", *options)
    assert whole.run("-q")[0] == 0
    expected = whole.files()
    dice = random.Random(seed)
    # One in five strikes when all frames are done: while the last files are made and renamed.
    moments = sorted(min(dice.uniform(0, 1.25), 1) * frames for _ in range(times))
    done = []
    for moment in moments:
        wait_s = dice.uniform(0, 0.3 if moment >= frames else 0.05)
        more = ("--resume",) if infer.frames_done() else ()
        status, messages, frames_done = infer.strike(number, at_frame=int(moment), wait_s=wait_s, more=("-q", *more))
        assert status in {-number, 128 + number, 0}, messages
        assert_whole(infer, expected)
        print(
            f"struck at {moment:6.1f} + {wait_s:.3f} s: status {status}, {frames_done} frames in the journal",
            flush=True,
        )
        if status == 0:  # too late
            break
        done.append(frames_done)
    assert infer.run("--resume", "-q")[0] == 0
    assert infer.files() == expected
    results = json.loads((infer.out / f"{Path(source).stem}.coco.json").read_text())
    assert [image["frame_index"] for image in results["images"]] == list(range(frames))
    assert len({annotation["image_id"] for annotation in results["annotations"]}) > frames / 2, (
        "there is little to lose"
    )
    assert not [path for path in infer.out.iterdir() if path.name.startswith(".")]
    return done


def main():
    """Interrupt a 30-second clip 20 times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signal", default="KILL", choices=["KILL", "TERM", "INT"])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--rate", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("options", nargs="*", help="of posecli infer, after --")
    arguments = parser.parse_args()
    number, frames = getattr(signal, f"SIG{arguments.signal}"), arguments.rate * arguments.seconds
    os.environ["PYTHONPATH"] = os.pathsep.join((str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")))
    with tempfile.TemporaryDirectory() as name:
        clip = walking_clip(Path(name) / "clip.mp4", frames=frames, rate=arguments.rate)
        options = (*_SMALL_PICTURES, *arguments.options)
        done = strike_often(
            clip, Path(name), number, times=arguments.times, frames=frames, options=options, seed=arguments.seed
        )
    print(f"{frames} frames, interrupted {len(done)} times: the same bytes as of an uninterrupted run")


if __name__ == "__main__":
    main()
