"""Writing an evaluation down: a page, or charts as PNG files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2

from posecli.evaluation.canvas import Chart, to_pixels
from posecli.media.files import replacing

PAGE_NAME = "report.html"


def write_page(folder: Path, page: str) -> Path:
    """Write the page into a folder, made if it is not there, whole or not at all; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PAGE_NAME
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def write_plots(folder: Path, charts: Iterable[Chart]) -> list[Path]:
    """Write every chart as PNG into a folder, made if it is not there; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for chart in charts:
        _, encoded = cv2.imencode(".png", cv2.cvtColor(to_pixels(chart), cv2.COLOR_RGB2BGR))
        path = folder / f"{chart.name}.png"
        with replacing(path) as temporary:
            temporary.write_bytes(encoded.tobytes())
        paths.append(path)
    return paths
