import io
import json

import pytest
from rich.console import Console

from posecli.cli import _progress, _watchers
from posecli.config import ReadConfig
from posecli.engines.reports import SourceReport


@pytest.fixture
def screen(monkeypatch):
    screen = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr(_progress, "Console", lambda **_: screen)
    monkeypatch.setenv("TERM", "xterm")
    return screen


def watch(kind, reports, *, as_json=False):
    with _watchers.watching(kind, len(reports), ReadConfig(), as_json=as_json) as watcher:
        for report in reports:
            watcher.begin(report.source)
            for index in range(3):
                watcher.frame({"frame_index": index, "people": [{}, {}]}, index > 0)
            watcher.end(report)


def report(name, **values):
    return SourceReport(**{"source": name, "status": "ok", "frames": 3, "people": 6, **values})


BAD = report("[a].mp4", status="failed", error="[a].mp4: " + "no such file or folder " * 5)


def test_an_error_is_told_above_the_bars_and_not_in_them(screen):
    watch("bar", [BAD, report("b\n.mp4")])

    lines = screen.file.getvalue().replace("\r", "\n").split("\n")
    assert any(line.endswith("no such file or folder ") and "[a].mp4: " in line for line in lines)
    assert not any("people" in line and "no such file" in line for line in lines)
    assert any(line.strip().startswith("sources") and "/2" in line for line in lines)


def test_a_lone_sources_error_is_left_to_the_command(screen):
    watch("bar", [BAD])

    assert "no such file" not in screen.file.getvalue()
    assert "sources" not in screen.file.getvalue()


def test_nobody_watching_means_no_bar(monkeypatch, capsys):
    monkeypatch.setattr(_progress, "Console", lambda **_: Console(file=io.StringIO()))

    with _progress.progress_bar("frames", total=3) as bar:
        bar(1)
    watch("bar", [BAD, report("b.mp4")])

    assert capsys.readouterr().err == f"{BAD.error}\n"


def test_programs_get_an_event_a_line(capsys):
    watch("json", [BAD, report("b.mp4")], as_json=True)

    captured = capsys.readouterr()
    events = [json.loads(line) for line in captured.err.splitlines()]
    assert [event["event"] for event in events if event["event"] != "progress"] == ["begin", "end", "begin", "end"]
    begin, progress = events[:2]
    assert (begin["source"], begin["number"], begin["of"], begin["frames_total"]) == ("[a].mp4", 1, 2, None)
    assert (progress["event"], progress["frames"], progress["frames_resumed"], progress["people"]) == (
        "progress",
        1,
        1,
        2,
    )
    assert [event["error"] for event in events if event["event"] == "end"] == [BAD.error, ""]
    assert [json.loads(line)["source"] for line in captured.out.splitlines()] == ["[a].mp4", "b.mp4"]
