"""`posecli eval`: COCO's numbers for a results file, or for the networks over a folder of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from posecli.cli._options import pipeline_options
from posecli.config import PipelineConfig
from posecli.errors import ConfigError

if TYPE_CHECKING:
    from posecli.evaluation import Comparison, EvalReport, GroundTruth, Results, Scored

_FORMATS = ("auto", "coco", "ochuman", "crowdpose", "aic", "mpii")
_MOST_PREDICTIONS = 2  # a and b


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wishes:
    """What to do with scores."""

    num_resamples: int
    with_breakdown: bool  # compute it
    show_breakdown: bool  # and print it
    as_json_line: bool
    quiet: bool


@click.command("eval")
@click.option("--gt", type=click.Path(path_type=Path), required=True, help="COCO dataset with keypoints.")
@click.option(
    "--gt-format",
    type=click.Choice(_FORMATS),
    default="auto",
    show_default=True,
    help="What --gt is; auto tells by the file's shape.",
)
@click.option("--images", type=click.Path(path_type=Path), help="Folder of its pictures: run the networks on them.")
@click.option(
    "--pred",
    type=click.Path(path_type=Path),
    multiple=True,
    help="COCO results to score instead. Given twice: is the second really better?",
)
@click.option("--true-boxes", is_flag=True, help="Give the refiner the true boxes: what it is worth alone.")
@click.option("--save", type=click.Path(path_type=Path), help="Write the networks' results here, as COCO results.")
@click.option("--breakdown", is_flag=True, help="Also print scores by keypoint, size, crowding, kind of error, ...")
@click.option(
    "--resamples",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    help="Draws of the images for 95% intervals; 0: none.",
)
@click.option("--json", "as_json_line", is_flag=True, help="One line of JSON on stdout instead of a table.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar, no notes.")
@pipeline_options(min_score=0.0)
def evaluate(
    gt: Path,
    gt_format: str,
    images: Path | None,
    pred: tuple[Path, ...],
    true_boxes: bool,
    save: Path | None,
    breakdown: bool,
    resamples: int,
    as_json_line: bool,
    quiet: bool,
    config: PipelineConfig,
    loading: dict[str, Any],
) -> None:
    """Score poses against ground truth: --pred FILE, or the networks over --images DIR."""
    from posecli.evaluation import load_ground_truth, load_results_lists

    _check_usage(images, pred, true_boxes=true_boxes, save=save)
    wishes = _Wishes(
        num_resamples=resamples,
        with_breakdown=breakdown or as_json_line,
        show_breakdown=breakdown,
        as_json_line=as_json_line,
        quiet=quiet,
    )
    truth = load_ground_truth(gt, gt_format)
    if pred:
        truth, lists = load_results_lists(pred, truth)
        _tell(truth.notes, wishes)
        reports = [_examine(truth, results, wishes) for results in lists]
    elif images is not None:
        truth = truth.in_coco_order()
        _tell(truth.notes, wishes)
        run, results = _run(truth, images, config, loading, true_boxes=true_boxes, save=save, quiet=quiet)
        scored, report = _examine(truth, results, wishes)
        reports = [(scored, replace(report, refiner_runs=run.refiner_runs, boxes=run.boxes))]
    else:
        raise ConfigError("eval wants --pred FILE, or --images DIR to run the networks on")
    names = [f"{letter}: {path}" for letter, path in zip("ab", pred, strict=False)] if len(pred) > 1 else [None]
    named = list(zip(names, (report for _, report in reports), strict=True))
    _print(named, _compared([scored for scored, _ in reports], wishes), wishes)


def _check_usage(images: Path | None, pred: Sequence[Path], *, true_boxes: bool, save: Path | None) -> None:
    if pred and (images is not None or true_boxes or save is not None):
        raise ConfigError("--pred scores a file; --images, --true-boxes and --save run the networks: choose one")
    if len(pred) > _MOST_PREDICTIONS:
        raise ConfigError(f"--pred is given {len(pred)} times; one file is scored, two are compared")
    if save is not None and not save.parent.is_dir():
        raise ConfigError(f"{save}: there is no folder {save.parent} to write to")


def _examine(truth: GroundTruth, results: Results, wishes: _Wishes) -> tuple[Scored, EvalReport]:
    from posecli.evaluation import examine, pack, score

    scored = score(pack(truth, results))
    report = examine(scored, results, num_resamples=wishes.num_resamples, with_breakdown=wishes.with_breakdown)
    _tell(report.notes, wishes)
    return scored, report


def _compared(scored: Sequence[Scored], wishes: _Wishes) -> Comparison | None:
    from posecli.evaluation import compare, resample

    if len(scored) < _MOST_PREDICTIONS or not wishes.num_resamples:
        return None
    a, b = scored
    return compare(a, b, resample(a, wishes.num_resamples), resample(b, wishes.num_resamples))


def _tell(notes: Sequence[str], wishes: _Wishes) -> None:
    for note in notes:
        if not wishes.quiet:
            click.echo(note, err=True)


def _print(reports: Sequence[tuple[str | None, EvalReport]], comparison: Comparison | None, wishes: _Wishes) -> None:
    from rich.console import Console

    from posecli.cli._tables import as_json, breakdown_tables, comparison_table, scores_table

    if wishes.as_json_line:
        click.echo(as_json([report for _, report in reports], comparison))
        return
    console = Console()
    for name, report in reports:
        console.print(scores_table(report, name))
        if wishes.show_breakdown and report.breakdown:
            for table in breakdown_tables(report.breakdown):
                console.print(table)
    if comparison:
        console.print(comparison_table(comparison))


def _run(
    truth: GroundTruth,
    images: Path,
    config: PipelineConfig,
    loading: dict[str, Any],
    *,
    true_boxes: bool,
    save: Path | None,
    quiet: bool,
) -> tuple[EvalReport, Results]:
    from posecli.cli._progress import progress_bar
    from posecli.engines.evaluate import evaluate_pipeline, evaluate_true_boxes
    from posecli.evaluation import check_results
    from posecli.media.files import write_json_atomically
    from posecli.pipeline import load_pipeline, load_refiner

    results: list[dict[str, Any]]
    with progress_bar("pictures", total=len(truth.images), quiet=quiet) as advance:
        if true_boxes:
            refiner, notes = load_refiner(config.refine, **loading)
            report, results = evaluate_true_boxes(truth, images, refiner, batch=config.batch_crops, progress=advance)
        else:
            pipeline = load_pipeline(config, **loading)
            report, results = evaluate_pipeline(truth, images, pipeline, progress=advance)
            notes = pipeline.notes()
    if save is not None:
        write_json_atomically(save, results)
    checked = check_results(results, truth)
    return report, replace(checked, notes=(*notes, *checked.notes))
