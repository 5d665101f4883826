"""`posecli infer` in several processes: the same files as from one."""

import json

import cv2
import numpy as np
import pytest
import torch

import clips


@pytest.fixture
def sources(tmp_path):
    generator = np.random.default_rng(0)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for index in range(3):
        cv2.imwrite(str(pictures / f"{index}.png"), generator.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    bad = tmp_path / "bad.mp4"
    bad.write_text("hello " * 100)
    return [clips.write_clip(tmp_path / "a.mp4"), bad, pictures, clips.write_clip(tmp_path / "b.mp4", pts=range(7))]


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "run.json"
    }


def run_record(folder):
    record = json.loads((folder / "run.json").read_text().replace(str(folder), "OUT"))
    record.pop("seconds")
    for source in record["sources"]:
        for name in ("seconds", "read_wait_s", "write_wait_s"):
            source.pop(name)
    return record


def test_two_workers_write_the_bytes_of_one(posecli, tmp_path, sources):
    one = posecli("infer", "-o", tmp_path / "one", *sources, "--track", "--json")
    two = posecli("infer", "-o", tmp_path / "two", *sources, "--track", "--json", "--workers", "2")

    assert (one.exit_code, two.exit_code) == (3, 3), two.output
    assert one.stderr.splitlines()[-1] == two.stderr.splitlines()[-1]
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert run_record(tmp_path / "one") == run_record(tmp_path / "two")
    told = [[json.loads(line)["source"] for line in result.stdout.splitlines()] for result in (one, two)]
    assert told[0] == told[1] == list(map(str, sources))


def test_workers_and_frames_on_stdout_do_not_go_together(posecli, sources):
    result = posecli("infer", "-o", "-", *sources, "--workers", "2")

    assert result.exit_code == 2
    assert "leave out --workers" in result.stderr


def test_several_devices_are_several_workers(posecli, sources, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    result = posecli("infer", *sources, "--device", "cuda:0,cuda:1")

    assert result.exit_code == 6
    assert "no device cuda:1: this machine has 1" in result.stderr
