"""`posecli bench`: where the time goes, as ratios that can be compared."""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from posecli.cli._options import annotating_options
from posecli.config import PipelineConfig, RunOptions
from posecli.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from posecli.engines.bench import NetworkTiming, SourceTiming

_BATCHES = (1, 4, 16)
_OWN = {"sources", "alone", "compare", "rounds", "overlay", "as_json"}  # parameters that `infer` does not have


@click.command()
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
@click.option("--networks", "alone", is_flag=True, help="Time each network alone instead: batches, number formats.")
@click.option(
    "--compare", metavar="COMMAND", help="Run another tool's COMMAND in turn; {source} and {out} are filled in."
)
@click.option("--rounds", type=click.IntRange(1), default=2, show_default=True, help="Turns of --compare.")
@click.option("--overlay/--no-overlay", default=True, help="Draw the skeletons.  [default: overlay]")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a result on stdout.")
@annotating_options
def bench(
    sources: tuple[str, ...],
    alone: bool,
    compare: str | None,
    rounds: int,
    overlay: bool,
    as_json: bool,
    config: PipelineConfig,
    loading: dict[str, Any],
) -> None:
    """Measure where the time of `infer` goes on SOURCEs, by default on a made-up clip without people.

    Efficiency is the time of the networks alone, on inputs of the same shapes, over the time of the whole run.
    """
    if compare and (alone or not sources):
        raise ConfigError("--compare wants SOURCEs, and no --networks")
    if compare:
        _compare(sources, compare, rounds, overlay=overlay, as_json=as_json)
    elif alone:
        _time_networks(config, loading["device"], as_json=as_json)
    else:
        _time_sources(sources, config, loading, overlay=overlay, as_json=as_json)


def _time_sources(
    sources: tuple[str, ...], config: PipelineConfig, loading: dict[str, Any], *, overlay: bool, as_json: bool
) -> None:
    from rich.console import Console

    from posecli.engines.bench import made_up_clip, time_source
    from posecli.pipeline import load_pipeline

    pipeline = load_pipeline(config, **loading)
    with tempfile.TemporaryDirectory() as folder:
        if not sources:
            made_up_clip(Path(folder) / "made-up.mp4")
            sources = (str(Path(folder) / "made-up.mp4"),)
        for source in sources:
            timing = time_source(source, pipeline, RunOptions(overlay=overlay))
            if as_json:
                click.echo(json.dumps(timing.as_dict()))
            else:
                Console().print(_stages_table(timing))


def _stages_table(timing: SourceTiming) -> Table:
    from rich.table import Table

    facts = timing.as_dict()
    runs = facts["refiner_runs_per_person"]
    per_person = "no people" if runs is None else f"{runs:.2f} refiner runs per person"
    on_device = "" if timing.device_mib is None else f", on the device {timing.device_mib:.0f} MiB"
    caption = (
        f"efficiency {timing.efficiency:.2f}: networks {timing.networks_s:.1f} s, whole run {timing.wall_s:.1f} s\n"
        f"{facts['frames_per_s']} frames/s, {facts['people_per_s']} people/s, {per_person}\n"
        f"waited {timing.read_wait_s:.1f} s for frames, {timing.write_wait_s:.1f} s for the writer\n"
        f"peak memory {timing.peak_mib:.0f} MiB{on_device}"
    )
    table = Table(title=f"{timing.source}: {timing.frames} frames", caption=caption, caption_justify="left")
    for heading in ("stage, alone", "ms per frame", "of the wall time"):
        table.add_column(heading, justify="left" if heading.startswith("stage") else "right")
    stages = {
        "decode": timing.decode_s,
        "networks": timing.networks_s,
        "around the networks": timing.around_networks_s,
        "draw and encode": timing.write_s,
        "whole run": timing.wall_s,
    }
    for name, seconds in stages.items():
        table.add_row(name, f"{1000 * seconds / timing.frames:.1f}", f"{seconds / timing.wall_s:.0%}")
    return table


def _time_networks(config: PipelineConfig, device: str, *, as_json: bool) -> None:
    from rich.console import Console

    from posecli.engines.bench import time_networks
    from posecli.runtime import number_formats, resolve_device

    place = resolve_device(device)
    names = dict.fromkeys((config.detect.detector, *config.refine.networks))
    timings = []
    for timing in time_networks(tuple(names), device=place, batches=_BATCHES, dtypes=number_formats(place)):
        timings.append(timing)
        if as_json:
            click.echo(json.dumps(asdict(timing)))
    if not as_json:
        Console().print(_networks_table(timings))


def _networks_table(timings: list[NetworkTiming]) -> Table:
    from rich.table import Table

    table = Table(caption="of peak: GFLOP/s over those of a matrix product in the same format", caption_justify="left")
    for heading in ("network", "input", "format", "batch", "ms per item", "GMACs", "GFLOP/s", "of peak"):
        table.add_column(heading, justify="left" if heading in {"network", "format"} else "right")
    for timing in timings:
        table.add_row(
            timing.network,
            "x".join(map(str, timing.input_hw)),
            timing.dtype,
            str(timing.batch),
            f"{timing.ms_per_item:.2f}",
            f"{timing.gmacs:.2f}",
            f"{timing.gflops:.0f}",
            f"{timing.of_peak:.0%}",
        )
    return table


def _compare(sources: tuple[str, ...], command: str, rounds: int, *, overlay: bool, as_json: bool) -> None:
    """Run posecli and the other command in turn, each in a process of its own, and print the ratios."""
    own = [sys.executable, "-m", "posecli", "infer", "{source}", "-o", "{out}", "-q", *_given_options()]
    own += [] if overlay else ["--no-overlay"]
    commands = {"posecli": own, "other": shlex.split(command)}
    for source in sources:
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, words in commands.items():
                seconds[name].append(_timed(words, source))
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        ratio = medians["other"] / medians["posecli"]
        if as_json:
            click.echo(json.dumps({"source": source, "seconds": seconds, "ratio": round(ratio, 3)}))
        else:
            click.echo(
                f"{source}: posecli {medians['posecli']:.1f} s, the other {medians['other']:.1f} s: "
                f"{ratio:.2f} times as long ({rounds} turns each)"
            )


def _given_options() -> list[str]:
    """Return the options of `infer` that stand on the command line, as they stand there."""
    context = click.get_current_context()
    words = []
    for option in context.command.params:
        name = option.name or ""
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if not given or name in _OWN or not isinstance(option, click.Option):
            continue
        value = context.params[name]
        if option.is_flag:
            words.append((option.opts if value else option.secondary_opts)[0])
        else:
            for part in value if option.multiple else (value,):
                words += [option.opts[0], _word(part)]
    return words


def _word(value: Any) -> str:
    return ",".join(map(_word, value)) if isinstance(value, tuple) else str(value)


def _timed(words: list[str], source: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        filled = [word.replace("{source}", source).replace("{out}", folder) for word in words]
        started = time.perf_counter()
        try:
            done = subprocess.run(filled, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        except OSError as error:
            raise ConfigError(f"{filled[0]}: cannot be run ({error.strerror})") from error
        seconds = time.perf_counter() - started
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ConfigError(f"{shlex.join(filled)}: ended with {done.returncode} ({last})")
    return seconds
