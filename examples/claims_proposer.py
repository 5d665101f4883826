"""What ways to put training pictures together do for detposenet-tiny: each on and off, equal budgets, several seeds.

    python examples/claims_proposer.py --data DATA -o examples/claims_proposer.md

Every run starts from the weights that come with posecli (the table beside this file: from those before mosaic, which it
led to) and goes on for a few steps on the datasets of examples/detposenet-tiny.toml, with Muon, the rate falling to
nothing. The reference shows pictures as that recipe does; every other variant switches one augmentation of
`PictureAugment` on. Runs of one seed see the same pictures in the same order. They are kept beside the table as JSON
lines, so the command can be stopped and started at will, as examples/claims.py, whose table this is.

Measured are the proposals (recall of people at IoU .5 by the best 100 boxes of a picture) and AP of the whole pipeline,
with the refiner that comes with posecli, on every so many-th picture.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch
from claims import REFERENCE, Method, Runs, chosen_methods, comparison, missing_runs, run_all, write

from posecli.config import PipelineConfig, TrainConfig, load_train_config
from posecli.engines.evaluate import evaluate_pipeline
from posecli.evaluation import GroundTruth, load_ground_truth
from posecli.networks._weights import find_weights
from posecli.pipeline import load_pipeline
from posecli.runtime import Workers
from posecli.training.data import load_pictures
from posecli.training.loop import Trainer
from posecli.training.samples import Pictures
from posecli.training.start import read_start
from posecli.training.tasks import make_task, run_spec

CPU = torch.device("cpu")
RECIPE = Path(__file__).with_name("detposenet-tiny.toml")
MEASURES = {"AR100": "recall", "pipeline_AP": "pipeline AP"}

VARIANTS: dict[str, dict[str, float]] = {  # fields of PictureAugment
    REFERENCE: {},
    "large-scale jitter": {"large_jitter": 0.5},
    "mosaic": {"mosaic": 0.4},
    "copy-paste": {"copy_paste": 0.5},
    "close-ups": {"close_up": 0.3, "min_shown": 0.25},
}

SOURCES = {
    "large-scale jitter": "Ghiasi et al. 2021",
    "mosaic": "YOLOv4; YOLOX Table 2: +2.4 with MixUp",
    "copy-paste": "Ghiasi et al. 2021",
    "close-ups": "posecli's own",
}

METHODS = {
    f"{name.replace(' ', '-')}:{short}": Method(f"{name}, {said}", claim, on=name, measure=measure)
    for name, claim in SOURCES.items()
    for short, (measure, said) in zip(("recall", "pipeline"), MEASURES.items(), strict=True)
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all runs of a table share; runs of other settings are another table's."""

    steps: int
    batch: int
    size: int  # of the square views, pixels
    every: int  # of the pictures to measure on only every so many-th


def run_config(recipe: TrainConfig, variant: str, settings: Settings, seed: int) -> TrainConfig:
    """Return a run's configuration; its start is always the weights that come with posecli."""
    return replace(
        recipe,
        steps=settings.steps,
        batch=settings.batch,
        input_hw=(settings.size, settings.size),
        seed=seed,
        init="shipped",
        optimizer="muon",
        learning_rate=1e-3,
        warmup=min(50, settings.steps // 4),
        ema=0.98,  # follows within so few steps
        augment=dict(VARIANTS[variant]),
    )


def measure(weights: Path, truth: GroundTruth, folder: Path) -> dict[str, float]:
    """Return the figures of a proposer's weights."""
    pipeline = load_pipeline(PipelineConfig(), device="cpu", weights={"detposenet-tiny": weights})
    report, _ = evaluate_pipeline(truth, folder, pipeline)
    runs = report.refiner_runs / report.num_annotated if report.refiner_runs is not None else 0.0
    recall = report.boxes.ar_100_iou50 if report.boxes else 0.0
    return {"AR100": recall, "pipeline_AP": report.scores.ap, "runs_per_person": runs}


def train(config: TrainConfig, pictures: Pictures, path: Path) -> None:
    """Train, and write the averaged weights to `path`."""
    spec, start = run_spec(config), read_start(find_weights(config.network))
    task = make_task(config, spec, pictures, CPU)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, spec, task, start=start, folder=Path(folder), workers=Workers(CPU))
        trainer.fit(evaluate=None, report=lambda _: None)
        trainer.export(path)


def table(methods: list[Method], runs: Runs) -> str:
    """Return the Markdown."""
    settings = runs.settings
    lines = [
        "# What ways to put training pictures together do for the proposer",
        "",
        f"Made by `examples/claims_proposer.py`: detposenet-tiny trained on for {settings.steps} steps of"
        f" {settings.batch} views of {settings.size}x{settings.size}. Percent; recall is AR@100 at IoU .5 of proposals"
        f" from score .15 on; every {settings.every}-th picture is measured. Off is the recipe as it is.",
        "",
        *comparison(methods, runs, "pipeline_AP"),
    ]
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder that all paths are relative to.")
@click.option("--recipe", type=click.Path(path_type=Path), default=RECIPE, help="Training configuration (TOML).")
@click.option("--dev-gt", default="coco/person_keypoints_dev.json", show_default=True, help="Relative to --data.")
@click.option("--dev-images", default="coco/dev", show_default=True, help="Relative to --data.")
@click.option("--only", multiple=True, metavar="METHOD", help=f"Only this one; several times: {', '.join(METHODS)}.")
@click.option("--steps", type=click.IntRange(1), default=200, show_default=True, help="Of each run.")
@click.option("--batch", type=click.IntRange(1), default=16, show_default=True, help="Views a step.")
@click.option("--size", type=click.IntRange(32), default=256, show_default=True, help="Of the views, pixels.")
@click.option("--seeds", type=click.IntRange(1), default=2, show_default=True, help="Runs of each variant.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Measure on so many-th pictures.")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("claims_proposer.md"), show_default=True)
def main(data: Path, out: Path, recipe: Path, only: tuple[str, ...], seeds: int, **given: Any) -> None:
    """Write the table of what each augmentation is worth; the runs go to OUT's name with .jsonl."""
    torch.set_num_threads(1)
    methods = chosen_methods(only, METHODS)
    settings = Settings(**{name: given[name] for name in ("steps", "batch", "size", "every")})
    truth = load_ground_truth(data / given["dev_gt"])
    truth = truth.select({image["id"] for image in truth.images[:: settings.every]})
    runs = Runs(out.with_suffix(".jsonl"), settings)
    config, missing = load_train_config(recipe), list(missing_runs(methods, seeds, runs))
    pictures = load_pictures(data, config.datasets) if missing else None

    def trained(name: str, seed: int) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "run.safetensors"
            train(run_config(config, name, settings, seed), pictures, weights)
            return measure(weights, truth, data / given["dev_images"])

    for _ in run_all(missing, runs, trained):
        write(out, table(methods, runs))
    write(out, table(methods, runs))


if __name__ == "__main__":
    main()
