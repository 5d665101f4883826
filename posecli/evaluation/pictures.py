"""Where the pictures of a ground truth lie."""

from __future__ import annotations

from pathlib import Path

from posecli.errors import InputError
from posecli.media.checked_json import Record, text


def picture_path(folder: Path, image: Record) -> Path:
    """Return where a picture lies; a ground truth may not point out of the folder, but may name subfolders.

    Raises:
        InputError: when the image has no file name, or one that leads elsewhere.
    """
    file_name = text(image, "file_name", f"image {image['id']} of the ground truth")
    path = folder / file_name
    if "\0" in file_name or not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{file_name!r}: the ground truth names a picture outside of {folder}")
    return path
