"""The proposer's table changes one thing at a time, and measures what it says."""

import json

import pytest
from click.testing import CliRunner

from posecli.config import load_train_config
from posecli.training.augment import PictureAugment


@pytest.fixture(scope="module")
def claims(load_example):
    load_example("claims")  # which the script imports
    return load_example("claims_proposer")


@pytest.fixture
def settings(claims):
    return claims.Settings(steps=40, batch=4, size=64, every=1)


def test_every_variant_switches_one_augmentation_on(claims, settings):
    recipe = load_train_config(claims.RECIPE)
    reference = claims.run_config(recipe, claims.REFERENCE, settings, 1)

    assert reference.datasets == recipe.datasets
    assert (reference.steps, reference.batch, reference.input_hw, reference.warmup) == (40, 4, (64, 64), 10)
    assert PictureAugment(**reference.augment) == PictureAugment()
    for name in claims.VARIANTS.keys() - {claims.REFERENCE}:
        changed = set(claims.run_config(recipe, name, settings, 1).augment)
        assert len(changed - {"min_shown"}) == 1
        PictureAugment(**claims.VARIANTS[name])
    assert {method.on for method in claims.METHODS.values()} == claims.VARIANTS.keys() - {claims.REFERENCE}


def test_the_command_trains_what_is_missing_and_writes_both_figures(claims, tmp_path, monkeypatch):
    images = [{"id": number, "file_name": f"{number}.png", "width": 64, "height": 64} for number in range(1, 6)]
    truth = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    done = []

    def measure(weights, truth, folder):
        assert [image["id"] for image in truth.images] == [1, 3, 5]
        return {"AR100": 0.5 + 0.01 * len(done), "pipeline_AP": 0.3 - 0.01 * len(done), "runs_per_person": 1.0}

    monkeypatch.setattr(claims, "load_pictures", lambda *_: None)
    monkeypatch.setattr(claims, "train", lambda config, *_: done.append((dict(config.augment), config.seed)))
    monkeypatch.setattr(claims, "measure", measure)
    only = ["--only", "mosaic:recall", "--only", "mosaic:pipeline"]
    options = [
        "--data",
        tmp_path,
        "--dev-gt",
        "gt.json",
        *only,
        "--seeds",
        1,
        "--every",
        2,
        "-o",
        tmp_path / "table.md",
    ]
    for _ in range(2):
        CliRunner().invoke(claims.main, [str(part) for part in options], catch_exceptions=False)

    assert done == [({}, 1), ({"mosaic": 0.4}, 1)]
    table = (tmp_path / "table.md").read_text()
    assert "| mosaic, recall | YOLOv4; YOLOX Table 2: +2.4 with MixUp | 51.00 | 52.00 | +1.00 |" in table
    assert "| 29.00 | 28.00 | -1.00 |" in table
    assert len((tmp_path / "table.jsonl").read_text().splitlines()) == 2
