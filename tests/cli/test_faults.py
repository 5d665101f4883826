"""`posecli infer` as a process that is killed, or whose disk is full: no frame lost or doubled, no byte changed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest

from faults import Infer, assert_whole, strike_often, walking_clip

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")]
FRAMES = 60


@pytest.mark.parametrize(("number", "times"), [("SIGKILL", 4), ("SIGTERM", 2)])
def test_struck_at_random_moments_and_resumed_it_ends_as_if_nothing_had_been(networks, tmp_path, number, times):
    clip = walking_clip(tmp_path / "clip.mp4", frames=FRAMES)
    options = (*networks, "--smooth", "--explain")

    done = strike_often(clip, tmp_path, getattr(signal, number), times=times, frames=FRAMES, options=options, seed=3)

    assert any(0 < frames < FRAMES for frames in done)


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of 100 kB; it can be made larger."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def resize(kilobytes, *, first=False):
        options = f"size={kilobytes}k" if first else f"remount,size={kilobytes}k"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if sys.platform != "linux" or os.geteuid() or not shutil.which("mount") or not resize(100, first=True):
        pytest.skip("only root may mount a small disk, and not everywhere")
    yield folder, resize
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_costs_no_frame(networks, tmp_path, small_disk):
    (disk, resize), clip = small_disk, walking_clip(tmp_path / "clip.mp4", frames=FRAMES)
    whole, infer = (Infer(clip, folder, *networks, "--smooth") for folder in (tmp_path / "whole", disk))
    assert whole.run("-q")[0] == 0
    expected = whole.files()

    status, messages = infer.run("-q")

    assert status == 4
    assert messages.startswith(f"{clip}: No space left on device")
    assert messages.count("\n") == 1
    assert "make space, then go on with --resume" in messages
    assert 0 < infer.frames_done() <= FRAMES
    assert_whole(infer, expected)
    for kilobytes in (150, 4000):  # not enough, then enough
        assert resize(kilobytes)
        status, messages = infer.run("-q", "--resume")
        assert_whole(infer, expected)
    assert (status, messages) == (0, "")
    assert infer.files() == expected
