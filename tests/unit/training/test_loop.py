"""The training loop on pictures made here: it learns, resumes exactly, and says what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from posecli.config import DatasetConfig, PhaseConfig, TrainConfig, load_train_config
from posecli.errors import ConfigError, InputError, WeightsError
from posecli.networks import get_spec, load_network
from posecli.runtime import Workers
from posecli.training.data import load_samples
from posecli.training.loop import Trainer, batch_index, export_checkpoint, learning_rate
from posecli.training.start import begin, read_start
from posecli.training.tasks import make_task, run_spec

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six small pictures with one person of seventeen coloured dots each, and three without."""
    root = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    images, annotations = [], []
    (root / "people").mkdir()
    (root / "empty").mkdir()
    for number in range(6):
        picture = generator.integers(0, 90, (120, 160, 3), dtype=np.uint8)
        points = np.column_stack((generator.integers(50, 110, 17), generator.integers(15, 105, 17)))
        for index, (x, y) in enumerate(points.tolist()):
            cv2.circle(picture, (x, y), 3, (15 * index, 255 - 15 * index, 128), -1)
        cv2.imwrite(str(root / "people" / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png", "width": 160, "height": 120})
        flat = np.column_stack((points, np.full(17, 2))).ravel().tolist()
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "bbox": [45, 10, 70, 100], "area": 7000, "iscrowd": 0,
             "num_keypoints": 17, "keypoints": flat}
        )  # fmt: skip
    for number in range(3):
        cv2.imwrite(str(root / "empty" / f"{number}.png"), np.full((90, 90, 3), 40 * number, np.uint8))
    (root / "people.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return root


def config_of(network, **changes):
    datasets = (DatasetConfig(images="people", annotations="people.json"), DatasetConfig(images="empty"))
    config = TrainConfig(
        network=network, datasets=datasets, steps=4, batch=2, input_hw=(64, 64), warmup=1, frozen_blocks=0, half=False
    )
    return replace(config, **changes)


def trainer_of(config, data, folder):
    spec = run_spec(config)
    task = make_task(config, spec, load_samples(data, config, spec), CPU)
    return Trainer(config, spec, task, start={}, folder=folder, workers=Workers(CPU))


@pytest.mark.parametrize(
    ("network", "optimizer"), [("prs-tiny", "adamw"), ("prs-tiny", "muon"), ("detposenet-tiny", "muon")]
)
def test_resumed_run_equals_an_uninterrupted_one(network, optimizer, data, tmp_path):
    config = config_of(network, optimizer=optimizer)
    whole = trainer_of(config, data, tmp_path / "whole")
    whole.fit(evaluate=None, report=lambda _: None)

    first = trainer_of(config, data, tmp_path / "parts")
    for _ in range(2):
        first._step()
    first.save()
    second = trainer_of(config, data, tmp_path / "parts")
    second.resume()
    second.fit(evaluate=None, report=lambda _: None)

    assert second.run.step == 4
    pairs = zip(whole.run.network.state_dict().items(), second.run.network.state_dict().values(), strict=True)
    assert not [name for (name, wanted), found in pairs if not torch.equal(wanted, found)]
    facts = export_checkpoint(tmp_path / "parts", tmp_path / "last.safetensors")
    assert (facts["step"], facts["network"]) == ("4", network)
    load_network(network, weights=tmp_path / "last.safetensors")


PARTS = (
    DatasetConfig(images="people", annotations="people.json", part="C"),
    DatasetConfig(images="empty", part="H"),
)
PHASES = (PhaseConfig(parts="CH", steps=3), PhaseConfig(parts="C", steps=2, learning_rate=1e-4, warmup=0))


def test_each_phase_trains_on_its_parts_from_the_averaged_weights(data, tmp_path, monkeypatch):
    trainer = trainer_of(config_of("prs-tiny", datasets=PARTS, phases=PHASES, steps=5), data, tmp_path)
    shown = []
    batch = trainer.task.batch
    monkeypatch.setattr(trainer.task, "batch", lambda index, *rest: shown.append(index) or batch(index, *rest))
    for _ in range(3):
        trainer._step()
    averaged = {name: weight.clone() for name, weight in trainer.run.ema.state_dict().items()}
    optimizer = trainer.run.optimizers[0]
    monkeypatch.setattr(trainer, "_average", lambda done: None)
    trainer.task.losses = lambda network, batch: {"none": 0.0 * next(network.parameters()).sum()}
    trainer._step()

    assert {int(number) for number in torch.cat(shown[:3])} & {6, 7, 8, 9, 10, 11}  # of the pictures without people
    assert all(number < 6 for number in shown[3].tolist())
    assert trainer.run.optimizers[0] is not optimizer
    assert max(group["lr"] for group in trainer.run.optimizers[0].param_groups) == pytest.approx(1e-4)
    moved = trainer.run.network.state_dict()
    assert not [name for name, weight in averaged.items() if not torch.allclose(moved[name], weight, atol=1e-4)]


@pytest.mark.parametrize("cut", [3, 4])
def test_a_run_of_phases_resumes_exactly_wherever_it_stops(cut, data, tmp_path):
    config = config_of("prs-tiny", datasets=PARTS, phases=PHASES, steps=5)
    whole, first, second = (trainer_of(config, data, tmp_path / name) for name in ("whole", "cut", "cut"))
    whole.fit(evaluate=None, report=lambda _: None)
    for _ in range(cut):
        first._step()
    first.save()
    second.resume()
    second.fit(evaluate=None, report=lambda _: None)

    wanted = whole.run.network.state_dict()
    assert not [name for name, found in second.run.network.state_dict().items() if not torch.equal(wanted[name], found)]


def test_phases_that_cannot_work_are_refused(data, tmp_path):
    for changes, said in (
        ({"steps": 4}, "steps is 4, but the phases take 5"),
        ({"datasets": (*PARTS, DatasetConfig(images="a"))}, "needs its part"),
        ({"datasets": PARTS[:1]}, r"name C, H, \[\[datasets\]\] are C"),
        ({"phases": PHASES[1:], "steps": 2}, r"name C, \[\[datasets\]\] are C, H"),
    ):
        with pytest.raises(ConfigError, match=said):
            config_of("prs-tiny", **{"datasets": PARTS, "phases": PHASES, "steps": 5, **changes})
    config = config_of("prs-tiny", datasets=PARTS, phases=PHASES, steps=5, batch=8)
    with pytest.raises(InputError, match="6 samples of phase C are fewer than one batch of 8"):
        trainer_of(config, data, tmp_path)


def test_the_steps_of_a_run_of_phases_are_theirs(tmp_path):
    path = tmp_path / "run.toml"
    legs = "".join(f'[[phases]]\nparts = "{parts}"\nsteps = {steps}\n' for parts, steps in (("AC", 30), ("C", 10)))
    parts = "".join(f'[[datasets]]\nimages = "{part}"\npart = "{part}"\n' for part in "AC")
    path.write_text('network = "prs-tiny"\n' + legs + parts)

    config = load_train_config(path)

    assert (config.steps, [phase.parts for phase in config.phases]) == (40, ["AC", "C"])


def test_minutes_stop_a_run_where_it_can_be_resumed(data, tmp_path):
    trainer = trainer_of(config_of("prs-tiny"), data, tmp_path)

    assert trainer.fit(evaluate=None, report=lambda _: None, minutes=0) is False
    assert trainer.fit(evaluate=None, report=lambda _: None) is True
    assert trainer.run.step == 4


def test_export_wants_a_whole_checkpoint(tmp_path):
    with pytest.raises(InputError, match="the folder of a run"):
        export_checkpoint(tmp_path, tmp_path / "a.safetensors")
    (tmp_path / "checkpoint.pt").write_bytes(b"torn")
    with pytest.raises(InputError, match="damaged"):
        export_checkpoint(tmp_path, tmp_path / "a.safetensors")


# what makes one network of each kind small
SMALL = {
    "ccm-r50": {"trunk": {"blocks": [1, 1, 1, 1]}, "widths": [16, 16, 16]},
    "ccm-mobilenetv2": {"widths": [16, 16, 16]},
    "cpn-r50": {"trunk": {"blocks": [1, 1, 1, 1]}},
    "hourglass-8": {"stacks": 2, "width": 32},
    "hrnet-w32": {"width": 4},
    "mspn-2": {"width": 0.125},
    "pcr-r50": {"trunk": {"blocks": [1, 1, 1, 1]}, "widths": [16, 16, 16]},
    "posefix-r50": {"trunk": {"blocks": [1, 1, 1, 1]}, "width": 16},
    "simplebaseline-r50": {"trunk": {"blocks": [1, 1, 1, 1]}, "width": 16},
}


@pytest.mark.parametrize("network", SMALL)
def test_every_kind_of_refiner_trains_from_random_weights(network, data, tmp_path):
    people = DatasetConfig(images="people", annotations="people.json")
    config = config_of(network, network_options=SMALL[network], datasets=(people,), steps=2)
    trainer = trainer_of(config, data, tmp_path)
    before = {name: weight.clone() for name, weight in trainer.run.network.named_parameters() if weight.requires_grad}

    losses = trainer._step()

    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    after = dict(trainer.run.network.named_parameters())
    assert not [name for name, weight in before.items() if torch.equal(weight, after[name])]


def test_refiner_learns_its_crops(data, tmp_path):
    config = config_of("prs-tiny", steps=30, batch=4, learning_rate=3e-3)
    trainer = trainer_of(config, data, tmp_path)
    losses = [float(sum(trainer._step().values())) for _ in range(30)]

    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_evaluation_keeps_the_best_weights_and_is_logged(data, tmp_path):
    trainer = trainer_of(config_of("prs-tiny", eval_minutes=0.0), data, tmp_path)
    scores = iter((0.1, 0.4, 0.3, 0.2))
    records = []
    trainer.fit(evaluate=lambda _: {"score": next(scores)}, report=records.append)

    assert trainer.run.best == 0.4
    assert (tmp_path / "best.safetensors").is_file()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["scores"]["score"] for line in lines if "scores" in line] == [0.1, 0.4, 0.3, 0.2]
    assert lines == json.loads(json.dumps(records))


def test_resume_refuses_another_configuration(data, tmp_path):
    trainer_of(config_of("prs-tiny"), data, tmp_path).save()
    other = trainer_of(config_of("prs-tiny", steps=5), data, tmp_path)

    with pytest.raises(ConfigError, match=r"another configuration \(steps differ\)"):
        other.resume()


def test_resume_without_checkpoint_and_too_little_data_are_told(data, tmp_path):
    with pytest.raises(ConfigError, match="no checkpoint to resume"):
        trainer_of(config_of("prs-tiny"), data, tmp_path / "new").resume()
    with pytest.raises(InputError, match="12 samples are fewer than one batch of 64"):
        trainer_of(config_of("prs-tiny", batch=64), data, tmp_path)


def test_start_weights_that_do_not_fit_are_refused(tmp_path):
    spec = get_spec("prs-tiny")
    (tmp_path / "start.pth").write_bytes(b"no weights")

    with pytest.raises(WeightsError, match=r"start\.pth"):
        read_start(tmp_path / "start.pth")
    with pytest.raises(WeightsError, match="no folded MobileNet-v2"):
        begin(spec.build(), {"convs.0.weight": torch.zeros(1)}, spec, torch.zeros(1, 3, 64, 64))
    with pytest.raises(WeightsError, match="prs-tiny"):
        begin(spec.build(), {"other": torch.zeros(1)}, spec, torch.zeros(1, 3, 64, 64))
    with pytest.raises(WeightsError, match="no such trunk"):
        begin(torch.nn.Identity(), {"convs.0.weight": torch.zeros(1)}, spec, torch.zeros(1, 3, 64, 64))


def test_every_epoch_shows_every_sample_once_in_another_order():
    first = torch.cat([batch_index(step, samples=12, batch=4, seed=1) for step in range(3)])
    second = torch.cat([batch_index(step, samples=12, batch=4, seed=1) for step in range(3, 6)])

    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(12))
    assert first.tolist() != second.tolist()


def test_learning_rate_warms_up_and_ends_at_a_hundredth():
    config = config_of("prs-tiny", steps=1000, warmup=100)
    rates = [learning_rate(step, config) for step in range(1000)]

    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(rates[100:]))


def test_configuration_errors_name_the_key(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('network = "prs-tiny"\nstepps = 3\n[[datasets]]\nimages = "a"\n')
    with pytest.raises(ConfigError, match=r"unknown key 'stepps'; did you mean steps\?"):
        load_train_config(path)
    path.write_text('network = "prs-tiny"\n')
    with pytest.raises(ConfigError, match="at least one"):
        load_train_config(path)
    base = '[[datasets]]\nimages = "a"\n'
    for line, said in (
        ("steps = true", "steps is True, wanted an integer"),
        ("init = 3", "init is 3, wanted a text"),
        ("input_hw = [128]", r"input_hw is \[128\], wanted two integers"),
        ("half = 1", "half is 1, wanted true or false"),
        ("teacher = 3", "teacher is 3, wanted a table"),
        ('phases = "A"', r"phases is 'A', wanted \[\[phases\]\]"),
        ("loss = [1]", r"loss is \[1\], wanted a table"),
    ):
        path.write_text(f'network = "prs-tiny"\n{line}\n{base}')
        with pytest.raises(ConfigError, match=said):
            load_train_config(path)
    path.write_text("network = ")
    with pytest.raises(ConfigError, match="not TOML"):
        load_train_config(path)
