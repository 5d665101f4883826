"""What a run leaves behind beside its weights: its configuration, which code it was, a log, and curves of that.

`curves.csv` is the log as a table. Whoever has OpenCV draws it, see `engines.curves`.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import posecli
from posecli.config import TrainConfig
from posecli.media.files import replacing, write_json_atomically

_FACTS = ("step", "samples", "seconds", "learning_rate")  # of every record


class RunFolder:
    """The text files of one run."""

    def __init__(self, path: Path) -> None:
        self.path, self.log_path = path, path / "log.jsonl"

    def begin(self, config: TrainConfig, config_file: Path | None = None, *, done: int = 0) -> None:
        """Make the folder, write down what is trained and by which code, and shorten the log.

        Args:
            config: of the run.
            config_file: where it came from.
            done: steps that are; what was logged after them will be done, and logged, again.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        write_json_atomically(self.path / "config.json", {**asdict(config), "code": code_version(config_file)})
        kept = [json.dumps(record) + "\n" for record in self.records() if record["step"] <= done]
        with replacing(self.log_path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")

    def add(self, record: dict[str, Any]) -> None:
        """Put a record at the end of the log."""
        with self.log_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """Return the log's records; a killed process may leave half a line, which is none."""
        lines = self.log_path.read_text("utf-8").splitlines() if self.log_path.is_file() else []
        return list(filter(None, map(_record, lines)))

    def write_curves(self) -> None:
        """Write the log as `curves.csv`: losses, their sum, and scores, a row for each step that has any."""
        table = io.StringIO()
        rows = curve_rows(self.records())
        found = dict.fromkeys(name for row in rows for name in row if name not in _FACTS)
        names = [*_FACTS, *sorted(found, key=lambda name: not name.startswith("loss"))]  # losses first
        writer = csv.DictWriter(table, names)
        writer.writeheader()
        writer.writerows(rows)
        path = self.path / "curves.csv"
        with replacing(path) as temporary:
            temporary.write_text(table.getvalue(), encoding="utf-8")


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(record, dict) and all(isinstance(record.get(name), int) for name in ("step", "samples"))
    return record if whole else None


def curve_rows(records: Iterable[dict[str, Any]]) -> list[dict[str, float]]:
    """Join the records of each step: its facts, `loss` (the sum), and every loss and score by name."""
    rows: dict[int, dict[str, float]] = {}
    for record in records:
        row = rows.setdefault(record["step"], {})
        row |= {name: record[name] for name in _FACTS if name in record}
        if losses := record.get("losses"):
            row |= {"loss": round(sum(losses.values()), 5), **{f"loss_{name}": value for name, value in losses.items()}}
        row |= record.get("scores", {})
    return list(rows.values())


def code_version(config_file: Path | None = None) -> dict[str, str]:
    """Say which code trains: posecli's version, and git's commits of it and of the configuration, if they have any."""
    found = {"posecli": posecli.__version__, "commit": commit_of(Path(posecli.__file__).parent)}
    if config_file is not None:
        found["config_commit"] = commit_of(config_file)
    return {name: value for name, value in found.items() if value}


def commit_of(path: Path) -> str:
    """Return the commit of the work tree that a file or folder belongs to.

    It ends in "-changed" if the file, or something that git knows in the folder, differs from it. Empty where there is
    no git, no work tree, or one to which the path does not belong.
    """
    folder = path if path.is_dir() else path.parent
    ask = _git(folder.resolve())
    name = "." if path.is_dir() else path.name
    if not ask("ls-files", "--", name):
        return ""
    commit = ask("rev-parse", "HEAD")
    return f"{commit}-changed" if commit and ask("status", "--porcelain", "-uno", "--", name) else commit


def _git(folder: Path) -> Callable[..., str]:
    def ask(*words: str) -> str:
        # without the setting git would run a program that the folder's own settings name
        command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    return ask
