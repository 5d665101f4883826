"""Memory that does not grow with the length of a video.

A script, too: `python tests/unit/engines/test_memory.py 1000 10000` prints the peak of each number of frames.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
PROGRAM = """
import resource, sys
from pathlib import Path
import clips
from fakes import OnePersonPerFrame
from posecli.config import RunOptions, TimelineConfig
from posecli.engines.local import annotate_source

folder, frames = Path(sys.argv[1]), int(sys.argv[2])
clip = clips.write_clip(folder / f"{frames}.mp4", pts=range(frames), size_wh=(160, 120))
options = RunOptions(directory=folder / "out", timeline=TimelineConfig(smooth=True))
report = annotate_source(str(clip), OnePersonPerFrame(), options, lambda *_: None)
assert (report.status, report.frames) == ("ok", frames), report
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_kilobytes(frames):
    """Annotate a clip of so many frames in a process of its own: everything but the networks is real."""
    with tempfile.TemporaryDirectory() as folder:
        path = [str(TESTS.parent), str(TESTS)]
        program = f"import sys; sys.path[:0] = {path!r}\n{PROGRAM}"
        command = [sys.executable, "-c", program, folder, str(frames)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems count in other units")
def test_ten_times_the_frames_need_no_more_memory():
    short, long = peak_kilobytes(150), peak_kilobytes(1500)

    assert long < 1.1 * short
    assert long - short < 12_000  # 1,350 pictures would take 78,000


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(f"{argument} frames: {peak_kilobytes(int(argument)) / 1024:.1f} MiB")
