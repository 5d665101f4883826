"""`posecli infer` over many sources, and over again."""

import json

import cv2
import numpy as np
import pytest
import torch

import clips
from posecli.stages.detect import Proposer


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8))
    return path


def record(folder, name="run.json"):
    return json.loads((folder / name).read_text())


def leave_interrupted(infer, path, out):
    """Do as if the power had gone after five frames."""
    assert infer("--keep-journal", path).exit_code == 0
    journal = out / f"{path.stem}.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:6]))
    for name in (".coco.json", ".results.json", ".overlay.mp4"):
        (out / f"{path.stem}{name}").unlink()


@pytest.fixture
def infer(posecli, tmp_path):
    return lambda *arguments, **options: posecli("infer", "-o", tmp_path / "out", *arguments, **options)


def test_an_interrupted_run_is_gone_on_with_only_on_request(infer, tmp_path):
    path, out = clips.write_clip(tmp_path / "a.mp4", size_wh=(160, 120)), tmp_path / "out"
    infer(path)
    whole = {file.name: file.read_bytes() for file in out.iterdir() if file.name != "run.json"}
    leave_interrupted(infer, path, out)

    refused = infer(path)
    assert refused.exit_code == 2
    assert refused.stderr == (
        f"{out / 'a.jsonl'}: 5 finished frames of an interrupted run; --resume goes on, --restart starts over\n"
    )
    other = infer(path, "--resume", "--max-people", "1")
    assert other.exit_code == 4
    assert "filtering.max_people was 2, now 1" in other.stderr
    resumed = infer(path, "--resume")
    assert resumed.exit_code == 0, resumed.output

    assert {file.name: file.read_bytes() for file in out.iterdir() if file.name != "run.json"} == whole
    assert record(out)["sources"][0]["frames_resumed"] == 5
    assert "12 frames" in resumed.stderr


def test_starting_over_forgets_the_interrupted_run(infer, tmp_path):
    path, out = clips.write_clip(tmp_path / "a.mp4"), tmp_path / "out"
    leave_interrupted(infer, path, out)

    assert infer(path, "--restart").exit_code == 0
    assert record(out)["sources"][0]["frames_resumed"] == 0


def test_what_is_done_is_skipped_by_content(infer, tmp_path):
    paths = [picture(tmp_path / "a.png"), picture(tmp_path / "b.png")]
    infer(*paths)
    cv2.imwrite(str(paths[1]), np.zeros((40, 40, 3), np.uint8))

    again = infer(*paths, "--skip-done")

    assert again.exit_code == 0
    assert "1 of 2 sources were done before" in again.stderr
    assert [source["skipped"] for source in record(tmp_path / "out")["sources"]] == [True, False]


def test_sources_of_one_name_keep_their_folders(infer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("cam1", "cam2"):
        picture(tmp_path / folder / "a.png")

    refused = infer("cam1/a.png", "cam2/a.png")
    assert (refused.exit_code, "--keep-tree" in refused.stderr) == (2, True)

    assert infer("cam1/a.png", "cam2/a.png", "--keep-tree").exit_code == 0
    assert (tmp_path / "out/cam1/a.coco.json").exists()
    assert (tmp_path / "out/cam2/a.overlay.png").exists()
    assert (tmp_path / "out/run.json").exists()


def test_shards_of_one_batch_share_a_folder(infer, tmp_path):
    paths = [picture(tmp_path / f"{index}.png") for index in range(6)]

    for index in (1, 2):
        assert infer(*paths, "--shard", f"{index}/2", "--no-overlay").exit_code == 0

    done = [source["source"] for i in (1, 2) for source in record(tmp_path / "out", f"run.{i}-of-2.json")["sources"]]
    assert sorted(done) == sorted(map(str, paths))
    assert len(list((tmp_path / "out").glob("*.coco.json"))) == 6


@pytest.mark.parametrize(("shard", "message"), [("3/2", "from 1 to n"), ("1", "is not I/N"), ("a/b", "is not I/N")])
def test_a_shard_that_is_none_is_a_usage_error(infer, tmp_path, shard, message):
    result = infer(picture(tmp_path / "a.png"), "--shard", shard)

    assert result.exit_code == 2
    assert message in result.stderr


def test_failing_fast_leaves_the_rest(infer, tmp_path):
    (tmp_path / "bad.mp4").write_text("hello " * 100)

    result = infer(tmp_path / "bad.mp4", picture(tmp_path / "a.png"), "--fail-fast")

    assert result.exit_code == 4
    assert record(tmp_path / "out")["not_started"] == [str(tmp_path / "a.png")]


def test_progress_for_programs_is_json_on_stderr(infer, tmp_path):
    (tmp_path / "bad.mp4").write_text("hello " * 100)

    result = infer(tmp_path / "bad.mp4", clips.write_clip(tmp_path / "a.mp4"), "--progress", "json", "--json")

    *events, verdict = result.stderr.splitlines()
    events = [json.loads(event) for event in events]
    assert [event["event"] for event in events if event["event"] != "progress"] == ["begin", "end", "begin", "end"]
    assert events[-1]["frames"] == 12
    assert events[-1]["status"] == "ok"
    assert verdict.startswith("1 of 2 sources failed")
    assert len(result.stdout.splitlines()) == 2


def test_tracking_is_in_the_dataset(infer, tmp_path):
    infer(clips.write_clip(tmp_path / "a.mp4"), "--track", "--smooth")

    dataset = json.loads((tmp_path / "out/a.coco.json").read_text())
    attributes = [annotation["attributes"] for annotation in dataset["annotations"]]
    assert {type(values["track_id"]) for values in attributes} == {int}
    assert min(values["track_id"] for values in attributes) == 1
    assert {len(values["raw_keypoints"]) for values in attributes} == {34}
    assert dataset["info"]["timeline"] == {"track": True, "smooth": True, "max_gap": 1.5}


def _memory_for(monkeypatch, *, frames, from_frame):
    """Let the proposal network run out of memory with more frames in a batch, once so many frames were seen."""
    look, seen = Proposer._look, []

    def limited(self, images):
        if len(seen) >= from_frame and len(images) > frames:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        seen.extend(images)
        return look(self, images)

    monkeypatch.setattr(Proposer, "_look", limited)


def test_smaller_batches_where_memory_runs_out_are_said_once(infer, tmp_path, monkeypatch):
    _memory_for(monkeypatch, frames=2, from_frame=4)

    result = infer(clips.write_clip(tmp_path / "a.mp4"), "--no-overlay")

    note = "out of memory on cpu with 4 frames in a batch; went on with 2"
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines().count(note) == 1
    assert record(tmp_path / "out")["notes"] == [note]
    assert record(tmp_path / "out")["sources"][0]["frames"] == 12


def test_memory_that_does_for_no_frame_leaves_the_journal(infer, tmp_path, monkeypatch):
    path = clips.write_clip(tmp_path / "a.mp4")
    with monkeypatch.context() as patch:
        _memory_for(patch, frames=0, from_frame=8)
        failed = infer(path, "--no-overlay")

    assert failed.exit_code == 6
    assert failed.stderr.startswith("out of memory on cpu with a batch of one (CUDA out of memory.")
    assert len((tmp_path / "out/a.jsonl").read_text().splitlines()) == 1 + 8
    assert record(tmp_path / "out")["not_started"] == [str(path)]

    resumed = infer(path, "--no-overlay", "--resume")
    assert resumed.exit_code == 0
    assert record(tmp_path / "out")["sources"][0]["frames_resumed"] == 8
