"""Sources that an earlier run has done with: same content, same options, files still there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from posecli.config import RunOptions
from posecli.engines.identity import Identity
from posecli.engines.layout import journal_path, output_folder
from posecli.engines.reports import SourceReport
from posecli.errors import InputError
from posecli.media.coco_sink import CocoSink, read_info
from posecli.media.fingerprint import digest
from posecli.media.journal import num_finished
from posecli.media.locations import is_live, output_stem, shown
from posecli.media.tables import table_sinks


def done_before(path: str, identity: Identity, options: RunOptions) -> SourceReport | None:
    """Return the report of an earlier run if it has made all files that this one would make."""
    if not (options.skip_done or options.resume) or is_live(path):
        return None
    if num_finished(journal_path(path, options)) is not None:
        return None
    folder, stem = output_folder(path, options), output_stem(path)
    info = read_info(folder / f"{stem}{CocoSink.suffixes[-1]}")
    if info is None or info.get("key") != identity.key or not _is_drawn(info, options):
        return None
    outputs = [folder / name for name in info["outputs"]]
    tables = {f"{stem}{suffix}" for kind in table_sinks(options.formats) for suffix in kind.suffixes}
    if not tables <= set(info["outputs"]) or not all(output.exists() for output in outputs):
        return None
    name = shown(path)
    return SourceReport(
        source=name,
        status="partial" if info["notes"] else "ok",
        error=noted(name, info["notes"]),
        skipped=True,
        frames=info["decoded_frames"],
        frames_failed=info["lost_frames"],
        header_frames=info["header_frames"],
        people=info["people"],
        refiner_runs=info["refiner_runs"],
        outputs=tuple(map(str, outputs)),
    )


def noted(name: str, notes: Iterable[str]) -> str:
    """Return one line that says of a source what is wrong with it; empty if nothing is."""
    return str(InputError(f"{name}: {'; '.join(notes)}")) if notes else ""


def _is_drawn(info: dict[str, Any], options: RunOptions) -> bool:
    """Whether an earlier run has drawn what this one would draw."""
    return not options.overlay or digest(info["drawing"]) == digest(asdict(options.drawing))
