"""What tells one job from another: its input, and all that decides what comes out of it."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from posecli.config import RunOptions
from posecli.media.arguments import images_in
from posecli.media.fingerprint import digest, fingerprint
from posecli.media.journal import FORMAT
from posecli.pipeline import Pipeline

_SPEED_ONLY = ("batch_frames", "batch_crops")  # they decide how fast poses are found, not which


class Identity:
    """A source, a pipeline and options, as far as they decide which poses come out."""

    def __init__(self, path: str, pipeline: Pipeline, options: RunOptions) -> None:
        self._path, self._pipeline, self._options = path, pipeline, options
        self._input: dict[str, Any] | None = None

    @property
    def input(self) -> dict[str, Any]:
        """What tells this input from others."""
        if self._input is None:
            recursive = self._options.reading.recursive
            images = images_in(Path(self._path), recursive=recursive) if os.path.isdir(self._path) else ()
            self._input = fingerprint(self._path, images)
        return self._input

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides what is found in a frame."""
        record = self._pipeline.provenance()
        config = {name: value for name, value in record["config"].items() if name not in _SPEED_ONLY}
        reading = asdict(self._options.reading)
        return {**record, "config": config, "reading": reading, "explain": self._options.explain}

    @property
    def key(self) -> str:
        """One word for input, settings and what is made of them; equal keys mean equal files of numbers."""
        parts = {"journal": FORMAT, "input": self.input, "settings": self.settings}
        return digest({**parts, "timeline": asdict(self._options.timeline)})
