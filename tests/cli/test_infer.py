"""`posecli infer` from end to end, on networks with random weights."""

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from pycocotools.coco import COCO

import clips
from posecli import __version__
from posecli.cli import main
from posecli.config import PipelineConfig
from posecli.media.journal import read_journal


def save_png(path, size_hw=(48, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (*size_hw, 3), dtype=np.uint8))
    return path


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_one_line(text):
    assert text.endswith("\n")
    assert text.count("\n") == 1, text


@pytest.fixture
def infer(posecli, tmp_path):
    return lambda *arguments, **options: posecli("infer", "-o", tmp_path / "out", *arguments, **options)


def test_a_video_gives_its_files_and_a_summary(infer, tmp_path):
    result = infer(clips.write_clip(tmp_path / "walk.mp4"))

    assert (result.exit_code, result.stdout) == (0, "")
    assert_one_line(result.stderr)
    assert "12 frames, 24 people, 1.00 refiner runs per person" in result.stderr
    assert names_in(tmp_path / "out") == ["run.json", "walk.coco.json", "walk.overlay.mp4", "walk.results.json"]
    dataset = COCO(str(tmp_path / "out/walk.coco.json"))
    results = dataset.loadRes(str(tmp_path / "out/walk.results.json"))
    assert dataset.getImgIds() == list(range(1, 13))
    assert len(results.getAnnIds()) == 24


def test_run_json_says_what_was_run_on_what(infer, tmp_path):
    path = clips.write_clip(tmp_path / "walk.mp4")

    infer(path, "--no-overlay")

    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["posecli"] == __version__
    assert (run["config"]["detect"]["detector_size"], run["config"]["filtering"]["filter"]) == (64, False)
    assert {len(digest) for digest in run["networks"].values()} == {64}
    (source,) = run["sources"]
    assert (source["source"], source["status"], source["error"]) == (str(path), "ok", "")
    assert (source["frames"], source["frames_failed"], source["header_frames"]) == (12, 0, 12)
    assert source["refiner_runs_per_person"] == source["refiner_runs"] / source["people"]


def test_json_lines_have_stdout_for_themselves(infer, tmp_path):
    paths = [clips.write_clip(tmp_path / "a.mp4"), save_png(tmp_path / "b.png")]

    result = infer("--json", *paths)

    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["source"] for line in lines] == [str(path) for path in paths]
    assert lines == json.loads((tmp_path / "out/run.json").read_text())["sources"]


def test_quiet_means_silent(infer, tmp_path):
    result = infer("-q", save_png(tmp_path / "a.png"))

    assert (result.exit_code, result.output) == (0, "")


def test_no_overlay_writes_none(infer, tmp_path):
    infer("--no-overlay", save_png(tmp_path / "a.png"), save_png(tmp_path / "in/b.png").parent)

    assert not [name for name in names_in(tmp_path / "out") if "overlay" in name]


def test_the_journal_stays_on_request(infer, tmp_path):
    infer("--keep-journal", save_png(tmp_path / "a.png"))

    header, _ = read_journal(tmp_path / "out/a.jsonl")
    assert header["info"]["version"] == __version__


def test_a_black_picture_of_nobody_is_listed(posecli, tmp_path):
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((48, 64, 3), np.uint8))

    result = posecli("infer", tmp_path / "black.png", "-o", tmp_path, "--filter", "--min-box-score", "1")

    assert result.exit_code == 0
    assert "1 frames, 0 people" in result.stderr
    assert len(json.loads((tmp_path / "black.coco.json").read_text())["images"]) == 1
    assert json.loads((tmp_path / "black.results.json").read_text()) == []


def test_a_picture_of_one_pixel_is_annotated(infer, tmp_path):
    assert infer(save_png(tmp_path / "a.png", (1, 1))).exit_code == 0


def test_explain_writes_what_was_dropped(infer, tmp_path):
    infer("--explain", save_png(tmp_path / "a.png"))

    (image,) = json.loads((tmp_path / "out/a.coco.json").read_text())["images"]
    assert {rejection["reason"] for rejection in image["rejections"]} <= {"box_overlap", "too_many"}
    assert image["rejections"]


def test_a_broken_source_first_does_not_keep_the_next_from_its_turn(infer, tmp_path):
    (tmp_path / "bad.mp4").write_text("hello " * 100)

    result = infer(tmp_path / "bad.mp4", save_png(tmp_path / "good.png"))

    assert result.exit_code == 3
    assert "good.coco.json" in names_in(tmp_path / "out")
    error, summary, verdict = result.stderr.splitlines()
    assert error.startswith(f"{tmp_path / 'bad.mp4'}: not a video")
    assert summary.startswith("1 frames")
    assert verdict == "1 of 2 sources failed, 0 are incomplete; see run.json"


def test_a_lost_frame_is_partial(infer, tmp_path):
    save_png(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").touch()

    result = infer(tmp_path / "in")

    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1] == f"{tmp_path / 'in'}: 1 of 2 frames could not be decoded"


@pytest.mark.parametrize(
    "name", ["text.mp4", "x" * 300, "zero.mp4", "missing.mp4", "empty.mp4", "two\nlines.mp4", "broken.png"]
)
def test_a_lone_bad_source_is_one_line(infer, tmp_path, name):
    if name == "zero.mp4":
        (tmp_path / name).touch()
    elif name == "empty.mp4":
        (tmp_path / name).mkdir()
    elif name not in {"missing.mp4", "x" * 300}:
        (tmp_path / name).write_text("hello " * 100)

    result = infer(tmp_path / name)

    assert (result.exit_code, result.stdout) == (4, "")
    assert_one_line(result.stderr)
    assert result.stderr.startswith(str(tmp_path / name).replace("\n", "\\n") + ": ")
    assert names_in(tmp_path / "out") == ["run.json"]


def test_nothing_that_works_is_bad_input(infer, tmp_path):
    result = infer(tmp_path / "a.mp4", tmp_path / "b.mp4")

    assert result.exit_code == 4
    assert len(result.stderr.splitlines()) == 3


def test_usage_errors_come_before_the_networks_load(tmp_path):
    runner, picture = CliRunner(), save_png(tmp_path / "a.png")
    other = save_png(tmp_path / "other/a.png")
    for arguments, message in (
        (["infer", picture, other], "other/a.png: writes the same files as"),
        (["infer", picture, "--min-score", "2"], "2.0 is not in the range 0<=x<=1"),
        (["infer", picture, "--detector-size", "100"], "multiple of 32"),
        (["infer", picture, "-o", picture], "a.png: cannot be the output folder (File exists)"),
        (["infer", picture, "-o", picture / "in"], "cannot be the output folder (Not a directory)"),
        (["infer", picture, "--weights", "prs-tiny"], "wanted NAME=FILE"),
        (["infer", picture, "--detector", "detposenet-tny"], "did you mean detposenet-tiny?"),
        (["infer"], "Missing argument"),
    ):
        result = runner.invoke(main, [*map(str, arguments), *(["-o", str(tmp_path / "out")] * ("-o" not in arguments))])
        assert result.exit_code == 2, (arguments, result.output)
        assert message in result.stderr


@pytest.mark.parametrize("content", [None, b"", b"no weights at all"])
def test_broken_weights_have_their_own_exit_code(tmp_path, content):
    if content is not None:
        (tmp_path / "w.safetensors").write_bytes(content)

    weights = f"detposenet-tiny={tmp_path / 'w.safetensors'}"
    result = CliRunner().invoke(
        main, ["infer", str(save_png(tmp_path / "a.png")), "-o", str(tmp_path), "--device", "cpu", "--weights", weights]
    )

    assert result.exit_code == 5
    assert_one_line(result.stderr)
    assert result.stderr.startswith(str(tmp_path / "w.safetensors"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_has_its_own_exit_code(tmp_path):
    result = CliRunner().invoke(
        main, ["infer", str(save_png(tmp_path / "a.png")), "-o", str(tmp_path), "--device", "cuda"]
    )

    assert result.exit_code == 6
    assert_one_line(result.stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(("sent", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupt_leaves_the_journal(networks, tmp_path, sent, exit_code):
    path = clips.write_clip(tmp_path / "long.avi", pts=range(4000), codec="mpeg4")
    # a test run in the background may have SIGINT ignored, which a child inherits
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from posecli.cli import main; main()"
    )
    command = [sys.executable, "-c", program, "infer", str(path), "-o", str(tmp_path / "out"), *networks]
    journal = tmp_path / "out/long.jsonl"

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if journal.exists() and journal.read_bytes().count(b"\n") > 2:
                break
            time.sleep(0.02)
        process.send_signal(sent)
        _, messages = process.communicate(timeout=60)

    assert process.returncode == exit_code, messages
    assert "Traceback" not in messages
    assert names_in(tmp_path / "out") == ["long.jsonl", "run.json"]
    entries = list(read_journal(journal)[1])
    assert messages == f"interrupted: {len(entries)} frames are in {journal}; --resume goes on\n"
    assert len(entries) % PipelineConfig.batch_frames == 0
    (report,) = json.loads((tmp_path / "out/run.json").read_text())["sources"]
    assert (report["status"], report["frames"]) == ("interrupted", len(entries))
    assert [entry["frame_index"] for entry in entries] == list(range(len(entries)))
    assert 0 < len(entries) < 4000


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_not_utf8_is_no_obstacle(networks, tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    save_png(tmp_path / "a.png").rename(os.fsdecode(name))

    result = CliRunner().invoke(main, ["infer", os.fsdecode(name), "-o", str(tmp_path / "out"), "--json", *networks])

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["status"] == "ok"


def test_other_formats_are_written_beside_coco(posecli, tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", pts=range(4))

    result = posecli("infer", path, "--no-overlay", "--format", "csv,jsonl", "--format", "coco", "-o", tmp_path / "out")

    assert result.exit_code == 0, result.output
    names = {"a.coco.json", "a.results.json", "a.people.csv", "a.frames.jsonl", "run.json"}
    assert {name.name for name in (tmp_path / "out").iterdir()} == names
    wrong = posecli("infer", path, "--format", "xml", "-o", tmp_path / "out")
    assert wrong.exit_code == 2
    assert "format must be some of jsonl, csv, parquet, got 'xml'" in wrong.output


def test_what_was_done_is_done_again_for_a_format_that_is_missing(posecli, tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", pts=range(4))
    common = ("infer", path, "--no-overlay", "--skip-done", "-o", tmp_path / "out")

    posecli(*common)
    again = posecli(*common, "--format", "csv")

    assert again.exit_code == 0
    assert (tmp_path / "out" / "a.people.csv").exists()
    assert "were done before" not in again.output
    assert "1 of 1 sources were done before" in posecli(*common, "--format", "csv").output


def test_frames_go_to_stdout_and_to_no_file(posecli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        clips.write_clip(tmp_path / "in" / f"{name}.mp4", pts=range(3))

    result = posecli("infer", "in", "-q", "-o", "-")

    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["source"], line["frame_index"]) for line in lines] == [
        (f"in/{name}.mp4", index) for name in ("a", "b") for index in range(3)
    ]
    assert len(lines[0]["people"][0]["keypoints"]) == 51
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert posecli("infer", "in", "-o", "-", "--json").exit_code == 2


def test_a_codec_that_is_not_there_is_told_before_the_work(posecli, tmp_path):
    result = posecli("infer", clips.write_clip(tmp_path / "a.mp4"), "--overlay-codec", "prores", "-o", tmp_path / "out")

    assert result.exit_code == 2
    assert "--overlay-codec prores: not to be had here; choose from h264" in result.output
    assert not (tmp_path / "out").exists()


def test_a_part_of_a_video_is_read(posecli, tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", pts=range(50))

    result = posecli(
        "infer", path, "--start", "00:00:00.4", "--end", "1.6", "--stride", "5", "--no-overlay", "-o", tmp_path
    )

    assert result.exit_code == 0, result.output
    images = json.loads((tmp_path / "a.coco.json").read_text())["images"]
    assert [image["frame_index"] for image in images] == [10, 15, 20, 25, 30, 35]
    assert [image["id"] for image in images] == [1, 2, 3, 4, 5, 6]
    assert images[1]["time"] == 0.6
    wrong = posecli("infer", path, "--start", "1:2:3:4", "-o", tmp_path)
    assert wrong.exit_code == 2
    assert "wanted seconds or HH:MM:SS" in wrong.output
