"""`posecli train`: train a network of the zoo from a TOML configuration."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from posecli.cli._options import numbers
from posecli.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from posecli.config import TrainConfig
    from posecli.evaluation import GroundTruth
    from posecli.networks import ModelSpec
    from posecli.training.samples import Crops, Pictures


class TrainGroup(click.Group):
    """`posecli train CONFIG` trains; `posecli train pack`, `export` and `average` are what goes before and after."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what is no subcommand's name for the arguments of a run."""
        if not args or args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)


_DATA = click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder that the configuration's paths are relative to.  [default: .]",
)
_QUIET = click.option("-q", "--quiet", is_flag=True, help="No progress; the run folder's log.jsonl has it all.")


@click.group(cls=TrainGroup)
def train() -> None:
    """Train a network of the zoo."""


@train.command("run")
@click.argument("config", type=click.Path(path_type=Path))
@_DATA
@click.option(
    "--pack", "packs", type=click.Path(path_type=Path), multiple=True, help="Train on packs instead of --data."
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/CONFIG]")
@click.option("--resume", is_flag=True, help="Go on from the run folder's checkpoint.")
@click.option("--minutes", type=click.FloatRange(0), help="Stop after so many, to go on with --resume.")
@click.option("--dev-gt", type=click.Path(path_type=Path), help="COCO dataset to measure on during training.")
@click.option("--dev-images", type=click.Path(path_type=Path), help="Folder of its pictures.")
@click.option(
    "--dev-people", type=click.IntRange(1), help="Only its first so many people, as `max_people` counts them."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: all cores]")
@_QUIET
def run(
    config: Path,
    data: Path,
    packs: tuple[Path, ...],
    out: Path | None,
    resume: bool,
    minutes: float | None,
    dev_gt: Path | None,
    dev_images: Path | None,
    dev_people: int | None,
    device: str,
    threads: int | None,
    quiet: bool,
) -> None:
    """Train the network that CONFIG (TOML) describes, on pictures below --data.

    The run folder gets config.json, log.jsonl, its curves as curves.csv and curves.png, checkpoint.pt, last.safetensors
    and, if there is something to measure on, best.safetensors. Also: `posecli train pack` makes a training set of one
    file for a machine with nothing but torch and numpy, `posecli train export` takes the weights out of a run folder,
    `posecli train average` makes one file of those of several runs. Under `torchrun --nproc-per-node N -m posecli train
    CONFIG` N processes share each batch, on a CUDA device each or on the CPU.
    """
    from posecli.config import load_train_config

    options = load_train_config(config)
    import torch

    from posecli.engines.curves import draw_curves
    from posecli.engines.dev import dev_scores
    from posecli.runtime import join_workers, keep_freed_memory, resolve_device
    from posecli.training.aids import load_aids
    from posecli.training.loop import Trainer
    from posecli.training.tasks import make_task, run_spec

    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
    spec = run_spec(options)
    dev = _dev(dev_gt, dev_images, dev_people)
    folder = out or Path("runs") / config.stem
    if not resume and (folder / "checkpoint.pt").exists():
        raise ConfigError(f"{folder}: holds a run already; go on with --resume or choose another -o")
    with join_workers(resolve_device(device)) as workers:
        samples, start = _training_set(options, spec, data, packs, workers.device)
        aids = load_aids(options, samples, data, workers.device)
        task = make_task(options, spec, samples, workers.device, aids=aids)
        trainer = Trainer(options, spec, task, start=start, folder=folder, workers=workers)
        if resume:
            trainer.resume()
        told = workers.first and not quiet
        with _reporter(total=options.steps, done=trainer.run.step, quiet=not told) as report:

            def tell(record: dict[str, Any]) -> None:
                report(record)
                if "scores" in record:
                    draw_curves(folder)

            def measure(network: nn.Module) -> dict[str, float]:
                return dev_scores(network, spec, *dev, mistakes=aids.mistakes)

            done = trainer.fit(evaluate=measure if dev else None, report=tell, minutes=minutes, config_file=config)
        if workers.first:
            draw_curves(folder)
        if done and workers.first:
            trainer.export(folder / "last.safetensors")
        elif told:
            where = f"step {trainer.run.step} of {options.steps}"
            click.echo(f"{folder}: stopped at {where}; go on with --resume", err=True)


@train.command()
@click.argument("config", type=click.Path(path_type=Path))
@_DATA
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The pack.  [default: CONFIG.npz]")
@click.option("--max-mib", type=click.FloatRange(0, min_open=True), help="Lower the pictures' quality to fit.")
@click.option("--quality", type=click.IntRange(1, 100), help="Of the pictures, as in JPEG.  [default: 75]")
@click.option("--part", metavar="I/N", help="Only the I-th of N equal parts of the samples.  [default: 1/1]")
@click.option("--raw", is_flag=True, help="A folder whose pictures stay on the disk: for sets larger than the memory.")
def pack(
    config: Path, data: Path, out: Path | None, max_mib: float | None, quality: int | None, part: str | None, raw: bool
) -> None:
    """Write the training set of CONFIG as one compact file.

    It holds samples, labels, start weights and the configuration. Train from it with `posecli train CONFIG --pack
    FILE`, or, on a machine with only torch, numpy and posecli's source, with `python -m posecli.training FILE -o RUN`.
    With --raw it is a folder, several times as large, from which training reads only what a batch needs.
    """
    from posecli.config import load_train_config

    options = load_train_config(config)
    share = _part(part or "1/1")
    if raw and (max_mib or quality or part):
        raise ConfigError("--raw keeps all samples as they are: no --max-mib, --quality or --part with it")
    from posecli.training.data import CanvasFile, load_samples
    from posecli.training.pack import RAW_CANVASES, RAW_LABELS, write_pack, write_raw_pack
    from posecli.training.samples import part_of
    from posecli.training.start import read_start
    from posecli.training.tasks import run_spec

    start = read_start(data / options.init) if options.init else {}
    if raw:
        folder = out or config.with_suffix(".pack")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RAW_LABELS).unlink(missing_ok=True)  # of another pack: its pictures are about to go
        with CanvasFile(folder / RAW_CANVASES) as store:
            samples = load_samples(data, options, run_spec(options), store=store)
        write_raw_pack(folder, options, samples, start)
        mib = store.path.stat().st_size / 2**20
        click.echo(f"{folder}: {len(samples.boxes)} samples, {mib:.1f} MiB of pictures", err=True)
        return
    samples = part_of(load_samples(data, options, run_spec(options)), *share)
    path = out or config.with_suffix(".npz")
    limit = None if max_mib is None else int(max_mib * 2**20)
    used = write_pack(path, options, samples, start, quality=quality or 75, limit=limit)
    mib = path.stat().st_size / 2**20
    click.echo(f"{path}: {len(samples.boxes)} samples, {mib:.1f} MiB, quality {used}", err=True)


def _part(text: str) -> tuple[int, int]:
    """Read "I/N" as two numbers, I in 1 to N."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ConfigError(f"--part {text}: wanted I/N with I from 1 to N, as in --part 1/2")
    return int(number), int(count)


@train.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The weights.  [default: RUN/last.safetensors]")
def export(folder: Path, out: Path | None) -> None:
    """Write the averaged weights of a run folder's checkpoint as safetensors."""
    from posecli.training.loop import export_checkpoint

    path = out or folder / "last.safetensors"
    facts = export_checkpoint(folder, path)
    click.echo(f"{path}: {facts['network']}, step {facts['step']}", err=True)


@train.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--shares", type=numbers, metavar="A,B,...", help="How much each file counts.  [default: all the same]")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The weights.")
def average(files: tuple[Path, ...], shares: tuple[float, ...] | None, out: Path) -> None:
    """Write the mean of the weights of several runs, which is often better than each.

    It helps where the runs went on from each other, or from the same weights; else it most likely ruins them.
    """
    from posecli.training.average import average_weights

    facts = average_weights(files, shares or (1.0,) * len(files), out)
    click.echo(f"{out}: {facts['network']}, the mean of {len(files)} files", err=True)


def _training_set(
    config: TrainConfig, spec: ModelSpec, data: Path, packs: tuple[Path, ...], device: torch.device
) -> tuple[Crops | Pictures, dict[str, Tensor]]:
    """Return the samples and the start weights, from packs or from folders."""
    from posecli.training.start import read_start

    if packs:
        from posecli.training.pack import read_pack

        pack = read_pack(packs, device=device)  # it may be another network's, with other start weights
        there = bool(config.init) and (data / config.init).is_file()
        packed = pack.start if config.init else {}
        return pack.samples, read_start(data / config.init) if there else packed
    from posecli.training.data import load_samples

    start = read_start(data / config.init) if config.init else {}
    return load_samples(data, config, spec), start


def _dev(dev_gt: Path | None, dev_images: Path | None, dev_people: int | None) -> tuple[GroundTruth, Path] | tuple[()]:
    """Return what to measure on, ground truth and its pictures, nothing if it is not given.

    Raises:
        ConfigError: only one of the two is given.
        InputError: the ground truth cannot be used.
    """
    if dev_gt is None and dev_images is None:
        return ()
    if dev_gt is None or dev_images is None:
        raise ConfigError("--dev-gt and --dev-images belong together")
    from posecli.engines.dev import only_first
    from posecli.evaluation import load_ground_truth

    truth = load_ground_truth(dev_gt)
    return (only_first(truth, dev_people) if dev_people else truth), dev_images


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
