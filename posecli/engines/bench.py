"""Where the time goes: the networks alone on the batches of a run, against the run; and each network by itself."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor, nn

from posecli.config import RunOptions
from posecli.engines.crew import Crew, share_of
from posecli.engines.local import annotate_source
from posecli.errors import InputError
from posecli.media.overlay import Drawer
from posecli.media.sinks import overlay_sink
from posecli.media.sources import open_source
from posecli.networks import fuse_batch_norm, get_spec, join_rectifiers
from posecli.networks._count import count
from posecli.pipeline import Pipeline
from posecli.records import Annotated
from posecli.runtime import Share, has_own_memory, peak_device_memory, peak_memory, place, synchronize

_HELD = 48  # frames in memory for the stages that are timed by themselves
_REPEATS = 5
_PEAK_SIDE = 2048  # of the square matrices whose product shows what the device can do

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class SourceTiming:
    """One source through the pipeline. Seconds are of the whole source; stages ran alone, one after the other."""

    source: str
    frames: int
    people: int
    refiner_runs: int
    wall_s: float  # of `infer` with everything it writes
    networks_s: float  # the networks alone, on random inputs of the same shapes as often, as many side by side
    read_wait_s: float  # of the run, for frames
    write_wait_s: float  # of the run, for the writer
    decode_s: float
    around_networks_s: float  # resizing, cropping, decoding heatmaps, filter, merging
    write_s: float  # drawing, encoding and journal, where drawing is on
    peak_mib: float  # of this process, since it started
    device_mib: float | None  # of the device, where it has memory of its own

    @property
    def efficiency(self) -> float:
        """Time of the networks alone over wall time."""
        return self.networks_s / self.wall_s

    def as_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        rates = {
            "efficiency": round(self.efficiency, 3),
            "frames_per_s": round(self.frames / self.wall_s, 2),
            "people_per_s": round(self.people / self.wall_s, 2),
            "refiner_runs_per_person": round(self.refiner_runs / self.people, 3) if self.people else None,
        }
        rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}
        return {**rounded, **rates}


def time_source(path: str, pipeline: Pipeline, options: RunOptions) -> SourceTiming:
    """Run one source as `infer` does, then each stage alone.

    Raises:
        InputError: the source cannot be annotated.
    """
    device = pipeline.device
    with open_source(path, options.reading) as source:
        frames = list(islice(source, _HELD))
        held = [frame for frame in frames if frame.image is not None]
        if not held:
            raise InputError(f"{path}: not one frame could be decoded")
        annotated = list(pipeline.run(held[: pipeline.config.batch_frames]))  # what happens once, happens here
    with tempfile.TemporaryDirectory() as folder, _recording(pipeline) as calls:
        started = time.perf_counter()
        report = annotate_source(path, pipeline, replace(options, directory=Path(folder)), lambda *_: None)
        wall = time.perf_counter() - started
    if report.status == "failed":
        raise InputError(report.error)
    scale = report.frames / len(held)  # the held frames stand for all
    share, few_share = (share_of(pipeline, count) for count in (report.frames, len(held)))
    with _recording(pipeline) as few, Crew(pipeline, frames=len(held)) as crew:
        started = time.perf_counter()
        annotated = list(crew.run(held))
        synchronize(device)
        run_held = time.perf_counter() - started
    around = max(0.0, run_held - _replay(pipeline, few, few_share)) * scale
    return SourceTiming(
        source=path,
        frames=report.frames,
        people=report.people,
        refiner_runs=report.refiner_runs,
        wall_s=wall,
        networks_s=_replay(pipeline, calls, share),
        read_wait_s=report.read_wait_s,
        write_wait_s=report.write_wait_s,
        decode_s=_decode_time(path, options),
        around_networks_s=around,
        write_s=_write_time(path, annotated, options) * scale if options.overlay else 0.0,
        peak_mib=peak_memory() / 2**20,
        device_mib=None if (taken := peak_device_memory(device)) is None else taken / 2**20,
    )


@contextmanager
def _recording(pipeline: Pipeline) -> Iterator[Counter[tuple[str, Shapes]]]:
    """Count how often each network is called with inputs of which shapes."""
    calls: Counter[tuple[str, Shapes]] = Counter()
    counting = threading.Lock()

    def note(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            tensors = [item for given in inputs for item in ([given] if isinstance(given, Tensor) else given)]
            with counting:  # batches run side by side
                calls[name, tuple(tuple(tensor.shape) for tensor in tensors)] += 1

        return hook

    handles = [network.register_forward_pre_hook(note(name)) for name, network in pipeline.networks.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _replay(pipeline: Pipeline, calls: Counter[tuple[str, Shapes]], share: Share) -> float:
    """Return the seconds of all calls, each kind timed a few times on random inputs, side by side as in the run."""

    @torch.inference_mode()
    def work() -> float:
        share.apply()
        together.wait()  # so that every call is timed beside others
        return sum(times * _call_time(pipeline, name, shapes) for (name, shapes), times in calls.items())

    together = threading.Barrier(share.workers)
    with ThreadPoolExecutor(share.workers) as pool:
        seconds = [future.result() for future in [pool.submit(work) for _ in range(share.workers)]]
    return statistics.mean(seconds) / share.workers


def _call_time(pipeline: Pipeline, name: str, shapes: Shapes) -> float:
    """Return the seconds of one call of a network with inputs of these shapes."""
    device = pipeline.device
    if len(shapes[0]) == 3:  # a detector takes a list of pictures
        pictures = [torch.randint(0, 256, shape, dtype=torch.uint8, device=device) for shape in shapes]
        return _median_time(pipeline.networks[name], [pictures], device)
    inputs = [torch.rand(shape, device=device).contiguous(memory_format=torch.channels_last) for shape in shapes]
    return _median_time(pipeline.networks[name], inputs, device)


def _median_time(network: nn.Module, inputs: Sequence[Any], device: torch.device, repeats: int = _REPEATS) -> float:
    seconds = []
    for _ in range(repeats + 1):
        synchronize(device)
        started = time.perf_counter()
        network(*inputs)
        synchronize(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])  # the first one chooses kernels


def _decode_time(path: str, options: RunOptions) -> float:
    started = time.perf_counter()
    with open_source(path, options.reading) as source:
        for _ in source:
            pass
    return time.perf_counter() - started


def _write_time(path: str, annotated: Sequence[Annotated], options: RunOptions) -> float:
    with tempfile.TemporaryDirectory() as folder, open_source(path, options.reading) as source:
        sink = overlay_sink(Path(folder), source, Drawer(config=options.drawing))
        started = time.perf_counter()
        for item in annotated:
            sink.write(item)
        sink.finish()
        return time.perf_counter() - started


@dataclass(frozen=True, kw_only=True)
class NetworkTiming:
    """One network alone, at one batch size and number format."""

    network: str
    batch: int
    dtype: str
    input_hw: tuple[int, int]
    ms_per_item: float
    gmacs: float  # of one item
    gflops: float  # 10^9 operations a second that it reaches
    of_peak: float  # over those of a matrix product in the same format


@torch.inference_mode()
def time_networks(
    names: Sequence[str], *, device: torch.device, batches: Sequence[int], dtypes: Sequence[torch.dtype]
) -> Iterator[NetworkTiming]:
    """Time networks with random weights, which compute as long as trained ones.

    Args:
        names: of `networks.available()`, no detectors.
        device: where.
        batches: sizes.
        dtypes: number formats.
    """
    peaks = {dtype: _peak(device, dtype) for dtype in dtypes}
    for name in names:
        spec = get_spec(name)
        size = count(spec)
        for dtype in dtypes:
            network = place(fuse_batch_norm(spec.build().eval()), device).to(dtype)
            if not has_own_memory(device):
                join_rectifiers(network, dtype)
            for batch in batches:
                images = torch.rand(batch, 3, *spec.input_hw, device=device, dtype=dtype)
                inputs = [images.contiguous(memory_format=torch.channels_last)]
                if spec.takes_prior:
                    inputs.append(torch.rand(batch, 17, *spec.input_hw, device=device, dtype=dtype))
                seconds = _median_time(network, inputs, device)
                rate = 2 * size.gmacs * batch / seconds
                yield NetworkTiming(
                    network=name,
                    batch=batch,
                    dtype=str(dtype).removeprefix("torch."),
                    input_hw=spec.input_hw,
                    ms_per_item=1000 * seconds / batch,
                    gmacs=size.gmacs,
                    gflops=rate,
                    of_peak=rate / peaks[dtype],
                )


def _peak(device: torch.device, dtype: torch.dtype) -> float:
    """Return the 10^9 operations a second of a large matrix product."""
    left, right = (torch.rand(_PEAK_SIDE, _PEAK_SIDE, device=device, dtype=dtype) for _ in range(2))
    product = _Product()
    return 2 * _PEAK_SIDE**3 / _median_time(product, [left, right], device) / 1e9


class _Product(nn.Module):
    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left @ right


def made_up_clip(path: Path, *, frames: int = 120, width: int = 1280, height: int = 720) -> None:
    """Write a clip of moving colours, on which nobody is: what is left to time are reading, proposals and writing."""
    y, x = np.mgrid[0:height, 0:width]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(30), options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            waves = [128 + 100 * np.sin((x + 2 * y) / 90 + index / 9 + phase) for phase in (0, 2, 4)]
            picture = av.VideoFrame.from_ndarray(np.stack(waves, axis=-1).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
