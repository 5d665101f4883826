"""A camera of this machine. FFmpeg's wheels leave out Video4Linux, so OpenCV reads it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction

import cv2
import torch

from posecli.config import ReadConfig
from posecli.errors import InputError
from posecli.media.selection import Selection
from posecli.records import Frame


class CameraReader:
    """The chosen frames of a camera, stamped when they arrive; they end with the selection or the camera."""

    frame_rate: Fraction | None = None
    time_base = Fraction(1, 1000)
    pixel_aspect: Fraction | None = None
    rotation = 0
    has_companions = False
    header_frames: int | None = None

    def __init__(self, number: int, stem: str, reading: ReadConfig) -> None:
        """Open /dev/videoN.

        Raises:
            InputError: it is not there, or gives no picture.
        """
        self._stem, self._reading = stem, reading
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            self._capture.release()
            raise InputError(
                f"camera {number}: cannot be opened; see `ls /dev/video*`, and whether another program has it"
            )

    def close(self) -> None:
        """Hand the camera back."""
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames as they come."""
        selection = Selection(self._reading, 0, self.time_base)
        started, index = time.monotonic(), 0
        while not selection.ended:
            there, bgr = self._capture.read()
            if not there:
                return
            pts = round((time.monotonic() - started) * 1000)
            if selection.takes(pts):
                image = torch.from_numpy(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
                height, width = image.shape[:2]
                yield Frame(index, image, width, height, f"{self._stem}_{index:06d}.png", pts, pts / 1000)
            index += 1

    def notes(self) -> tuple[str, ...]:
        """Say nothing: a camera promises nothing."""
        return ()

    def remarks(self) -> tuple[str, ...]:
        """Say nothing."""
        return ()
