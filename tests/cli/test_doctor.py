from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from posecli.cli import main
from posecli.engines import diagnosis


def run(*arguments):
    return CliRunner().invoke(main, ["doctor", "--device", "cpu", *map(str, arguments)])


def test_a_working_machine_has_no_failure_and_ends_with_a_trial(tmp_path):
    result = run("-o", tmp_path, "--json")
    findings = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert {finding["status"] for finding in findings} <= {"ok", "warning"}
    assert findings[-1]["subject"] == "trial run"
    assert "ms each" in findings[-1]["found"]


def test_the_table_names_every_subject(tmp_path):
    result = run("-o", tmp_path)
    for subject in ("versions", "processor", "device", "video", "images", "extras", "output", "weights", "trial run"):
        assert subject in result.stdout


def test_missing_weights_are_a_failure_with_the_exit_code_of_weights(monkeypatch, tmp_path):
    monkeypatch.setattr("posecli.networks._weights._SHIPPED", (tmp_path,))
    result = run("-o", tmp_path, "--json")
    findings = {line["subject"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert result.exit_code == 5
    assert findings["weights"]["status"] == "failure"
    assert "install posecli again" in findings["weights"]["advice"]


def test_a_device_that_is_not_there_is_a_failure():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    result = CliRunner().invoke(main, ["doctor", "--device", "cuda", "--json"])
    assert result.exit_code == 6
    assert "--device cpu" in result.stdout


def test_more_threads_than_cores_is_a_warning(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1000)
    finding = diagnosis._processor()
    assert finding.status == "warning"
    assert "OMP_NUM_THREADS=" in finding.advice


def test_a_missing_h264_encoder_is_a_failure(monkeypatch):
    monkeypatch.setattr(diagnosis, "_can_encode", lambda name: name == "mjpeg")
    assert diagnosis._video().status == "failure"


def test_two_opencv_packages_are_a_warning(monkeypatch):
    class Package:
        def __init__(self, name):
            self.name = name

    packages = [Package("opencv-python"), Package("opencv-contrib-python"), Package("numpy")]
    monkeypatch.setattr(diagnosis, "distributions", lambda: packages)
    assert diagnosis._opencv_twice().status == "warning"


def test_a_folder_that_cannot_be_written_to_is_a_failure(monkeypatch, tmp_path):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(diagnosis.tempfile, "TemporaryFile", refuse)
    finding = diagnosis._disk(tmp_path / "new" / "folder")
    assert (finding.status, finding.exit_code) == ("failure", 2)
    assert str(tmp_path) in finding.found
