import threading

import cv2
import numpy as np
import pytest

import clips
from fakes import OnePersonPerFrame
from posecli.config import OverlayConfig, ReadConfig, RunOptions, TimelineConfig
from posecli.engines.local import annotate_source
from posecli.media.journal import read_journal


def save_png(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((48, 64, 3), 90, np.uint8))
    return path


def annotate(path, folder, *, pipeline=None, progress=lambda *_: None, stop=lambda: False, **options):
    pipeline = pipeline or OnePersonPerFrame()
    return annotate_source(str(path), pipeline, RunOptions(directory=folder, **options), progress, stop)


def threads(name):
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_a_whole_video_is_ok(tmp_path):
    seen = []
    path = clips.write_clip(tmp_path / "a.mp4")

    report = annotate(
        path, tmp_path / "out", progress=lambda entry, is_new: seen.append((entry["frame_index"], is_new))
    )

    assert (report.status, report.error, report.frames, report.header_frames) == ("ok", "", 12, 12)
    assert report.as_dict()["refiner_runs_per_person"] == 2
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.coco.json", "a.overlay.mp4", "a.results.json"]
    assert {str(p) for p in (tmp_path / "out").iterdir()} == set(report.outputs)
    assert seen == [(index, True) for index in range(12)]


def test_a_broken_source_is_reported_and_leaves_nothing(tmp_path):
    out = tmp_path / "out"
    (tmp_path / "text.mp4").write_text("hello " * 100)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    clips.write_audio_only(tmp_path / "song.mp4")
    (tmp_path / "folder.mp4").mkdir()

    for name in ("text.mp4", "broken.png", "song.mp4", "folder.mp4", "missing.mp4"):
        report = annotate(tmp_path / name, out)
        assert (report.status, report.frames, report.outputs) == ("failed", 0, ())
        assert report.error.startswith(f"{tmp_path / name}: ")

    assert not out.exists() or not list(out.iterdir())


def test_a_folder_with_a_broken_picture_is_partial(tmp_path):
    for name in ("img1.png", "img3.png"):
        save_png(tmp_path / "in" / name)
    (tmp_path / "in/img2.png").write_bytes(b"no image")

    report = annotate(tmp_path / "in", tmp_path / "out", keep_journal=True)

    assert (report.status, report.frames, report.frames_failed, report.people) == ("partial", 2, 1, 2)
    assert report.error == f"{tmp_path / 'in'}: 1 of 3 frames could not be decoded"
    _, entries = read_journal(tmp_path / "out/in.jsonl")
    assert [entry["status"] for entry in entries] == ["ok", "decode_error", "ok"]
    assert sorted(p.name for p in (tmp_path / "out/in.overlay").iterdir()) == ["img1.png", "img3.png"]


def test_a_video_that_was_cut_off_is_partial(tmp_path):
    path = clips.write_clip(tmp_path / "a.mkv", pts=range(200), crf=10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    report = annotate(path, tmp_path / "out", overlay=False)

    assert report.status == "partial"
    assert 0 < report.frames < 200
    assert "cut off" in report.error
    assert len(report.outputs) == 2


def test_a_disk_that_cannot_be_written_to_is_reported(tmp_path):
    path = save_png(tmp_path / "a.png")

    report = annotate(path, path / "out")

    assert report.status == "failed"
    assert report.error.startswith(f"{path}: ")
    assert "Not a directory" in report.error


@pytest.mark.parametrize("error", [ZeroDivisionError("bug"), KeyboardInterrupt(), SystemExit(143)])
def test_bugs_and_interrupts_get_out_and_the_journal_stays(tmp_path, error):
    path = clips.write_clip(tmp_path / "a.mp4")

    with pytest.raises(type(error)):
        annotate(path, tmp_path / "out", pipeline=OnePersonPerFrame(fails_at=5, error=error))

    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.jsonl"]
    assert [entry["frame_index"] for entry in read_journal(tmp_path / "out/a.jsonl")[1]] == [0, 1, 2, 3, 4]
    assert not threads("posecli-read")
    assert not threads("posecli-write")


# x264 does not write the same bytes every time for pictures smaller than this: its thumbnails get too small
SIZE_WH = (160, 120)
INTERRUPT = ZeroDivisionError("interrupted here")


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def interrupted(path, folder, at, **options):
    """Annotate until a frame where the power goes; return what happened to be left."""
    with pytest.raises(ZeroDivisionError):
        annotate(path, folder, pipeline=OnePersonPerFrame(fails_at=at, error=INTERRUPT), **options)


TIMELINES = (TimelineConfig(), TimelineConfig(smooth=True))


@pytest.mark.parametrize(("kept", "timeline"), [(kept, TIMELINES[kept % 2]) for kept in range(1, 12)])
def test_a_resumed_run_ends_as_an_uninterrupted_one(tmp_path, kept, timeline):
    path = clips.write_clip(tmp_path / "a.mp4", pts=[0, 3, 4, 9, 10, 11, 20, 21, 22, 30, 31, 32], size_wh=SIZE_WH)
    annotate(path, tmp_path / "whole", explain=True, keep_journal=True, timeline=timeline)
    interrupted(path, tmp_path / "out", 11, explain=True, timeline=timeline)
    (tmp_path / "out/.a.overlay.mp4.part").write_text("what a killed run leaves")
    journal = tmp_path / "out/a.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[: 1 + kept]) + lines[-1][:7])  # as if it had been killed a little earlier
    pipeline, seen = OnePersonPerFrame(), []

    report = annotate(
        path,
        tmp_path / "out",
        pipeline=pipeline,
        progress=lambda entry, is_new: seen.append((entry["frame_index"], is_new)),
        resume=True,
        explain=True,
        keep_journal=True,
        timeline=timeline,
    )

    assert files_in(tmp_path / "out") == files_in(tmp_path / "whole")
    assert seen == [(index, index >= kept) for index in range(12)]
    assert (report.status, report.frames, report.frames_resumed, report.people) == ("ok", 12, kept, 12)
    # the networks see the batches of an uninterrupted run: what is found in a frame may depend on its neighbours
    assert sorted(pipeline.batches) == [
        [start, start + 1, start + 2, start + 3] for start in range(kept - kept % 4, 12, 4)
    ]


def test_a_resumed_folder_ends_as_an_uninterrupted_one(tmp_path):
    for index in range(6):
        save_png(tmp_path / f"in/{index}.png")
    (tmp_path / "in/3.png").write_bytes(b"no image")
    whole = annotate(tmp_path / "in", tmp_path / "whole")
    interrupted(tmp_path / "in", tmp_path / "out", 5)

    report = annotate(tmp_path / "in", tmp_path / "out", resume=True)

    assert files_in(tmp_path / "out") == files_in(tmp_path / "whole")
    assert (report.status, report.error, report.frames_resumed) == ("partial", whole.error, 5)


def test_nobody_resumes_another_input_or_other_settings(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", pts=range(9))
    (tmp_path / "other").mkdir()
    other = clips.write_clip(tmp_path / "other/a.mp4", pts=range(10))
    interrupted(path, tmp_path / "out", 5)
    before = files_in(tmp_path / "out")

    for source, options, difference in (
        (other, {}, "input.bytes was"),
        (path, {"explain": True}, "explain was false, now true"),
        (path, {"reading": ReadConfig(stride=2)}, "reading.stride was 1, now 2"),
        (path, {"pipeline": OnePersonPerFrame(weights={"prs-tiny": "abc"})}, 'networks.prs-tiny was null, now "abc"'),
    ):
        report = annotate(source, tmp_path / "out", resume=True, **options)
        assert report.status == "failed"
        assert difference in report.error
        assert files_in(tmp_path / "out") == before


def test_a_journal_that_was_kept_makes_other_files_without_networks(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", size_wh=SIZE_WH)
    annotate(path, tmp_path / "out", keep_journal=True, overlay=False)
    annotate(path, tmp_path / "whole", overlay=False, timeline=TimelineConfig(track=True))
    pipeline, options = OnePersonPerFrame(), {"overlay": False, "timeline": TimelineConfig(track=True)}

    report = annotate(path, tmp_path / "out", pipeline=pipeline, resume=True, **options)

    assert (pipeline.batches, report.frames_resumed) == ([], 12)
    assert files_in(tmp_path / "out") == files_in(tmp_path / "whole")


def test_stopping_ends_with_a_batch_and_goes_on_from_there(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", pts=range(30), size_wh=SIZE_WH)
    annotate(path, tmp_path / "whole")
    seen = []

    report = annotate(path, tmp_path / "out", progress=lambda *_: seen.append(1), stop=lambda: len(seen) > 5)

    assert report.status == "interrupted"
    assert (report.frames, report.frames % 4) == (len(seen), 0)
    assert 5 < report.frames < 30
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.jsonl"]
    assert annotate(path, tmp_path / "out", resume=True).frames_resumed == report.frames
    assert files_in(tmp_path / "out") == files_in(tmp_path / "whole")


def test_stopping_before_the_first_frame_leaves_nothing(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", pts=range(3))

    with pytest.raises(ZeroDivisionError):
        annotate(path, tmp_path / "out", pipeline=OnePersonPerFrame(fails_at=0))

    assert list((tmp_path / "out").iterdir()) == []


def test_a_source_without_one_good_frame_leaves_nothing(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"no image")

    report = annotate(tmp_path / "in", tmp_path / "out")

    assert report.error == f"{tmp_path / 'in'}: not one frame could be decoded"
    assert not list((tmp_path / "out").iterdir())


def test_what_is_done_is_left_alone(tmp_path):
    path = clips.write_clip(tmp_path / "a.mkv", pts=range(200), crf=10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    first = annotate(path, tmp_path / "out", keep_journal=True)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    pipeline = OnePersonPerFrame()

    for options in ({"skip_done": True}, {"resume": True}, {"skip_done": True, "overlay": False}):
        second = annotate(path, tmp_path / "out", pipeline=pipeline, **options)
        assert second.skipped
        times = {"seconds": 0, "read_wait_s": 0, "write_wait_s": 0}
        assert {**second.as_dict(), "skipped": False, **times} == {**first.as_dict(), **times}
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert pipeline.batches == []


@pytest.mark.parametrize(
    "change", ["content", "settings", "timeline", "drawing", "no overlay before", "a file is gone", "another tool's"]
)
def test_what_would_come_out_otherwise_is_not_done(tmp_path, change):
    path = clips.write_clip(tmp_path / "a.mp4", pts=range(4))
    annotate(path, tmp_path / "out", overlay=change != "no overlay before")
    options = {"skip_done": True}
    if change == "content":
        clips.write_clip(path, pts=range(1, 5), crf=30)
    elif change == "settings":
        options["explain"] = True
    elif change == "timeline":
        options["timeline"] = TimelineConfig(track=True)
    elif change == "drawing":
        options["drawing"] = OverlayConfig(background="black")
    elif change == "a file is gone":
        (tmp_path / "out/a.results.json").unlink()
    elif change == "another tool's":
        (tmp_path / "out/a.coco.json").write_text('{"info":{"version":"1"},\n"images":[]}')

    report = annotate(path, tmp_path / "out", **options)

    assert (report.skipped, report.status) == (False, "ok")
