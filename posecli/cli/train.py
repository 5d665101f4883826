"""`posecli train`: train a network of the zoo from a TOML configuration."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder that the configuration's paths are relative to.  [default: .]",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), default=None, help="Run folder.  [default: runs/CONFIG]")
@click.option("--resume", is_flag=True, help="Go on from the run folder's checkpoint.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(1), default=None, help="CPU threads.  [default: all cores]")
def train(config: Path, data: Path, out: Path | None, resume: bool, device: str, threads: int | None) -> None:
    """Train the network that CONFIG (TOML) describes, on pictures below --data."""
    import torch

    from posecli.config import load_train_config
    from posecli.networks import get_spec
    from posecli.runtime import resolve_device
    from posecli.training.loop import Trainer
    from posecli.training.tasks import make_task

    options = load_train_config(config)
    place = resolve_device(device)
    if threads:
        torch.set_num_threads(threads)
    folder = out or Path("runs") / config.stem
    spec = get_spec(options.network)
    task = make_task(options, spec, data, place)
    trainer = Trainer(options, spec, task, data=data, folder=folder, device=place)
    if resume:
        trainer.resume()
    trainer.fit(evaluate=None, report=lambda record: click.echo(str(record), err=True))
