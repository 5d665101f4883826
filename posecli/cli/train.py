"""`posecli train`: train a network of the zoo from a TOML configuration."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from posecli.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from posecli.networks import ModelSpec


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder that the configuration's paths are relative to.  [default: .]",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/CONFIG]")
@click.option("--resume", is_flag=True, help="Go on from the run folder's checkpoint.")
@click.option("--dev-gt", type=click.Path(path_type=Path), help="COCO dataset to measure on during training.")
@click.option("--dev-images", type=click.Path(path_type=Path), help="Folder of its pictures.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: all cores]")
@click.option("-q", "--quiet", is_flag=True, help="No progress; the run folder's log.jsonl has it all.")
def train(
    config: Path,
    data: Path,
    out: Path | None,
    resume: bool,
    dev_gt: Path | None,
    dev_images: Path | None,
    device: str,
    threads: int | None,
    quiet: bool,
) -> None:
    """Train the network that CONFIG (TOML) describes, on pictures below --data.

    The run folder gets config.json, log.jsonl, checkpoint.pt, last.safetensors and, if there is something to measure
    on, best.safetensors.
    """
    from posecli.config import load_train_config

    options = load_train_config(config)
    import torch

    from posecli.networks import get_spec
    from posecli.runtime import resolve_device
    from posecli.training.loop import Trainer
    from posecli.training.tasks import make_task

    place = resolve_device(device)
    if threads:
        torch.set_num_threads(threads)
    spec = get_spec(options.network)
    evaluate = _evaluator(spec, dev_gt, dev_images)
    folder = out or Path("runs") / config.stem
    if not resume and (folder / "checkpoint.pt").exists():
        raise ConfigError(f"{folder}: holds a run already; go on with --resume or choose another -o")
    task = make_task(options, spec, data, place)
    trainer = Trainer(options, spec, task, data=data, folder=folder, device=place)
    if resume:
        trainer.resume()
    with _reporter(total=options.steps, done=trainer.run.step, quiet=quiet) as report:
        trainer.fit(evaluate=evaluate, report=report)


def _evaluator(
    spec: ModelSpec, dev_gt: Path | None, dev_images: Path | None
) -> Callable[[nn.Module], dict[str, float]] | None:
    """Return what measures the network, or None if there is nothing to measure on.

    Raises:
        ConfigError: only one of the two is given.
        InputError: the ground truth cannot be used.
    """
    if dev_gt is None and dev_images is None:
        return None
    if dev_gt is None or dev_images is None:
        raise ConfigError("--dev-gt and --dev-images belong together")
    from posecli.engines.evaluate import dev_scores
    from posecli.evaluation import load_ground_truth

    truth, folder = load_ground_truth(dev_gt), dev_images
    return lambda network: dev_scores(network, spec, truth, folder)


@contextmanager
def _reporter(*, total: int, done: int, quiet: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Show the run's log records on stderr: a bar with the losses for a terminal, lines for a file.

    Args:
        total: steps of the run.
        done: steps of it that an earlier part did.
        quiet: show nothing.
    """
    from tqdm import tqdm

    watched = sys.stderr.isatty()
    with tqdm(total=total, initial=done, unit="step", disable=quiet or not watched, file=sys.stderr) as bar:

        def report(record: dict[str, Any]) -> None:
            values = record.get("losses") or record.get("scores") or {}
            shown = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
            bar.update(record["step"] - bar.n)
            if "losses" in record and watched:
                bar.set_postfix_str(shown)
            elif not quiet:
                left = timedelta(seconds=record["eta_s"])
                bar.write(f"step {record['step']}  {record['samples']} samples  {left} left  {shown}", file=sys.stderr)

        yield report
