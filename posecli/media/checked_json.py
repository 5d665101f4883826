"""Reading JSON that may be anything: each check names the record, what was found and what was wanted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from posecli.errors import InputError

Record: TypeAlias = dict[str, Any]  # one JSON object

LARGEST = 1e9  # no coordinate, area or score of a real file is beyond; NaN and infinity are not within either


def read_json(path: Path) -> object:
    """Read a JSON file. NaN passes, so that the checks can name its record.

    Raises:
        InputError: when it cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not text in UTF-8, wanted JSON") from None
    except json.JSONDecodeError as error:
        way_out = "; one JSON value is wanted, not JSON Lines" if error.msg == "Extra data" else ""
        raise InputError(
            f"{path}: not JSON: {error.msg} at line {error.lineno}, column {error.colno}{way_out}"
        ) from None
    except (RecursionError, ValueError) as error:  # nested too deep; an integer of thousands of digits
        raise InputError(f"{path}: JSON that cannot be read ({error})") from None


def checked_object(value: object, where: str) -> Record:
    """Return `value` if it is a JSON object."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: {shown(value)}, wanted a JSON object")
    return value


def integer(record: Record, key: str, where: str) -> int:
    """Return an integer of a record."""
    if key not in record:
        raise InputError(f"{where}: no {key}, wanted an integer")
    value = record[key]
    if type(value) is not int:  # True is an int, too
        raise InputError(f"{where}: {key} is {shown(value)}, wanted an integer")
    return value


def number(record: Record, key: str, where: str) -> float:
    """Return a finite number of a record."""
    if key not in record:
        raise InputError(f"{where}: no {key}, wanted a number")
    if not is_number(record[key]):
        raise InputError(f"{where}: {key} is {shown(record[key])}, wanted a finite number")
    value: float = record[key]
    return value


def text(record: Record, key: str, where: str) -> str:
    """Return a text of a record."""
    value = record.get(key)
    if not isinstance(value, str):
        raise InputError(f"{where}: {key} is {shown(value)}, wanted a text")
    return value


def numbers(record: Record, key: str, length: int, where: str, *, layout: str) -> list[float]:
    """Return a list of `length` finite numbers of a record.

    Args:
        record: the JSON object.
        key: its member.
        length: how many numbers.
        where: what messages call the record.
        layout: what the numbers are, for messages.
    """
    values = record.get(key)
    if key not in record:
        raise InputError(f"{where}: no {key}, wanted {length} numbers: {layout}")
    if not isinstance(values, list):
        raise InputError(f"{where}: {key} is {shown(values)}, wanted a list of {length} numbers: {layout}")
    if len(values) != length:
        raise InputError(f"{where}: {key} has {len(values)} numbers, wanted {length}: {layout}")
    if not _are_plain_numbers(values):
        for index, value in enumerate(values):
            if not is_number(value):
                raise InputError(f"{where}: {key}[{index}] is {shown(value)}, wanted a finite number")
    return list(values)


def is_number(value: object) -> bool:
    """Say whether `value` is a finite number of a size that real files have."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def _are_plain_numbers(values: list[Any]) -> bool:
    """Say whether all are `is_number` and of JSON's own types, many at a time: files hold millions."""
    return (
        set(map(type, values)) <= {int, float}
        and min(values, default=0) >= -LARGEST
        and max(values, default=0) <= LARGEST
        and not math.isnan(sum(values))  # which min and max may pass over
    )


def shown(value: object) -> str:
    """Show a wrong value as the file has it, if it is short."""
    if isinstance(value, dict):
        return "a JSON object"
    if isinstance(value, list):
        return "a list"
    value_text = json.dumps(value, default=repr, ensure_ascii=False)
    return value_text if len(value_text) <= 40 else f"{value_text[:37]}..."


def told(name: str, texts: Mapping[str, str], tally: Mapping[str, int]) -> tuple[str, ...]:
    """Return the notes of a file: those texts whose tally is not zero, with the count filled in."""
    return tuple(f"{name}: {note.format(count=tally[key])}" for key, note in texts.items() if tally.get(key))
