import itertools

import cv2
import numpy as np
import pytest

from posecli.config import ReadConfig
from posecli.errors import InputError
from posecli.media import camera
from posecli.media.sources import count_frames, open_source


class FakeCapture:
    """A camera that films 25 blue frames a second, and ends after 50."""

    def __init__(self, number):
        self.number, self.frames, self.released = number, 0, False

    def isOpened(self):
        return self.number == 0

    def read(self):
        self.frames += 1
        return self.frames <= 50, np.full((48, 64, 3), (250, 0, 0), np.uint8)

    def release(self):
        self.released = True


@pytest.fixture
def filming(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(camera.cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(camera.time, "monotonic", lambda: next(clock) * 0.04)


def test_a_camera_gives_rgb_frames_with_the_time_they_came(filming):
    with open_source("0", ReadConfig(max_frames=3)) as source:
        frames = list(source)

    assert (source.stem, source.kind, source.is_live, source.header_frames) == ("camera0", "video", True, None)
    assert [(frame.index, frame.pts) for frame in frames] == [(0, 40), (1, 80), (2, 120)]
    assert frames[0].image[0, 0].tolist() == [0, 0, 250]
    assert source.notes() == ()


def test_a_camera_ends_at_the_time_given_or_when_it_is_gone(filming):
    with open_source("/dev/video0", ReadConfig(start=0.2, end=0.6, stride=2)) as source:
        assert [frame.index for frame in source] == [4, 6, 8, 10, 12]
    with open_source("0") as source:
        assert len(list(source)) == 50
    assert count_frames("0", ReadConfig(max_frames=9)) == 9


def test_a_camera_that_is_not_there_is_told(filming):
    with pytest.raises(InputError, match="camera 7: cannot be opened; see `ls /dev/video"):
        open_source("/dev/video7")


def test_this_machines_missing_camera_is_told():
    if cv2.VideoCapture(99).isOpened():
        pytest.skip("this machine has 100 cameras")
    with pytest.raises(InputError, match="camera 99: cannot be opened"):
        open_source("99")
