import json

import cv2
import numpy as np
import pytest

import clips
from fakes import OnePersonPerFrame
from posecli.config import RunOptions
from posecli.engines import batch
from posecli.engines.batch import annotate_all
from posecli.errors import DeviceError, InputError


class Notes:
    """A watcher that remembers."""

    def __init__(self):
        self.begun, self.frames, self.ended = [], 0, []

    def begin(self, path):
        self.begun.append(path)

    def frame(self, entry, is_new):
        self.frames += 1

    def end(self, report):
        self.ended.append(report)


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((48, 64, 3), 90, np.uint8))
    return str(path)


def bad(path):
    path.write_text("hello " * 100)
    return str(path)


def run(paths, folder, *, pipeline=None, stop=lambda: False, **options):
    notes = Notes()
    options = RunOptions(directory=folder, overlay=False, **options)
    folder.mkdir(exist_ok=True)
    reports = annotate_all(paths, pipeline or OnePersonPerFrame(), options, notes, stop)
    return reports, notes, json.loads(next(folder.glob("run*.json")).read_text())


def broken_sources(folder):
    """Five ways to be no source."""
    folder.mkdir()
    (folder / "empty.mp4").touch()
    clips.write_audio_only(folder / "song.mp4")
    (folder / "none").mkdir()
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    return [bad(folder / "text.mp4"), *(str(folder / name) for name in ("empty.mp4", "song.mp4", "none", "broken.png"))]


def test_thirty_sources_with_five_broken_ones_give_twenty_five_results(tmp_path):
    good = [picture(tmp_path / f"in/{index}.png") for index in range(23)]
    good += [str(clips.write_clip(tmp_path / f"in/clip{index}.mp4", pts=range(5))) for index in range(2)]
    broken = broken_sources(tmp_path / "bad")
    paths = [*good[:3], broken[0], *good[3:9], *broken[1:3], *good[9:], *broken[3:]]

    reports, notes, record = run(paths, tmp_path / "out")

    assert [report.source for report in reports] == notes.begun == paths
    assert {report.source for report in reports if report.status == "ok"} == set(good)
    assert len(list((tmp_path / "out").glob("*.coco.json"))) == 25
    failed = {entry["source"]: entry["error"] for entry in record["sources"] if entry["status"] == "failed"}
    assert set(failed) == set(broken)
    assert all(error.startswith(f"{source}: ") and len(error) > len(source) + 10 for source, error in failed.items())
    assert len(record["sources"]) == 30
    assert notes.frames == 23 + 2 * 5


def test_pictures_side_by_side_leave_the_files_of_one_after_the_other(tmp_path):
    paths = [picture(tmp_path / f"in/{index}.png") for index in range(9)]

    one = run(paths, tmp_path / "one", fail_fast=True)[0]  # which begins nothing ahead
    several = run(paths, tmp_path / "several")[0]

    assert [report.source for report in one] == [report.source for report in several] == paths
    written = sorted(path.name for path in (tmp_path / "one").iterdir() if path.name != "run.json")
    assert len(written) == 18
    for name in written:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "several" / name).read_bytes()


def test_failing_fast_says_what_was_not_started(tmp_path):
    paths = [picture(tmp_path / "a.png"), bad(tmp_path / "b.mp4"), picture(tmp_path / "c.png")]

    reports, _, record = run(paths, tmp_path / "out", fail_fast=True)

    assert [report.status for report in reports] == ["ok", "failed"]
    assert record["not_started"] == paths[2:]


def test_stopping_between_two_sources_begins_no_other(tmp_path):
    paths = [picture(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > 1

    reports, _, record = run(paths, tmp_path / "out", stop=stop)

    assert [report.status for report in reports] == ["ok"]
    assert record["not_started"] == paths[1:]


def test_stopping_inside_of_a_source_ends_the_run(tmp_path):
    paths = [str(clips.write_clip(tmp_path / f"{name}.mp4", pts=range(40))) for name in "ab"]
    notes = []

    class Pipeline(OnePersonPerFrame):
        def run(self, frames):
            for annotated in super().run(frames):
                notes.append(annotated)
                yield annotated

    reports, _, record = run(paths, tmp_path / "out", pipeline=Pipeline(), stop=lambda: len(notes) > 10)

    assert [report.status for report in reports] == ["interrupted"]
    assert record["sources"][0]["frames"] == 12
    assert record["not_started"] == paths[1:]
    assert "--resume" in record["sources"][0]["error"]


def test_a_resumed_batch_leaves_what_is_done_and_goes_on(tmp_path):
    paths = [picture(tmp_path / "a.png"), str(clips.write_clip(tmp_path / "b.mp4")), picture(tmp_path / "c.png")]
    with pytest.raises(ZeroDivisionError):
        run(paths, tmp_path / "out", pipeline=OnePersonPerFrame(fails_at=6))

    reports, _, _ = run(paths, tmp_path / "out", resume=True)

    assert [(report.skipped, report.frames_resumed) for report in reports] == [(True, 0), (False, 6), (False, 0)]
    assert {report.status for report in reports} == {"ok"}


def test_a_failing_device_ends_the_run_and_is_no_sources_fault(tmp_path):
    paths = [picture(tmp_path / "a.png"), picture(tmp_path / "b.png")]
    pipeline = OnePersonPerFrame(fails_at=0, error=DeviceError("out of memory on cpu with a batch of one"))

    with pytest.raises(DeviceError):
        run(paths, tmp_path / "out", pipeline=pipeline)

    assert json.loads((tmp_path / "out/run.json").read_text())["not_started"] == paths


def test_a_run_file_that_cannot_be_written_is_said_at_the_end(tmp_path, monkeypatch):
    paths = [picture(tmp_path / "a.png"), picture(tmp_path / "b.png")]

    def fill_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(batch, "write_json_atomically", fill_disk)
    with pytest.raises(InputError, match=r"run\.json: cannot be written \(No space left on device\)"):
        run(paths, tmp_path / "out")

    assert len(list((tmp_path / "out").glob("*.coco.json"))) == 2


def test_a_shard_says_which_it_is(tmp_path):
    _, _, record = run([picture(tmp_path / "a.png")], tmp_path / "out", shard=(1, 2))

    assert (tmp_path / "out/run.1-of-2.json").exists()
    assert record["shard"] == "1/2"
