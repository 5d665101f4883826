"""Animated WebP and AVIF, which FFmpeg cannot read, as the frames of a video."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from posecli.config import ReadConfig
from posecli.errors import ConfigError, InputError
from posecli.media.headers import read_header
from posecli.media.images import max_pixels
from posecli.media.pictures import over_black
from posecli.media.selection import Selection
from posecli.records import Frame


class AnimationReader:
    """The chosen frames of an animation. OpenCV decodes all at once, so their pixels are limited together."""

    frame_rate: Fraction | None = None
    time_base = Fraction(1, 1000)
    pixel_aspect: Fraction | None = None
    rotation = 0
    has_companions = False

    def __init__(self, path: Path, stem: str, reading: ReadConfig) -> None:
        """Decode the file.

        Raises:
            InputError: damaged, or too large.
            ConfigError: no frame in the time asked for.
        """
        self._stem = stem
        animation = _decode(path)
        self._pictures = animation.frames
        self._starts_ms = np.concatenate(([0], np.cumsum(animation.durations)[:-1])).tolist()
        self.header_frames: int | None = len(self._pictures)
        selection = Selection(reading, 0, self.time_base)
        self._chosen = [index for index, start in enumerate(self._starts_ms) if _takes(selection, start)]
        if not self._chosen:
            raise ConfigError(f"{path}: no frame from --start on; it has {len(self._pictures)} frames before")

    def close(self) -> None:
        """Forget the pictures."""
        self._pictures = ()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames."""
        for index in self._chosen:
            image, pts = _rgb(self._pictures[index]), self._starts_ms[index]
            height, width = image.shape[:2]
            name = f"{self._stem}_{index:06d}.png"
            yield Frame(index, torch.from_numpy(image), width, height, name, pts, float(pts * self.time_base))

    def notes(self) -> tuple[str, ...]:
        """Say nothing: what is damaged was refused."""
        return ()

    def remarks(self) -> tuple[str, ...]:
        """Say nothing."""
        return ()


def _takes(selection: Selection, pts: int) -> bool:
    return not selection.ended and selection.takes(pts)


def _decode(path: Path) -> Any:
    if not hasattr(cv2, "imdecodeanimation"):
        raise InputError(f"{path}: an animation that only OpenCV 4.12 or newer reads, this is {cv2.__version__}")
    data = np.fromfile(path, np.uint8)
    header = read_header(data.tobytes())
    if header.is_cut_off:
        raise InputError(f"{path}: the animation is cut off after {data.size} bytes; copy the file again")
    if (pixels := header.width * header.height * header.num_frames) > max_pixels():
        size = f"{header.num_frames} pictures of {header.width}x{header.height} pixels"
        raise InputError(f"{path}: {size}, wanted {max_pixels() / 10**6:g} million pixels at most; convert it to MP4")
    try:
        decoded, animation = cv2.imdecodeanimation(data[None])  # one row: 4.12 wants it so
    except (cv2.error, MemoryError):
        decoded = False
    if not decoded or not pixels or not len(animation.frames):
        raise InputError(f"{path}: a damaged animated {header.kind.upper()}; convert it to MP4")
    return animation


def _rgb(picture: np.ndarray) -> np.ndarray:
    if picture.shape[2] == 4:
        return over_black(cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA))
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
