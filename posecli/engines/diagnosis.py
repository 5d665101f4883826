"""What this machine can do for posecli, and what is missing: one probe a subject, none of which can stop the others."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import av.codec
import cv2
import numpy as np
import torch

from posecli import __version__
from posecli.config import PipelineConfig
from posecli.errors import DeviceError, PosecliError
from posecli.media.files import sha256
from posecli.networks._weights import find_weights
from posecli.pipeline import load_pipeline
from posecli.records import Frame
from posecli.runtime import describe_devices

OK, WARNING, FAILURE = "ok", "warning", "failure"

_ENCODERS = ("libx264", "libx265", "libvpx-vp9", "libsvtav1", "mjpeg")
_PICTURES = (".jpg", ".png", ".webp", ".tiff", ".avif")
_EXTRAS = {"onnxruntime": "onnx", "pyarrow": "parquet"}
_SMALL_DISK = 2 << 30  # bytes


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the diagnosis."""

    subject: str
    status: str  # "ok", "warning" (posecli works, with less) or "failure" (it does not)
    found: str
    advice: str = ""  # what to do, where there is something to be done
    exit_code: int = 0  # of a failure, as DESIGN's table of exit codes has it

    def as_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {name: value for name, value in asdict(self).items() if name != "exit_code"}


def diagnose(*, folder: Path, device: str = "auto") -> Iterator[Finding]:
    """Yield the findings, quick ones first; the last one runs the default networks.

    Args:
        folder: where output would be written.
        device: see `runtime.resolve_device`.
    """
    probes: tuple[Callable[[], Finding], ...] = (
        _versions,
        _processor,
        lambda: _devices(device),
        _video,
        _images,
        _opencv_twice,
        _extras,
        lambda: _disk(folder),
        _weights,
        lambda: _trial(device),
    )
    for probe in probes:
        yield probe()


def _versions() -> Finding:
    names = ("torch", "opencv-python", "av", "numpy", "pycocotools", "safetensors", "click", "rich", "tqdm")
    found = ", ".join(f"{name} {_version(name)}" for name in names)
    python = f"Python {platform.python_version()} ({sys.executable}) on {platform.system()} {platform.machine()}"
    return Finding(subject="versions", status=OK, found=f"posecli {__version__}, {python}, {found}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not from a package)"


def _processor() -> Finding:
    capability = torch.backends.cpu.get_cpu_capability()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    found = f"{cores} cores usable, torch takes {threads} threads, vector instructions {capability}"
    if threads > cores:
        advice = f"more threads than cores slow torch down many times over: set OMP_NUM_THREADS={cores}"
        return Finding(subject="processor", status=WARNING, found=found, advice=advice)
    return Finding(subject="processor", status=OK, found=found)


def _devices(device: str) -> Finding:
    try:
        devices, missing = describe_devices(device)
    except (DeviceError, PosecliError) as error:
        return Finding(subject="device", status=FAILURE, found=str(error), exit_code=error.exit_code)
    if missing:
        return Finding(subject="device", status=WARNING, found=devices, advice=missing)
    return Finding(subject="device", status=OK, found=devices)


def _video() -> Finding:
    there = [name for name in _ENCODERS if _can_encode(name)]
    ffmpeg = ".".join(map(str, av.library_versions["libavcodec"]))
    found = f"PyAV {av.__version__} with libavcodec {ffmpeg}; encoders: {', '.join(there) or 'none'}"
    if "libx264" not in there:
        advice = "overlay videos want libx264: install PyAV's own wheel (pip install --force-reinstall av)"
        return Finding(subject="video", status=FAILURE, found=found, advice=advice, exit_code=1)
    return Finding(subject="video", status=OK, found=found)


def _can_encode(name: str) -> bool:
    try:
        return av.codec.Codec(name, "w").is_encoder
    except (av.codec.codec.UnknownCodecError, ValueError):
        return False


def _images() -> Finding:
    picture = np.zeros((16, 16, 3), np.uint8)
    there = []
    for suffix in _PICTURES:
        try:
            written, data = cv2.imencode(suffix, picture)
            there += [suffix] if written and cv2.imdecode(data, cv2.IMREAD_COLOR) is not None else []
        except cv2.error:
            continue
    return Finding(subject="images", status=OK, found=f"OpenCV {cv2.__version__} reads and writes {' '.join(there)}")


def _opencv_twice() -> Finding:
    names = sorted({dist.name for dist in distributions() if dist.name and dist.name.startswith("opencv")})
    found = ", ".join(names) or "OpenCV from no package"
    if len(names) > 1:
        advice = "they overwrite each other's files: uninstall all of them, then install opencv-python alone"
        return Finding(subject="OpenCV packages", status=WARNING, found=found, advice=advice)
    return Finding(subject="OpenCV packages", status=OK, found=found)


def _extras() -> Finding:
    there = [f"{name} {_version(name)}" for name in _EXTRAS if find_spec(name)]
    missing = [f"{name} (pip install 'posecli[{extra}]')" for name, extra in _EXTRAS.items() if not find_spec(name)]
    found = "; ".join(filter(None, (", ".join(there), f"not there: {', '.join(missing)}" if missing else "")))
    return Finding(subject="extras", status=OK, found=found)


def _disk(folder: Path) -> Finding:
    place = next(path for path in (folder, *folder.resolve().parents) if path.is_dir())
    try:
        with tempfile.TemporaryFile(dir=place):
            free = shutil.disk_usage(place).free
    except OSError as error:
        found = f"{place}: cannot be written to ({error.strerror})"
        return Finding(subject="output", status=FAILURE, found=found, advice="choose another -o", exit_code=2)
    found = f"{place}: {free / 1e9:.1f} GB free"
    if free < _SMALL_DISK:
        return Finding(subject="output", status=WARNING, found=found, advice="overlay videos need space")
    return Finding(subject="output", status=OK, found=found)


def _weights() -> Finding:
    config = PipelineConfig()
    names = (config.detect.detector, config.refine.refiner)
    try:
        files = {name: find_weights(name) for name in names}
    except PosecliError as error:
        advice = "install posecli again; its wheel brings them"
        return Finding(subject="weights", status=FAILURE, found=str(error), advice=advice, exit_code=error.exit_code)
    found = ", ".join(f"{name} (SHA-256 {sha256(path)[:12]})" for name, path in files.items())
    return Finding(subject="weights", status=OK, found=found)


def _trial(device: str) -> Finding:
    """Annotate a made-up frame twice: the first pass pays for what happens once."""
    try:
        started = time.monotonic()
        pipeline = load_pipeline(PipelineConfig(), device=device)
        loaded = time.monotonic()
        noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        image = torch.from_numpy(noise)
        frames = [
            Frame(index=index, image=image, width=640, height=480, file_name=f"{index}.png")
            for index in range(pipeline.config.batch_frames)
        ]
        seconds = []
        for _ in range(2):
            before = time.monotonic()
            people = sum(len(done.poses) for done in pipeline.run(frames))
            seconds.append((time.monotonic() - before) / len(frames))
    except PosecliError as error:
        return Finding(subject="trial run", status=FAILURE, found=str(error), exit_code=error.exit_code)
    found = (
        f"networks loaded in {loaded - started:.1f} s; frames of noise: {1000 * seconds[-1]:.0f} ms each "
        f"({1000 * seconds[0]:.0f} the first time), {people} people"
    )
    return Finding(subject="trial run", status=OK, found=found)


def exit_code(findings: list[Finding]) -> int:
    """Return 0, or the exit code of the first failure."""
    return next((finding.exit_code for finding in findings if finding.status == FAILURE), 0)
