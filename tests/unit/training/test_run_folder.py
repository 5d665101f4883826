"""The log survives kills and resumes, its table has a row a step, and the code has a name."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess

import pytest

import posecli
from posecli.config import DatasetConfig, TrainConfig
from posecli.training import run_folder
from posecli.training.run_folder import RunFolder, code_version, commit_of, curve_rows

CONFIG = TrainConfig(network="prs-tiny", datasets=(DatasetConfig(images="a"),))


def record(step, **more):
    return {"step": step, "samples": 2 * step, "seconds": step, "eta_s": 9, "learning_rate": 0.1, **more}


LOSSES = record(20, losses={"a": 0.25, "b": 0.5})
SCORES = record(20, scores={"score": 0.3, "AP": 0.3})


def test_losses_and_scores_of_a_step_are_one_row():
    rows = curve_rows([LOSSES, SCORES, record(40, losses={"a": 0.1, "b": 0.2})])

    facts = {"step": 20, "samples": 40, "seconds": 20, "learning_rate": 0.1}
    assert rows[0] == {**facts, "loss": 0.75, "loss_a": 0.25, "loss_b": 0.5, "score": 0.3, "AP": 0.3}
    assert rows[1]["loss"] == pytest.approx(0.3)
    assert len(rows) == 2


def test_a_run_that_goes_on_logs_every_step_once(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin(CONFIG)
    for step in (20, 40, 60):
        folder.add(record(step, losses={"a": 1.0}))
    with folder.log_path.open("a") as file:
        file.write('{"step": 80, "samp')  # killed here, the checkpoint is of step 40

    folder.begin(CONFIG, done=40)
    folder.add(record(60, losses={"a": 2.0}))
    folder.write_curves()

    assert [entry["step"] for entry in folder.records()] == [20, 40, 60]
    with (tmp_path / "run" / "curves.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [(row["step"], row["loss"]) for row in table] == [("20", "1.0"), ("40", "1.0"), ("60", "2.0")]
    folder.begin(CONFIG)
    assert folder.records() == []


def test_the_configuration_says_which_code_it_was(tmp_path):
    RunFolder(tmp_path).begin(CONFIG)

    written = json.loads((tmp_path / "config.json").read_text())
    assert written["network"] == "prs-tiny"
    assert written["code"]["posecli"] == posecli.__version__


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_a_commit_is_named_for_what_it_holds_alone(tmp_path):
    def git(*words):
        command = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    config = tmp_path / "run.toml"
    config.write_text("steps = 1")
    git("add", "run.toml")
    git("commit", "-q", "-m", "first")
    head = git("rev-parse", "HEAD")
    (tmp_path / "other.toml").write_text("")

    assert commit_of(config) == head
    assert commit_of(tmp_path / "other.toml") == ""
    config.write_text("steps = 2")
    assert commit_of(config) == f"{head}-changed"
    assert code_version(config)["config_commit"] == f"{head}-changed"


def test_without_git_the_version_is_all_there_is(tmp_path, monkeypatch):
    def none(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(run_folder.subprocess, "run", none)

    assert code_version(tmp_path) == {"posecli": posecli.__version__}
