from __future__ import annotations

import json
import sys

import pytest
from click.testing import CliRunner

from clips import write_clip
from posecli.cli import main
from posecli.engines import bench as engine


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "clip.mp4", pts=range(6))


def test_a_source_is_timed_stage_by_stage(posecli, clip):
    result = posecli("bench", clip, "--json")
    assert result.exit_code == 0, result.output
    timing = json.loads(result.stdout)

    assert (timing["frames"], timing["people"]) == (6, 12)
    for name in ("wall_s", "networks_s", "decode_s", "write_s", "peak_mib"):
        assert timing[name] > 0, name
    assert timing["read_wait_s"] >= 0
    assert timing["write_wait_s"] >= 0
    assert timing["efficiency"] == pytest.approx(timing["networks_s"] / timing["wall_s"], abs=0.02)
    assert timing["refiner_runs_per_person"] == 1.0


def test_the_table_names_the_stages_and_drawing_can_be_left_out(posecli, clip):
    result = posecli("bench", clip, "--no-overlay")
    assert result.exit_code == 0, result.output
    assert "around the networks" in result.stdout
    assert "efficiency" in result.stdout
    row = next(line for line in result.stdout.splitlines() if "draw and encode" in line)
    assert " 0.0 " in row


def test_without_a_source_a_clip_is_made_up(posecli, monkeypatch):
    make = engine.made_up_clip
    monkeypatch.setattr(engine, "made_up_clip", lambda path: make(path, frames=4, width=96, height=64))
    result = posecli("bench", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["frames"] == 4


def test_calls_are_counted_by_network_and_shape(posecli, clip, monkeypatch):
    seen = {}

    def spy(pipeline, calls, share):
        seen.update(calls)
        return 0.0

    monkeypatch.setattr(engine, "_replay", spy)
    assert posecli("bench", clip, "--no-overlay", "--json").exit_code == 0
    refined = sum(shapes[0][0] * times for (name, shapes), times in seen.items() if name == "prs-tiny")
    assert refined == 12  # two people on each of six frames
    assert all(shapes[0][1:] == (3, 256, 192) for name, shapes in seen if name == "prs-tiny")


def test_networks_are_timed_alone_in_every_format(monkeypatch):
    monkeypatch.setattr("posecli.cli.bench._BATCHES", (2,))
    monkeypatch.setattr(engine, "_PEAK_SIDE", 128)
    monkeypatch.setattr(engine, "_REPEATS", 1)
    result = CliRunner().invoke(main, ["bench", "--networks", "--device", "cpu", "--json"])
    assert result.exit_code == 0, result.output
    timings = [json.loads(line) for line in result.stdout.splitlines()]
    assert {(line["network"], line["dtype"]) for line in timings} == {
        (network, dtype) for network in ("detposenet-tiny", "prs-tiny") for dtype in ("float32", "bfloat16")
    }
    for line in timings:
        assert line["gflops"] == pytest.approx(2 * line["gmacs"] / (line["ms_per_item"] / 1000), rel=1e-3)


def test_another_tool_runs_in_turn(tmp_path, clip, monkeypatch):
    started = []

    def fake(words, source):
        started.append("posecli" if "posecli" in words else words[0])
        return 1.0 if "posecli" in words else 3.0

    monkeypatch.setattr("posecli.cli.bench._timed", fake)
    result = CliRunner().invoke(main, ["bench", str(clip), "--compare", "other {source}", "--json"])
    assert started == ["posecli", "other", "posecli", "other"]
    assert json.loads(result.stdout)["ratio"] == 3.0


def test_a_tool_that_fails_is_named(tmp_path, clip, monkeypatch):
    from posecli.cli.bench import _timed
    from posecli.errors import ConfigError

    fails = [sys.executable, "-c", "import sys; sys.exit('no such video {source}')"]
    with pytest.raises(ConfigError, match=r"ended with 1 \(no such video a\.mp4\)"):
        _timed(fails, "a.mp4")
    with pytest.raises(ConfigError, match="cannot be run"):
        _timed(["/no/such/tool"], "a.mp4")


def test_compare_wants_a_source():
    result = CliRunner().invoke(main, ["bench", "--compare", "x"])
    assert result.exit_code == 2
    assert "--compare wants SOURCEs" in result.stderr


def test_posecli_runs_with_the_options_that_are_given(clip, monkeypatch):
    commands = []

    def fake(words, source):
        commands.append(words)
        return 1.0

    monkeypatch.setattr("posecli.cli.bench._timed", fake)
    options = ["--no-filter", "--detector-size", "320", "--scales", "1,1.2", "--weights", "a=b", "--weights", "c=d"]
    result = CliRunner().invoke(
        main, ["bench", str(clip), "--compare", "other", "--rounds", "1", "--no-overlay", *options]
    )

    assert result.exit_code == 0, result.output
    given = commands[0][commands[0].index("-q") + 1 :]
    for words in (["--no-filter"], ["--detector-size", "320"], ["--scales", "1.0,1.2"], ["--weights", "a=b"], ["c=d"]):
        assert any(given[place : place + len(words)] == words for place in range(len(given))), words
    assert given.count("--no-overlay") == 1
    assert "--compare" not in given
    assert "--rounds" not in given
