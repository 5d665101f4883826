"""Pictures are annotated several at once, and nobody who watches can tell."""

import threading

import pytest

from posecli.engines.pictures import annotate_pictures, is_picture
from posecli.engines.reports import SourceReport
from posecli.runtime import Share

SHARE = Share(workers=2, cores=1)


class Told(list):
    """A watcher that remembers."""

    def begin(self, path):
        self.append(f"begin {path}")

    def frame(self, entry, is_new):
        self.append((entry, is_new))


def never():
    return False


def test_reports_and_what_is_told_come_in_the_order_of_the_pictures():
    later = threading.Event()

    def annotate(path, progress):
        if path == "b":
            later.set()
        elif path == "a":
            assert later.wait(10), "nothing was begun beside the first picture"
        progress({"people": [path]}, True)
        return SourceReport(source=path, status="ok")

    told = Told()
    sources = []
    for report in annotate_pictures("abcde", annotate, told, never, SHARE):
        sources.append(report.source)
        told.append(f"end {report.source}")

    assert sources == list("abcde")
    assert told == [item for name in "abcde" for item in (f"begin {name}", ({"people": [name]}, True), f"end {name}")]


def test_after_a_stop_what_was_begun_is_reported_and_nothing_else_is_begun():
    begun = []

    def annotate(path, progress):
        begun.append(path)
        return SourceReport(source=path, status="ok")

    reports = [
        report.source for report in annotate_pictures("abcdefgh", annotate, Told(), lambda: len(begun) >= 3, SHARE)
    ]

    assert len(reports) < 8
    assert reports == sorted(begun)


def test_a_bug_is_raised_in_its_turn_and_leaves_no_thread():
    def annotate(path, progress):
        if path == "b":
            raise ZeroDivisionError
        return SourceReport(source=path, status="ok")

    reports = annotate_pictures("abcdefgh", annotate, Told(), never, SHARE)

    assert next(reports).source == "a"
    with pytest.raises(ZeroDivisionError):
        next(reports)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("posecli-picture")]


def test_pictures_are_told_by_their_names():
    assert is_picture("a/B.JPG")
    assert is_picture("x.webp")
    assert not is_picture("clip.mp4")
    assert not is_picture("photos")
