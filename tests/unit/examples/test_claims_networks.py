"""The networks' table takes one part out at a time, trains each network once, and compares what it says."""

import json
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from posecli.networks import get_spec
from posecli.networks._mobilenet import MobileNetV2


@pytest.fixture(scope="module")
def claims(load_example):
    load_example("claims")  # which the script imports
    return load_example("claims_networks")


def test_every_network_answers_and_has_the_parts_of_its_name(claims):
    shapes = {}
    for name, spec in claims.NETWORKS.items():
        network, inputs = spec.build().train(), [torch.rand(2, 3, 64, 64)]
        if spec.takes_prior:
            inputs.append(torch.rand(2, 17, 64, 64))
        else:
            assert isinstance(network.trunk, MobileNetV2)
            assert (spec.bgr, spec.mean) == (False, get_spec("prs-tiny").mean)
        stages = network(*inputs)
        assert stages[-1].shape == (2, 17, 16, 16)
        shapes[name] = len(stages), sum(weight.numel() for weight in network.parameters())

    for whole in ("CPN", "CCM", "PCR"):
        parts = [name for name in claims.NETWORKS if name.startswith(f"{whole} ") or name.startswith(f"{whole},")]
        assert len(parts) >= 1
        assert all(shapes[name] != shapes[whole] for name in parts)
    assert shapes["GlobalNet"][0] == shapes["CPN"][0] - 1


def test_every_claim_compares_two_variants_of_known_networks(claims):
    used = {name for method in claims.METHODS.values() for name in (method.on, method.off)}

    assert used == set(claims.VARIANTS)
    for variant in claims.VARIANTS.values():
        assert {*variant.members, variant.posefix} - {None} <= set(claims.NETWORKS)


def test_a_network_is_trained_once_a_seed_and_the_table_goes_on_where_it_stopped(claims, tmp_path, monkeypatch):
    images = [{"id": 1, "file_name": "1.png", "width": 64, "height": 64}]
    (tmp_path / "gt.json").write_text(
        json.dumps({"images": images, "annotations": [], "categories": [{"id": 1, "name": "person"}]})
    )
    trained, seen = [], []

    class Trainer:
        def __init__(self, config, spec, *_, **__):
            trained.append((config.network, config.seed, config.init))
            network = spec.build()
            self.run = type("Run", (), {"ema": network})()

        def fit(self, **_):
            pass

    def evaluate(truth, folder, refiner, **_):
        seen.append(len(refiner._views) + (refiner._posefix is not None))
        scores = type("Scores", (), {"ap": 0.01 * len(seen), "ap50": 0.5, "ar": 0.5})()
        return type("Report", (), {"scores": scores})(), []

    monkeypatch.setattr(claims, "Trainer", Trainer)
    monkeypatch.setattr(claims, "make_task", lambda *_, **__: None)
    monkeypatch.setattr(claims, "evaluate_true_boxes", evaluate)
    monkeypatch.setattr(claims.TrainingSets, "crops", lambda *_: None)
    monkeypatch.setattr(claims.TrainingSets, "start", {})
    small = replace(claims.NETWORKS["CCM"], build=get_spec("prs-tiny").build)
    networks = {**dict.fromkeys(claims.NETWORKS, small), "PoseFix": claims.NETWORKS["PoseFix"]}
    monkeypatch.setattr(claims, "NETWORKS", networks)
    options = ["--data", tmp_path, "--dev-gt", "gt.json", "--seeds", 1, "-o", tmp_path / "table.md"]
    for only in (["--only", "ensemble-cpn"], ["--only", "ensemble-cpn", "--only", "posefix"]):
        CliRunner().invoke(claims.main, [str(part) for part in (*options, *only)], catch_exceptions=False)

    assert seen == [1, 3, 4]  # CPN, the ensemble; then what is missing: the ensemble with PoseFix
    assert len(trained) == 3 + 4  # three of the first call; the second needs them for the ensemble, and one more
    table = (tmp_path / "table.md").read_text()
    assert "| CPN, CCM and PCR averaged, against CPN | CCM Table 8: +.9 | 1.00 | 2.00 | +1.00 |" in table
    assert "| PoseFix behind the ensemble |" in table
