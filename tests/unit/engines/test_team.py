from __future__ import annotations

import multiprocessing
import sys
import time

import pytest

import fake_workers
from posecli.config import RunOptions
from posecli.engines import team as module
from posecli.engines.team import Team
from posecli.errors import DeviceError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


class Events:
    """Takes down what a watcher is told."""

    def __init__(self):
        self.seen = []

    def begin(self, path):
        self.seen.append(("begin", path))

    def frame(self, entry, is_new):
        self.seen.append((len(entry["people"]), is_new))

    def end(self, report):
        raise AssertionError("left to who takes the reports")


@pytest.fixture(autouse=True)
def _no_networks(monkeypatch):
    monkeypatch.setattr(module, "work", fake_workers.work)
    yield
    assert not multiprocessing.active_children()


def annotate(paths, folder, *, workers=2, stop=lambda: False, fail_fast=False, notes=()):
    orders = [
        fake_workers.Order(RunOptions(directory=folder), f"cuda:{number}", tuple(notes)) for number in range(workers)
    ]
    events, reports = Events(), []
    with Team(orders) as team:
        for report in team.annotate(paths, events, stop, fail_fast=fail_fast):
            reports.append(report)
    return reports, events.seen, team


def test_reports_and_events_come_in_the_sources_order(tmp_path):
    paths = ["slow1", "b", "c", "slow2", "e"]

    reports, events, _ = annotate(paths, tmp_path)

    assert [report.source for report in reports] == paths
    assert events == [event for path in paths for event in (("begin", path), (0, False), (1, True), (2, True))]


def test_a_dead_worker_is_its_sources_failure_and_is_replaced(tmp_path):
    (tmp_path / "dies2.jsonl").write_text('{"journal":2,"info":{}}\n{"people":[]}\n{"people":[]}\n')
    paths = ["a", "dies1.mp4", "dies2.mp4", "d", "e"]

    reports, _, _ = annotate(paths, tmp_path)

    assert [report.status for report in reports] == ["ok", "failed", "failed", "ok", "ok"]
    assert reports[1].error.startswith("dies1.mp4: its worker process on cuda:")
    assert reports[1].error.endswith("was killed by signal 9")
    assert reports[2].error.endswith("was killed by signal 9; 2 frames are done, --resume goes on")


def test_a_failing_device_ends_the_run_as_in_one_process(tmp_path):
    with pytest.raises(DeviceError, match="out of memory on cuda:1"):
        annotate(["endless", "device", "c"], tmp_path)


def test_a_bug_in_a_worker_keeps_its_traceback(tmp_path):
    with pytest.raises(RuntimeError, match="a bug in a worker process\nTraceback: ZeroDivisionError"):
        annotate(["bug"], tmp_path)


def test_stopping_lets_all_workers_leave_their_sources(tmp_path):
    started = time.monotonic()

    reports, _, _ = annotate(["endless1", "endless2", "c"], tmp_path, stop=lambda: time.monotonic() > started + 3)

    assert [report.status for report in reports] == ["interrupted", "interrupted"]


def test_failing_fast_stops_the_others(tmp_path):
    reports, _, _ = annotate(["endless", "bad", "c"], tmp_path, fail_fast=True)

    assert [report.status for report in reports] == ["interrupted", "failed"]


def test_signals_do_not_reach_workers(tmp_path):
    reports, _, _ = annotate(["signals"], tmp_path, workers=1)

    assert [report.status for report in reports] == ["ok"]


def test_what_several_workers_say_is_said_once(tmp_path):
    _, _, team = annotate(["a", "b", "slow", "d"], tmp_path, notes=("random weights",))

    assert team.notes() == ("random weights",)
