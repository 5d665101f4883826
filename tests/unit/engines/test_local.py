import threading
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
import torch

import clips
from posecli.config import PipelineConfig
from posecli.engines.local import Ahead, Behind, RunOptions, annotate_source
from posecli.errors import InputError
from posecli.media.journal import read_journal
from posecli.records import Annotated, Frame, Poses


def one_person():
    return Poses(torch.tensor([[5.0, 5, 40, 40]]), torch.full((1, 17, 2), 20.0), torch.ones(1, 17), torch.ones(1))


@dataclass
class OnePersonPerFrame:
    """As much of a pipeline as the engine needs."""

    config: PipelineConfig = field(default_factory=PipelineConfig)
    weights: dict = field(default_factory=dict)
    fails_at: int = -1
    error: BaseException = field(default_factory=lambda: ZeroDivisionError("bug"))

    def run(self, frames):
        for frame in frames:
            if frame.index == self.fails_at:
                raise self.error
            poses = Poses.empty() if frame.image is None else one_person()
            yield Annotated(frame=frame, poses=poses, refiner_runs=2 * len(poses))


class Collect:
    def __init__(self, error_at=-1):
        self.taken, self.error_at = [], error_at

    def write(self, annotated):
        if len(self.taken) == self.error_at:
            raise OSError(28, "No space left on device")
        self.taken.append(annotated)


def save_png(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((48, 64, 3), 90, np.uint8))
    return path


def annotate(path, folder, *, pipeline=None, progress=lambda _: None, **options):
    pipeline = pipeline or OnePersonPerFrame()
    return annotate_source(str(path), pipeline, RunOptions(directory=folder, **options), progress)


def frames(count):
    return [Annotated(Frame(index, None, 1, 1, ""), Poses.empty(), 0) for index in range(count)]


def threads(name):
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_ahead_keeps_the_order():
    with Ahead(range(50), 3) as items:
        assert list(items) == list(range(50))


def test_ahead_raises_the_error_after_what_came_before_it():
    def broken():
        yield 1
        raise InputError("the end")

    seen = []
    with Ahead(broken(), 3) as items, pytest.raises(InputError, match="the end"):
        seen.extend(items)
    assert seen == [1]


def test_ahead_reads_no_further_than_it_may():
    read, enough = [], threading.Event()

    def counted():
        for index in range(1000):
            read.append(index)
            if index == 4:
                enough.set()
            yield index

    with Ahead(counted(), 3) as items:
        assert next(items) == 0
        assert enough.wait(10)  # one taken, three wait, one is in the thread's hand
        assert len(read) == 5


def test_leaving_ahead_early_stops_its_thread():
    endless = iter(int, 1)

    with Ahead(endless, 2) as items:
        next(items)

    assert not threads("posecli-read")


def test_behind_writes_everything_to_every_sink_in_order():
    sinks, done = (Collect(), Collect()), frames(40)

    with Behind(sinks, 2) as writer:
        for annotated in done:
            writer.put(annotated)

    assert sinks[0].taken == sinks[1].taken == done


def test_behind_raises_a_sinks_error_and_blocks_nobody():
    with Behind([Collect(error_at=3)], 2) as writer, pytest.raises(OSError, match="No space left"):
        list(map(writer.put, frames(100)))
    with pytest.raises(OSError, match="No space left"):
        writer.check()


def test_a_whole_video_is_ok(tmp_path):
    seen = []
    path = clips.write_clip(tmp_path / "a.mp4")

    report = annotate(path, tmp_path / "out", progress=seen.append)

    assert (report.status, report.error, report.frames, report.header_frames) == ("ok", "", 12, 12)
    assert report.as_dict()["refiner_runs_per_person"] == 2
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.coco.json", "a.overlay.mp4", "a.results.json"]
    assert {str(p) for p in (tmp_path / "out").iterdir()} == set(report.outputs)
    assert [annotated.frame.index for annotated in seen] == list(range(12))


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
