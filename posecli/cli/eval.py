"""`posecli eval`: COCO's numbers for a results file, or for the networks over a folder of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from posecli.cli._options import pipeline_options
from posecli.config import PipelineConfig
from posecli.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from posecli.evaluation import Comparison, EvalReport, GroundTruth, Results, Scored

_FORMATS = ("auto", "coco", "ochuman", "crowdpose", "aic", "mpii")
_MOST_PREDICTIONS = 2  # a and b


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wishes:
    """What to do with scores."""

    num_resamples: int
    show_breakdown: bool
    as_json_line: bool
    report: Path | None
    plots: Path | None
    pictures: Path | None  # for the worst cases
    quiet: bool

    @property
    def with_breakdown(self) -> bool:
        """Say whether the breakdowns are needed at all."""
        return self.show_breakdown or self.as_json_line or self.report is not None or self.plots is not None


class _Examined(NamedTuple):
    """What is known of one results list."""

    name: str
    scored: Scored
    samples: np.ndarray | None  # of the resampled images
    report: EvalReport


@click.command("eval")
@click.option(
    "--gt", type=click.Path(path_type=Path), required=True, help="Dataset with keypoints, COCO's or as --gt-format."
)
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
    "--report",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write a page with tables, charts and, with --images, the worst cases into this folder.",
)
@click.option(
    "--plots", type=click.Path(path_type=Path, file_okay=False), help="Write the charts as PNG into this folder."
)
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
    report: Path | None,
    plots: Path | None,
    resamples: int,
    as_json_line: bool,
    quiet: bool,
    config: PipelineConfig,
    loading: dict[str, Any],
) -> None:
    """Score poses against ground truth: --pred FILE, or the networks over --images DIR."""
    from posecli.evaluation import load_ground_truth, load_results_lists

    wishes = _Wishes(
        num_resamples=resamples,
        show_breakdown=breakdown,
        as_json_line=as_json_line,
        report=report,
        plots=plots,
        pictures=images,
        quiet=quiet,
    )
    _check_usage(wishes, pred, true_boxes=true_boxes, save=save)
    truth = load_ground_truth(gt, gt_format)
    if pred:
        truth, lists = load_results_lists(pred, truth)
        _tell(truth.notes, wishes)
        done = [_examine(truth, results, wishes, str(path)) for path, results in zip(pred, lists, strict=True)]
    elif images is not None:
        truth = truth.in_coco_order()
        _tell(truth.notes, wishes)
        run, results = _run(truth, images, config, loading, true_boxes=true_boxes, save=save, quiet=quiet)
        only = _examine(truth, results, wishes, _network_names(config, true_boxes=true_boxes))
        report_of_run = replace(only.report, refiner_runs=run.refiner_runs, boxes=run.boxes)
        done = [only._replace(report=report_of_run)]
    else:
        raise ConfigError("eval wants --pred FILE, or --images DIR to run the networks on")
    comparison = _compared(done)
    _publish(done, comparison, wishes)
    _print(done, comparison, wishes)


def _check_usage(wishes: _Wishes, pred: Sequence[Path], *, true_boxes: bool, save: Path | None) -> None:
    runs_networks = true_boxes or save is not None or (wishes.pictures is not None and wishes.report is None)
    if pred and runs_networks:
        raise ConfigError(
            "--pred scores a file; --images, --true-boxes and --save run the networks: choose one, or add --report DIR "
            "to see the worst cases on the pictures of --images"
        )
    if len(pred) > _MOST_PREDICTIONS:
        raise ConfigError(f"--pred is given {len(pred)} times; one file is scored, two are compared")
    if save is not None and not save.parent.is_dir():
        raise ConfigError(f"{save}: there is no folder {save.parent} to write to")
    for folder in filter(None, (wishes.report, wishes.plots)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be made ({error.strerror or error})") from None


def _network_names(config: PipelineConfig, *, true_boxes: bool) -> str:
    boxes = "true boxes" if true_boxes else config.detect.boxes or config.detect.detector
    return f"{boxes} and {config.refine.refiner}"


def _examine(truth: GroundTruth, results: Results, wishes: _Wishes, name: str) -> _Examined:
    from posecli.evaluation import examine, pack, resample, score

    scored = score(pack(truth, results))
    samples = resample(scored, wishes.num_resamples) if wishes.num_resamples else None
    report = examine(scored, results, samples=samples, with_breakdown=wishes.with_breakdown)
    _tell(results.notes, wishes)
    return _Examined(name, scored, samples, report)


def _compared(done: Sequence[_Examined]) -> Comparison | None:
    from posecli.evaluation import compare

    if len(done) < _MOST_PREDICTIONS:
        return None
    a, b = done
    if a.samples is None or b.samples is None or not len(a.samples):
        return None
    return compare(a.scored, b.scored, a.samples, b.samples)


def _tell(notes: Sequence[str], wishes: _Wishes) -> None:
    for note in notes:
        if not wishes.quiet:
            click.echo(note, err=True)


def _publish(done: Sequence[_Examined], comparison: Comparison | None, wishes: _Wishes) -> None:
    """Write the page and the charts of the last results list."""
    from posecli.evaluation.charts import charts
    from posecli.evaluation.gallery import cut_out
    from posecli.evaluation.page import page
    from posecli.evaluation.publish import write_page, write_plots

    name, scored, _, report = done[-1]
    if report.breakdown is None:
        return
    drawn = list(charts(scored, report.breakdown))
    if wishes.plots is not None:
        write_plots(wishes.plots, drawn)
        _tell([f"{len(drawn)} charts in {wishes.plots}"], wishes)
    if wishes.report is not None:
        html = page(
            report,
            drawn,
            truth_name=scored.packed.truth.name,
            results_name=name,
            compared=(done[0].name, comparison) if comparison else None,
            gallery=None if wishes.pictures is None else list(cut_out(scored, wishes.pictures)),
        )
        _tell([f"report: {write_page(wishes.report, html)}"], wishes)


def _print(done: Sequence[_Examined], comparison: Comparison | None, wishes: _Wishes) -> None:
    from rich.console import Console

    from posecli.cli._tables import as_json, comparison_table, scores_table, shown
    from posecli.evaluation.tables import breakdown_tables

    if wishes.as_json_line:
        click.echo(as_json([item.report for item in done], comparison))
        return
    console = Console()
    for letter, item in zip("ab", done, strict=False):
        console.print(scores_table(item.report, f"{letter}: {item.name}" if len(done) > 1 else None))
        if wishes.show_breakdown and item.report.breakdown:
            for table in breakdown_tables(item.report.breakdown):
                console.print(shown(table))
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
            refiner, notes = load_refiner(config.refine, engine=config.engine, precision=config.precision, **loading)
            report, results = evaluate_true_boxes(
                truth, images, refiner, batch=config.batch_crops, merge=config.merge, progress=advance
            )
        else:
            pipeline = load_pipeline(config, **loading)
            report, results = evaluate_pipeline(truth, images, pipeline, progress=advance)
            notes = pipeline.notes()
    if save is not None:
        write_json_atomically(save, results)
    checked = check_results(results, truth)
    return report, replace(checked, notes=(*notes, *checked.notes))
