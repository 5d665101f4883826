"""Check and measure posecli on a GPU in one go, and write a report in Markdown.

    python examples/gpu_check.py -o gpu_report.md [CLIP]

Runs the tests that need a GPU, compares what the GPU finds with what the CPU finds, times whole runs over batch sizes
and number formats with the default networks and with HRNet-W32 (random weights if there are no others: they take as
long), every network alone, as it is and with weights kept in half precision, as CUDA graph and compiled, several
processes and several GPUs, and shows which kernels take the time. Times are of this machine alone; ratios are of runs
next to each other. `--dry-run` tries the script itself on a CPU, in short.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
POSECLI = [sys.executable, "-m", "posecli"]
REFINERS = {"default": [], "HRNet-W32": ["--refiner", "hrnet-w32", "--allow-random-weights"]}
BATCHES = ((4, 16), (16, 64), (32, 256), (64, 512))  # frames, crops
PRECISIONS = ("fp32", "bf16", "fp16")
TIMING = ("efficiency", "frames_per_s", "people_per_s", "refiner_runs_per_person", "peak_mib", "device_mib")


# Ways to run a network: as the pipeline does, with fewer casts, with fewer launches, with other kernels
WAYS = ("eager", "half weights", "CUDA graph", "torch.compile")
WAYS_PRECISION, WAYS_BATCHES = "bf16", (1, 4, 16, 64, 256)
WORTH = 1.1  # times as fast as eager: below, a way is not worth its start-up


class Report:
    """A Markdown file that grows; what has failed is counted."""

    def __init__(self, path: Path) -> None:
        self.failures = 0
        self._path = path
        path.write_text("# posecli on a GPU\n", encoding="utf-8")

    def add(self, text: str) -> None:
        """Write, and show on the way."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")
        click.echo(text, err=True)

    def heading(self, text: str) -> None:
        """Begin a section."""
        self.add(f"\n## {text}\n")

    def check(self, claim: str, holds: bool) -> None:
        """Write down whether something is as it should be."""
        self.failures += not holds
        self.add(f"- {'ok' if holds else '**FAILED**'}: {claim}")

    def table(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows of equal keys."""
        if not rows:
            return
        lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
        lines += [" | ".join(_short(value) for value in row.values()) for row in rows]
        self.add("\n" + "\n".join(f"| {line} |" for line in lines) + "\n")

    def run(self, command: Sequence[str], *, limit_s: float = 3600) -> str | None:
        """Run a command; return what it wrote to stdout, or None, with its last words in the report."""
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False, cwd=ROOT)
        except subprocess.TimeoutExpired:
            self.check(f"`{shlex.join(command[1:])}` ends within {limit_s:.0f} s", False)
            return None
        if done.returncode:
            self.check(f"`{shlex.join(command[1:])}` ended with {done.returncode}", False)
            self.add(f"```\n{(done.stderr or done.stdout)[-2000:]}\n```")
            return None
        return done.stdout


def _short(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def repeat_clip(
    source: Path, target: Path, *, times: int, size_wh: tuple[int, int] = (1280, 720), start_s: float = 0
) -> Path:
    """Write a clip's frames, from a time on, so many times one after the other, as H.264 of this size."""
    import av

    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
        for _ in range(times):
            with av.open(str(source)) as clip:
                for picture in clip.decode(video=0):
                    if picture.time < start_s:
                        continue
                    resized = picture.reformat(*size_wh, format="yuv420p")
                    resized.pts = None
                    container.mux(stream.encode(resized))
        container.mux(stream.encode(None))
    return target


def agreement(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> dict[str, float]:
    """Compare two COCO results lists: whose people have a partner, and how far apart partners' keypoints are.

    Returns:
        `people`, the share of all people of both lists that have a partner, and of the partners' keypoints the share
        `within_1px` and the `median_px`.
    """
    import numpy as np

    rest: dict[int, list[Any]] = {}
    for person in other:
        rest.setdefault(person["image_id"], []).append(np.reshape(person["keypoints"], (-1, 3))[:, :2])
    distances = []
    for person in one:
        points, candidates = np.reshape(person["keypoints"], (-1, 3))[:, :2], rest.get(person["image_id"], [])
        apart = [np.linalg.norm(points - candidate, axis=1) for candidate in candidates]
        best = min(range(len(apart)), key=lambda index: float(np.median(apart[index])), default=None)
        if best is not None and np.median(apart[best]) < 10:
            distances.append(apart[best])
            candidates.pop(best)
    if not distances:
        return {"people": 0.0, "within_1px": 0.0, "median_px": float("inf")}
    every = np.concatenate(distances)
    return {
        "people": 2 * len(distances) / (len(one) + len(other)),
        "within_1px": float((every <= 1).mean()),
        "median_px": float(np.median(every)),
    }


def machine(report: Report) -> None:
    """Say what this is measured on."""
    import torch

    report.heading("Machine")
    report.add(f"torch {torch.__version__}, CUDA {torch.version.cuda}, {torch.get_num_threads()} cores")
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        report.add(f"- cuda:{index}: {card.name}, {card.total_memory >> 20} MiB, {card.multi_processor_count} SMs")
    if (told := report.run([*POSECLI, "doctor"])) is not None:
        report.add(f"```\n{told.strip()}\n```")


def tests(report: Report) -> None:
    """Run the tests that need a GPU; without one they are only collected."""
    report.heading("Tests")
    told = report.run([sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"])
    if told is not None:
        report.check(f"`pytest -m gpu`: {told.strip().splitlines()[-1]}", True)


def same_people(report: Report, clip: Path, folder: Path, device: str) -> None:
    """Hold the GPU's people against the CPU's."""
    report.heading("The same people as on a CPU")
    rows = []
    cpu = _infer(report, clip, folder / "cpu", "--device", "cpu", "--precision", "fp32")
    for precision in ("fp32",) if device == "cpu" else PRECISIONS:
        found = _infer(report, clip, folder / precision, "--device", device, "--precision", precision)
        if cpu is None or found is None:
            return
        rows.append({"format": precision, **agreement(cpu, found)})
        least = 0.95 if precision == "fp32" else 0.9
        report.check(f"{precision}: {least:.0%} of the keypoints within 1 px", rows[-1]["within_1px"] >= least)
    report.table(rows)


def _infer(report: Report, clip: Path, out: Path, *options: str) -> list[dict[str, Any]] | None:
    command = [*POSECLI, "infer", str(clip), "-o", str(out), "-q", "--no-overlay", "--restart", *options]
    if report.run(command) is None:
        return None
    found: list[dict[str, Any]] = json.loads((out / f"{clip.stem}.results.json").read_text())
    return found


def whole_runs(report: Report, clip: Path, device: str, batches: Sequence[tuple[int, int]]) -> None:
    """Time whole runs over batch sizes and number formats: efficiency, speed, memory."""
    report.heading("Whole runs (`posecli bench`)")
    rows = []
    formats = ("fp32",) if device == "cpu" else PRECISIONS
    for name, options in REFINERS.items() if device != "cpu" else [("default", [])]:
        for precision in formats:
            for frames, crops in batches:
                command = [*POSECLI, "bench", str(clip), "--json", "--no-overlay", "--device", device, *options]
                command += ["--precision", precision, "--batch-frames", str(frames), "--batch", str(crops)]
                if (told := report.run(command)) is None:
                    continue
                timing = json.loads(told.splitlines()[-1])
                setting = {"refiner": name, "format": precision, "frames a batch": frames, "crops a batch": crops}
                rows.append({**setting, **{key: timing.get(key) for key in TIMING}})
    report.table(rows)
    for name in {row["refiner"] for row in rows} if device != "cpu" else ():
        best = max(row["efficiency"] for row in rows if row["refiner"] == name)
        report.check(f"{name}: efficiency {best:.2f}, wanted .9", best >= 0.9)


def networks_alone(report: Report, device: str) -> None:
    """Time every network alone."""
    report.heading("Networks alone (`posecli bench --networks`)")
    refiners = ("prs-tiny", "hrnet-w32") if device != "cpu" else ("prs-tiny",)
    for refiner in refiners:
        told = report.run([*POSECLI, "bench", "--networks", "--json", "--device", device, "--refiner", refiner])
        report.table([json.loads(line) for line in (told or "").splitlines()])


def ways_to_run(report: Report, device: str, batches: Sequence[int]) -> None:
    """Time each network of the pipelines in each way that the device has; say what each takes before its first answer.

    The pipeline's batches of crops vary in size: a graph, and a network compiled for one shape, would want them filled
    up to it.
    """
    from posecli.config import PipelineConfig, RefineConfig
    from posecli.networks import get_spec
    from posecli.pipeline import load_pipeline

    report.heading("Eager, CUDA graphs, torch.compile")
    report.add(f"{WAYS_PRECISION}, inputs already on the device; start-up is capturing or compiling\n")
    rows: list[dict[str, Any]] = []
    skipped: set[tuple[str, str]] = set()
    networks: dict[str, Any] = {}
    for refiner in ("prs-tiny", "hrnet-w32") if device != "cpu" else ("prs-tiny",):
        config = PipelineConfig(precision=WAYS_PRECISION, refine=RefineConfig(refiner=refiner))
        networks |= load_pipeline(config, device=device, allow_random=True).networks
    for name, network in networks.items():
        spec = get_spec(name)
        height, width = (256, 416) if spec.kind == "proposer" else spec.input_hw
        for batch in batches:
            shape = (batch, 3, height, width)
            rows += [{"network": name, "batch": batch, **row} for row in _in_each_way(network, shape, device, skipped)]
    report.table(rows)
    for way, why in sorted(skipped):
        report.add(f"- {way} left out: {why}")
    for way in WAYS[1:]:
        ratios = [row["times as fast"] for row in rows if row["way"] == way]
        if ratios:
            pays = sum(ratio >= WORTH for ratio in ratios)
            report.add(f"- {way}: at least {WORTH} times as fast as eager in {pays} of {len(ratios)} rows")


def _in_each_way(
    network: Any, shape: tuple[int, ...], device: str, skipped: set[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    """Time a network with inputs of one shape: a row for each way, in turns."""
    import torch

    images = torch.rand(shape, device=device).contiguous(memory_format=torch.channels_last)
    ready: dict[str, Callable[[], Any]] = {}
    rows: dict[str, dict[str, Any]] = {}
    expected: list[Any] = []
    with torch.inference_mode():
        for way in WAYS:
            if why := _cannot(way, device):
                skipped.add((way, why))
                continue
            started = time.perf_counter()
            try:
                ready[way] = _prepared(way, network, images)
                answer = _tensors(ready[way]())
            except Exception as error:
                skipped.add((way, f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"))
                ready.pop(way, None)
                continue
            _wait(device)
            rows[way] = {"way": way, "start-up s": time.perf_counter() - started}
            expected = expected or answer
            rows[way]["off"] = max(map(_apart, answer, expected))  # of the largest number: a wrong answer shows here
        times = _in_turns(ready, device)
    for way, row in rows.items() if "eager" in rows else ():
        yield {
            **row, "ms": 1000 * times[way], "ms an item": 1000 * times[way] / shape[0],
            "times as fast": times["eager"] / times[way],
        }  # fmt: skip


def _cannot(way: str, device: str) -> str:
    """Say why a way is not tried on a device; empty where it is."""
    on_cpu = {"CUDA graph": "wants a CUDA device", "torch.compile": "a dry run does not wait for a compiler"}
    return on_cpu.get(way, "") if device == "cpu" else ""


def _prepared(way: str, network: Any, images: Any) -> Callable[[], Any]:
    """Return what runs the network on the images in this way."""
    import torch

    if way == "half weights":
        bare, half = deepcopy(getattr(network, "network", network)).bfloat16(), images.bfloat16()
        return lambda: bare(half)
    if way == "torch.compile":
        torch.compiler.reset()  # kernels for one shape, not for any
        compiled = torch.compile(network)
        return lambda: compiled(images)
    if way == "CUDA graph":
        return _captured(network, images)
    return lambda: network(images)


def _captured(network: Any, images: Any) -> Callable[[], Any]:
    """Capture a network's kernels for inputs in the images' place."""
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # kernels are chosen and workspaces made before the capture
        for _ in range(3):
            network(images)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answer = network(images)

    def replay() -> Any:
        graph.replay()
        return answer

    return replay


def _tensors(answer: Any) -> list[Any]:
    """Return copies of the tensors of a network's answer; a graph writes the next one in their place."""
    parts = answer if isinstance(answer, tuple) else (answer.logits, answer.boxes, answer.heatmaps, answer.pafs)
    return [tensor.float().clone() for tensor in parts]


def _apart(one: Any, other: Any) -> float:
    return float((one - other).abs().max() / other.abs().max().clamp(min=1e-9))


def _wait(device: str) -> None:
    from posecli.runtime import resolve_device, synchronize

    synchronize(resolve_device(device))


def _in_turns(works: dict[str, Callable[[], Any]], device: str) -> dict[str, float]:
    """Return the median seconds of each work; they take turns, each long enough to be measured."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(5):
        for name, work in works.items():
            work()
            _wait(device)
            started, count = time.perf_counter(), 0
            while time.perf_counter() - started < 0.05:  # enqueues ahead of the device, as the pipeline does
                for _ in range(3):
                    work()
                _wait(device)
                count += 3
            seconds[name].append((time.perf_counter() - started) / count)
    return {name: median(values) for name, values in seconds.items()}


def several_processes(report: Report, clip: Path, folder: Path, settings: Iterator[tuple[str, list[str]]]) -> None:
    """Time copies of a clip in one process and in several, in turns; all must write the same."""
    report.heading("Several processes")
    copies = [folder / f"copy{index}.mp4" for index in range(4)]
    for copy in copies:
        copy.write_bytes(clip.read_bytes())
    (first, alone), *others = settings
    for name, options in others:
        seconds: dict[str, list[float]] = {first: [], name: []}
        outputs: dict[str, list[bytes]] = {}
        for _ in range(2):
            for label, chosen in ((first, alone), (name, options)):
                started = time.perf_counter()
                command = [*POSECLI, "infer", *map(str, copies), "-o", str(folder / "out"), "-q", "--restart"]
                if report.run([*command, *chosen, "--no-overlay"]) is None:
                    return
                seconds[label].append(time.perf_counter() - started)
                outputs[label] = [(folder / "out" / f"{copy.stem}.results.json").read_bytes() for copy in copies]
        ratio = median(seconds[first]) / median(seconds[name])
        report.check(f"{name} writes what {first} writes", outputs[first] == outputs[name])
        report.add(f"- {name}: {ratio:.2f} times as fast as {first} (medians of 2 turns, start-up included)")


def decoding(report: Report, clip: Path, hwaccel: str) -> None:
    """Time the reading of a clip alone, by the processor and by hardware, in turns."""
    from posecli.config import ReadConfig
    from posecli.media.sources import open_source

    report.heading(f"Decoding (`--hwaccel {hwaccel}`)")
    rates: dict[str, list[float]] = {"": [], hwaccel: []}
    remarks: tuple[str, ...] = ()
    for _ in range(2):
        for name, values in rates.items():
            started = time.perf_counter()
            with open_source(clip, ReadConfig(hwaccel=name)) as source:
                count = sum(1 for _ in source)
                remarks = source.remarks() if name else remarks
            values.append(count / (time.perf_counter() - started))
    report.table([{"decoder": name or "processor", "frames/s": median(values)} for name, values in rates.items()])
    for remark in remarks:
        report.add(f"- {remark}")


def kernels(report: Report, clip: Path, device: str) -> None:
    """Show what the device does, for how much of the time, and how often the CPU waits for it."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from posecli.config import PipelineConfig, ReadConfig
    from posecli.media.sources import open_source
    from posecli.pipeline import load_pipeline

    report.heading("Profile of the loop")
    with open_source(clip, ReadConfig(max_frames=32 if device == "cpu" else 256)) as source:
        frames = list(source)
    on_cpu = device == "cpu"
    pipeline = load_pipeline(PipelineConfig(batch_frames=16, batch_crops=64), device=device)
    list(pipeline.run(frames[:16]))
    activities = [ProfilerActivity.CPU] if on_cpu else [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with profile(activities=activities) as trace:
        started = time.perf_counter()
        list(pipeline.run(frames))
        if not on_cpu:
            torch.cuda.synchronize()
        wall = time.perf_counter() - started
    averages = trace.key_averages()
    if not on_cpu:
        busy = sum(item.self_device_time_total for item in averages) / 1e6
        report.add(f"{len(frames)} frames in {wall:.2f} s; the device is busy for {busy / wall:.0%} of it")
        for item in averages:
            if "Synchronize" in item.key or "Memcpy" in item.key:
                report.add(f"- {item.key}: {item.count} times")
    order = "self_cpu_time_total" if on_cpu else "self_device_time_total"
    report.add(f"```\n{averages.table(sort_by=order, row_limit=20, max_name_column_width=60)}\n```")


def _settings(device: str, count: int) -> Iterator[tuple[str, list[str]]]:
    first = "cpu" if device == "cpu" else "cuda:0"
    yield "one process", ["--device", first]
    yield "two processes on one device", ["--device", first, "--workers", "2"]
    if count > 1:
        yield f"{count} GPUs", ["--device", "all"]


def one_video_on_all(report: Report, clip: Path, folder: Path, count: int) -> None:
    """Share the batches of one video out to all GPUs; they must find what one finds."""
    report.heading("One video on all GPUs")
    if count < 2:
        report.add(f"{count} GPU here")
        return
    found = {device: _infer(report, clip, folder / device, "--device", device) for device in ("cuda:0", "all")}
    report.check("all GPUs find what one finds", found["cuda:0"] == found["all"])


@click.command()
@click.argument("clip", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("gpu_report.md"), show_default=True)
@click.option("--dry-run", is_flag=True, help="Try every step of this script on a CPU, in short.")
def main(clip: Path | None, out: Path, dry_run: bool) -> None:
    """Check and measure posecli on a GPU with CLIP, or the example's walkers; write a report."""
    import torch

    from posecli.errors import PosecliError
    from posecli.runtime import resolve_device

    device = "cpu" if dry_run else "cuda"
    try:
        resolve_device(device)
    except PosecliError as error:
        click.echo(f"{str(error).partition(';')[0]}; --dry-run tries this script without one", err=True)
        sys.exit(error.exit_code)
    report = Report(out)
    with tempfile.TemporaryDirectory() as name:
        folder, walkers = Path(name), ROOT / "examples" / "walkers.mp4"
        size = {"times": 1, "size_wh": (320, 180), "start_s": 4.2} if dry_run else {"times": 20}
        long = clip or repeat_clip(walkers, folder / "long.mp4", **size)
        steps: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
            (machine, ()),
            (tests, ()),
            (same_people, (long if dry_run else clip or walkers, folder, device)),
            (whole_runs, (long, device, BATCHES[:1] if dry_run else BATCHES)),
            (networks_alone, (device,)),
            (ways_to_run, (device, WAYS_BATCHES[:1] if dry_run else WAYS_BATCHES)),
            (several_processes, (long, folder, _settings(device, torch.cuda.device_count()))),
            (one_video_on_all, (long, folder, torch.cuda.device_count())),
            (decoding, (long, "cuda")),
            (kernels, (long, device)),
        ]
        for step, arguments in steps:
            try:
                step(report, *arguments)
            except Exception as error:
                report.check(f"{step.__name__} ended with {type(error).__name__}: {error}", False)
    report.add(f"\n{report.failures} checks failed" if report.failures else "\nAll checks hold")
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
