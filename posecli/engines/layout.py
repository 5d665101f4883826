"""Where the files of each source go, and what is refused before any work starts."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from posecli.config import RunOptions
from posecli.errors import ConfigError
from posecli.media.journal import num_finished
from posecli.media.locations import is_live, is_url, output_stem


def output_folder(path: str, options: RunOptions) -> Path:
    """Return where a source's files go.

    With `keep_tree`, that is its own folder, relative to the working directory, again below the output folder; a source
    outside of the working directory takes all folders above it along. Other sources play no part in it.
    """
    if not options.keep_tree or is_url(path) or is_live(path):
        return options.directory
    parent, here = Path(os.path.abspath(path)).parent, Path.cwd()
    return options.directory / parent.relative_to(here if parent.is_relative_to(here) else parent.anchor)


def journal_path(path: str, options: RunOptions) -> Path:
    """Return where a source's journal is while it runs."""
    return output_folder(path, options) / f"{output_stem(path)}.jsonl"


def run_path(options: RunOptions) -> Path:
    """Return where the run says what became of its sources; shards may share a folder."""
    name = "run.json" if options.shard is None else "run.{}-of-{}.json".format(*options.shard)
    return options.directory / name


def shard_of(path: str, count: int) -> int:
    """Return the part, from 1 to `count`, that a source belongs to: by its path, whatever other sources there are."""
    return int.from_bytes(hashlib.sha256(os.fsencode(path)).digest()[:8], "big") % count + 1


def plan(paths: Sequence[str], options: RunOptions) -> list[str]:
    """Return the sources of this run: all, or its shard's. Refuse before work starts what would go wrong or be lost.

    Raises:
        ConfigError: two sources would write the same files, a source would be written over, the output folder cannot be
            one or not be written to, or an interrupted run left journals and nobody said what to do with them.
    """
    _check_names(paths, options)
    _check_folder(options.directory)
    if options.shard is not None:
        index, count = options.shard
        paths = [path for path in paths if shard_of(path, count) == index]
    if not options.resume and not options.restart:
        _check_journals(paths, options)
    return list(paths)


def _check_names(paths: Sequence[str], options: RunOptions) -> None:
    owners: dict[Path, str] = {}
    for path in paths:
        place = output_folder(path, options).absolute() / output_stem(path)
        if (other := owners.setdefault(place, path)) != path:
            apart = not options.keep_tree and os.path.dirname(path) != os.path.dirname(other)
            way_out = "--keep-tree gives each its own folder" if apart else "annotate them with an -o each"
            raise ConfigError(f"{path}: writes the same files as {other}; {way_out}")
    overlays = {Path(f"{os.path.realpath(place.parent)}/{place.name}.overlay"): path for place, path in owners.items()}
    for path in paths if options.overlay else ():
        place = Path(os.path.realpath(path))
        owner = overlays.get(place if os.path.isdir(place) else place.with_suffix(""))
        if owner is not None:
            raise ConfigError(f"{path}: the overlay of {owner} would be written over it; choose another -o")


def _check_folder(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be the output folder ({error.strerror}); choose another -o") from None


def _check_journals(paths: Sequence[str], options: RunOptions) -> None:
    left = [(journal, count) for path in paths if (count := num_finished(journal := journal_path(path, options)))]
    if left:
        journal, count = left[0]
        more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
        raise ConfigError(
            f"{journal}{more}: {count} finished frames of an interrupted run; --resume goes on, --restart starts over"
        )
