"""The table compares what it says, goes on where it was stopped, and calls noise noise."""

import json
import math

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from posecli.networks import get_spec
from posecli.training.samples import Canvases, Crops
from posecli.training.tasks import run_spec

GT = {
    "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}],
    "annotations": [],
    "categories": [{"id": 1, "name": "person"}],
}


@pytest.fixture(scope="module")
def claims(load_example):
    return load_example("claims")


@pytest.fixture
def settings(claims):
    return claims.Settings(steps=400, batch=32, people=0, dev_people=0)


def finished(claims, settings, path, figures):
    runs = claims.Runs(path, settings)
    for (name, seed), ap in figures.items():
        runs.add(claims.Run(name, seed, settings, {"AP": ap}, 1.0))
    return runs


def test_every_variant_is_a_run_that_can_be_built_and_one_side_of_every_claim_is_the_reference(claims, settings):
    reference = claims.VARIANTS[claims.REFERENCE].config(settings, 1)
    used = set()
    for method in claims.METHODS.values():
        assert (method.on == claims.REFERENCE) != (method.off == claims.REFERENCE)
        used |= {method.on, method.off}
    for name, variant in claims.VARIANTS.items():
        config = variant.config(settings, 1)
        assert run_spec(config).input_hw == claims.INPUT_HW
        assert (config == reference) == (name == claims.REFERENCE)
    assert used == set(claims.VARIANTS)


def test_a_stopped_table_goes_on_with_what_is_missing(claims, settings, tmp_path):
    path = tmp_path / "claims.jsonl"
    finished(claims, settings, path, {("reference", 1): 0.2, ("no OHKM", 1): 0.1})
    with path.open("a") as file:
        file.write('{"variant": "no OHKM", "seed": 2, "sett')  # killed here

    runs = claims.Runs(path, settings)
    missing = claims.missing_runs([claims.METHODS["ohkm"]], 2, runs)
    other = claims.Runs(path, claims.Settings(steps=4, batch=32, people=0, dev_people=0))

    assert list(missing) == [(2, "reference"), (2, "no OHKM")]
    assert not other.done
    assert len(path.read_text().splitlines()) == 2


def test_a_run_that_lacks_a_figure_is_done_again(claims, settings, tmp_path):
    runs = finished(claims, settings, tmp_path / "a.jsonl", {("reference", 1): 0.2, ("hard negatives", 1): 0.1})

    assert claims.missing_runs([claims.METHODS["hndm"]], 1, runs) == {}
    wanted = claims.missing_runs([claims.METHODS["hndm-nobody"]], 1, runs)
    assert wanted == {(1, "reference"): True, (1, "hard negatives"): True}


def test_a_gain_counts_only_beyond_the_noise_between_seeds(claims, settings, tmp_path):
    figures = {
        ("reference", 1): 0.200, ("reference", 2): 0.204, ("no OHKM", 1): 0.150, ("no OHKM", 2): 0.154,
        ("no masking", 1): 0.201, ("no masking", 2): 0.205,
    }  # fmt: skip
    runs = finished(claims, settings, tmp_path / "a.jsonl", figures)

    assert claims.noise(runs, "AP") == pytest.approx(0.004 / math.sqrt(2))
    ohkm = claims.row(claims.METHODS["ohkm"], runs)
    assert "| 15.20 | 20.20 | +5.00 ± 0.57 | +5.00, +5.00 | helps |" in ohkm
    assert "| 20.30 | 20.20 | -0.10 ± 0.57 | -0.10, -0.10 | within noise |" in claims.row(
        claims.METHODS["masking"], runs
    )
    assert claims.row(claims.METHODS["joint"], runs) is None


def test_one_seed_proves_nothing(claims, settings, tmp_path):
    runs = finished(claims, settings, tmp_path / "a.jsonl", {("reference", 1): 0.2, ("no OHKM", 1): 0.1})

    assert claims.row(claims.METHODS["ohkm"], runs).endswith("| within noise |")
    assert "no spread yet" in claims.table(claims.METHODS.values(), runs)


@pytest.mark.parametrize(
    ("high", "low", "share"), [((0.9, 0.8), (0.1,), 1), ((0.5,), (0.5,), 0.5), ((0.1,), (0.2, 0.3), 0)]
)
def test_scores_are_ranked(claims, high, low, share):
    assert claims.ranked_above(high, low) == share


def test_labels_of_another_network_are_forgotten(claims):
    weights = torch.ones(1, 17)
    weights[0, 3] = 0.5
    canvases = Canvases(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    nowhere = torch.zeros(1, 17, dtype=torch.bool)
    crops = Crops(
        canvases, torch.zeros(1, 4), torch.zeros(1, 17, 2), weights, weights > 0, torch.zeros(1, 17, 2), nowhere,
        torch.zeros(1),
    )  # fmt: skip

    own = claims.only_own_labels(crops)

    assert (own.weights.sum(), own.present.sum()) == (16, 16)
    assert not own.present[0, 3]


def test_the_command_writes_a_table_and_does_nothing_twice(claims, tmp_path, monkeypatch):
    (tmp_path / "gt.json").write_text(json.dumps(GT))
    done = []

    def train(variant, settings, seed, sets):
        done.append((variant, seed))
        return nn.Identity(), get_spec("prs-tiny")

    monkeypatch.setattr(claims, "train", train)
    monkeypatch.setattr(claims.Dev, "measure", lambda *_, whole: {"AP": 0.1 + 0.01 * len(done)})
    options = ["--data", tmp_path, "--dev-gt", "gt.json", "--only", "ohkm", "--seeds", 2, "-o", tmp_path / "claims.md"]
    outcomes = [CliRunner().invoke(claims.main, [str(part) for part in options], catch_exceptions=False) for _ in "ab"]

    assert [outcome.exit_code for outcome in outcomes] == [0, 0]
    assert len(done) == 4
    assert (
        "| OHKM, the 8 hardest of 17 | CPN Table 5: +.8 | 13.00 | 12.00 | -1.00 ± 2.83 |"
        in (tmp_path / "claims.md").read_text()
    )
    wrong = CliRunner().invoke(claims.main, [*map(str, options), "--only", "magic"])
    assert "unknown method 'magic'; choose from ohkm, mss" in str(wrong.exception)
