"""What a user may name as SOURCE, spelled out: files, folders, globs, @list.txt and - for stdin."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from posecli.errors import InputError
from posecli.media.images import IMAGE_SUFFIXES
from posecli.media.locations import is_url

VIDEO_SUFFIXES = (
    ".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv",
    ".ts", ".webm", ".wmv",
)  # fmt: skip


def expand_sources(arguments: Sequence[str], *, recursive: bool = False) -> list[str]:
    """Return the files, folders and URLs that the arguments mean, in natural order, each once.

    A folder stays one source for the images in it; each video in it is a source of its own. Paths in lists are
    relative to the working directory, as the shell's are. A path that does not exist stays, so that it fails alone.

    Args:
        arguments: files, folders, globs that the shell did not expand, `@list.txt` (one path a line, # comments), or
            `-`: paths on stdin, a line each or parted by NUL.
        recursive: videos in subfolders are sources, too; images there belong to the folder, see `open_source`.

    Raises:
        InputError: a glob without a match; a list that is missing or empty.
    """
    found: dict[str, str] = {}  # by real path
    for argument in arguments:
        for path in _spelled_out(argument):
            for entry in _in_folder(path, recursive=recursive) if os.path.isdir(path) else (path,):
                found.setdefault(entry if is_url(entry) else os.path.realpath(entry), entry)
    return list(found.values())


def images_in(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Return a folder's image files in natural order, without hidden files and overlays of an earlier run."""
    return _files(folder, IMAGE_SUFFIXES, recursive=recursive)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort by this for img2 before img10."""
    parts = re.split(r"(\d+)", name.casefold(), flags=re.ASCII)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


def _spelled_out(argument: str) -> list[str]:
    if argument == "-":
        return _listed(sys.stdin.read(), "-", "stdin has no paths, wanted one a line")
    if argument.startswith("@") and not os.path.exists(argument):
        return _listed(_read_list(argument[1:]), argument[1:], "no paths in this list, wanted one a line")
    return _globbed(argument)


def _globbed(argument: str) -> list[str]:
    if is_url(argument) or os.path.lexists(argument) or not glob.has_magic(argument):
        return [argument]
    matches = glob.glob(os.path.expanduser(argument), recursive=True)
    if not matches:
        raise InputError(f"{argument}: no file matches")
    return sorted(matches, key=natural_key)


def _read_list(path: str) -> str:
    try:
        return Path(path).read_text("utf-8-sig")
    except OSError as error:
        raise InputError(f"@{path}: the list cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise InputError(f"@{path}: not text in UTF-8, wanted one path a line") from None


def _listed(text: str, name: str, complaint: str) -> list[str]:
    lines = text.split("\0") if "\0" in text else [line.strip() for line in text.splitlines()]
    paths = [line for line in lines if line and not line.startswith("#")]
    if not paths:
        raise InputError(f"{name}: {complaint}")
    return [match for path in paths for match in _globbed(os.path.expanduser(path))]


def _in_folder(folder: str, *, recursive: bool) -> list[str]:
    """Return the folder itself where it has images, and its videos."""
    place = Path(folder)
    entries = [folder] if images_in(place, recursive=recursive) else []
    entries += [str(path) for path in _files(place, VIDEO_SUFFIXES, recursive=recursive)]
    return entries or [folder]  # a folder without anything fails when it is opened, and alone


def _files(folder: Path, suffixes: Iterable[str], *, recursive: bool) -> list[Path]:
    """List files by suffix, in natural order; links to folders are not followed, so that none goes round in circles."""

    def complain(error: OSError) -> None:
        raise InputError(f"{error.filename}: the folder cannot be read ({error.strerror or error})")

    found = []
    for root, _, names in os.walk(folder, onerror=complain):
        inner = Path(root).relative_to(folder)
        found += [inner / name for name in names if Path(name).suffix.lower() in suffixes]
        if not recursive:
            break
    found = [path for path in found if not _is_unwanted(path)]
    return [folder / path for path in sorted(found, key=lambda path: natural_key(path.as_posix()))]


def _is_unwanted(path: Path) -> bool:
    return any(part.startswith(".") or ".overlay" in Path(part).suffixes for part in path.parts)
