"""`posecli weights`: which networks there are, and getting, importing and checking their weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from posecli.networks._import import Imported, Verdict
    from posecli.networks._listing import Entry

_JSON = click.option("--json", "as_json", is_flag=True, help="JSON on stdout, one line an entry.")
_QUIET = click.option("-q", "--quiet", is_flag=True, help="No progress bar, no notes.")


@click.group()
def weights() -> None:
    """See, fetch, import and check the networks' weights.

    Weights that were pulled lie in POSECLI_HOME, or else in posecli's folder of the user's cache.
    """


@weights.command("list")
@_JSON
def list_(as_json: bool) -> None:
    """List every network and public checkpoint: size, accuracy as published, licence, and where its weights are."""
    from posecli.networks._listing import entries

    if as_json:
        for entry in entries():
            click.echo(json.dumps(entry.as_dict(), ensure_ascii=False))
    else:
        click.echo("\n".join(_table(list(entries()))))


@weights.command()
@click.argument("name", metavar="NAME|FILE")
@_JSON
def info(name: str, as_json: bool) -> None:
    """Say all about a network, or about a file of weights, ours or public."""
    from posecli.networks import available
    from posecli.networks._listing import about_file, about_network

    facts = about_network(name) if name in available() or not Path(name).exists() else about_file(Path(name))
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        click.echo(f"{key:{width}}  {_plain(value)}")


@weights.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--url", default="", help="Fetch the file from here, a mirror or a proxy's address of it.")
@_QUIET
def pull(names: tuple[str, ...], url: str, quiet: bool) -> None:
    """Fetch public checkpoints by name, check their hash and import them; prints where they are now.

    A cut download goes on where it stopped. Proxies are taken from http_proxy, https_proxy and no_proxy.
    """
    from posecli.cli._progress import bytes_bar
    from posecli.errors import ConfigError
    from posecli.networks._import import pull as pull_one

    if url and len(names) > 1:
        raise ConfigError(f"--url is one file's address, but {len(names)} names are given; pull them one by one")
    for name in names:
        with bytes_bar(name, quiet=quiet) as progress:
            imported = pull_one(name, url=url, progress=progress)
        _report(imported, quiet=quiet)


@weights.command("import")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--as", "name", required=True, help="The network, or the checkpoint of `weights list`.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="File to write.  [default: in the cache]")
@_QUIET
def import_(file: Path, name: str, out: Path | None, quiet: bool) -> None:
    """Put a public checkpoint (.pth) into posecli's names and save it as safetensors; prints where it is now.

    Every tensor is accounted for. Nothing in the file is run: one that holds more than weights is refused.
    """
    from posecli.networks._import import import_file

    _report(import_file(file, name, out), quiet=quiet)


@weights.command()
@click.argument("names", metavar="[NAME|FILE]...", nargs=-1)
@_JSON
def verify(names: tuple[str, ...], as_json: bool) -> None:
    """Check hashes, keys, shapes and numbers of weights; of all on this machine if none is named."""
    from posecli.errors import WeightsError
    from posecli.networks._import import known_files
    from posecli.networks._import import verify as verify_one

    verdicts = [verify_one(path) for path in (map(_file_of, names) if names else known_files())]
    for verdict in verdicts:
        if as_json:
            facts = {"file": str(verdict.path), "network": verdict.network, "sha256": verdict.sha256}
            click.echo(json.dumps({**facts, "ok": not verdict.problem, "problem": verdict.problem}, ensure_ascii=False))
        elif not verdict.problem:
            click.echo(f"ok  {verdict.sha256[:12]}  {verdict.network}  {verdict.path}")
    if bad := [verdict for verdict in verdicts if verdict.problem]:
        raise WeightsError("; ".join(_complaint(verdict) for verdict in bad))


@weights.command()
@click.argument("name", metavar="NAME")
@click.option("--onnx", is_flag=True, help="As an ONNX file; needs the extra posecli[onnx].")
@click.option("--weights", "file", type=click.Path(path_type=Path), help="Weights instead of those on this machine.")
@click.option("--int8", is_flag=True, help="In 8 bits: smaller and faster, a little less accurate.")
@click.option(
    "--calibration",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="For --int8: a folder of pictures of people, or a video, which shows how large the numbers get.",
)
@click.option(
    "--boxes", type=click.Path(path_type=Path), help="COCO file with the people's boxes there; else a detector's."
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="File to write.  [default: NAME.onnx]")
@_QUIET
def export(
    name: str,
    onnx: bool,
    file: Path | None,
    int8: bool,
    calibration: Path | None,
    boxes: Path | None,
    out: Path | None,
    quiet: bool,
) -> None:
    """Write a network with its weights for other programs, and for --detector and --refiner onnx:FILE; prints where.

    The file takes batches, and a proposer's pictures, of any size. It is written only if it answers as torch does; with
    --int8 it says how far its answers are off, and `posecli eval --refiner onnx:FILE` what that costs.
    """
    from posecli.backends.export import TOLERANCE, export_network
    from posecli.engines.calibrate import Calibration, export_int8
    from posecli.errors import ConfigError

    out = out or Path(f"{name}.onnx")
    if not onnx:
        raise ConfigError("export writes one format only, which --onnx names: add --onnx")
    if int8 != (calibration is not None):
        raise ConfigError("--int8 and --calibration FOLDER go together: pictures show how large the numbers get")
    if boxes is not None and calibration is None:
        raise ConfigError("--boxes says where people are on the pictures of --calibration, which is not given")
    if calibration is None:
        exported = export_network(name, out, weights=file)
        told = f"within {exported.difference:.0e} of torch's, as a share of the largest ({TOLERANCE:.0e} is allowed)"
    else:
        exported, off = export_int8(name, out, Calibration(calibration, boxes), weights=file)
        told = f"{off:.1%} of the largest off, root mean square; posecli eval tells what that costs"
    if not quiet:
        click.echo(f"{exported.network}, {exported.bytes / 1e6:.1f} MB; answers are {told}", err=True)
    click.echo(exported.path)


def _file_of(name: str) -> Path:
    """Take a file, or a network's weights on this machine."""
    from posecli.networks._weights import cached_path, find_weights

    if (path := Path(name)).exists() or path.suffix:
        return path
    return cached if (cached := cached_path(name)).is_file() else find_weights(name)


def _complaint(verdict: Verdict) -> str:
    named = str(verdict.path) in verdict.problem
    return verdict.problem if named else f"{verdict.path}: {verdict.problem}"


def _report(imported: Imported, *, quiet: bool) -> None:
    """Print the path for programs, and what happened for people."""
    if not quiet:
        named = f", as {imported.layout} names it" if imported.layout else ""
        click.echo(f"{imported.network}{named}" if imported.fetched else "in the cache already", err=True)
        for reason, count in imported.dropped.items():
            click.echo(f"left out {count}: {reason}", err=True)
    click.echo(imported.path)


def _table(entries: list[Entry]) -> Iterator[str]:
    """Yield aligned lines, whole however narrow the terminal is, so that grep and cut can have them."""
    letters = {
        how: chr(ord("a") + index) for index, how in enumerate(dict.fromkeys(e.ap_on for e in entries if e.ap_on))
    }
    rows = [("name", "task", "input", "params", "GMACs", "AP", "licence", "size", "weights")]
    for entry in entries:
        exact = "" if entry.where in {"shipped", "cached"} else "~"
        rows.append(
            (
                entry.name,
                entry.task,
                "x".join(map(str, entry.input_hw)),
                f"{entry.params / 1e6:.2f} M",
                "-" if entry.gmacs is None else f"{entry.gmacs:.2f}",
                "-" if entry.ap is None else f"{entry.ap:.3f} {letters[entry.ap_on]}",
                entry.license or "-",
                f"{exact}{entry.bytes / 1e6:.0f} MB",
                entry.where,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if heading in {"params", "GMACs", "AP", "size"} else cell.ljust(width)
            for cell, width, heading in zip(row, widths, rows[0], strict=True)
        )
        yield "  ".join(cells).rstrip()
    yield ""
    yield "AP is the publishers' own, not measured by posecli:"
    yield from (f"{letter}  {how}" for how, letter in letters.items())


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "-" if value in {None, ""} else str(value)
