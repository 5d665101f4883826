"""Which of the papers' training methods help, on your data: each one on and off, with equal budgets and several seeds.

    python examples/claims.py --data DATA --dev-gt dev.json --dev-images dev/ -o examples/claims.md

One network is trained again and again: prs-tiny at 128x96 from the ImageNet start, a few hundred steps on people of
COCO. The reference is posecli's default recipe on their own labels alone, with Muon, which gets far in few steps. Every
method is one change of it: what the recipe has is taken out, what it has not is put in, and the reference is the other
side of each comparison, so that it is trained once a seed. CCM's strategies spend half of the same budget before the
arrow and half after it; A is LSPET, C COCO, H hard negatives, and U here no further pictures but another network's
keypoints where people have none. Runs of one seed start from the same random weights and see the same samples in the
same order as far as their training sets are the same.

Each finished run is a line of claims.jsonl beside the table; a run that is there is not done again, so the command can
be stopped and started at will, with more methods or more seeds. Measured on people in true boxes, without flip test.
Hard negatives concern boxes that are nobody, so where they matter two more numbers are taken: AP of the whole pipeline
with the trained refiner in place of posecli's, and how often somebody's pose scores higher than one found in a box on
nobody, of pictures held out of training (the area under that ROC curve; .5 is chance).
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from statistics import fmean, variance
from typing import Any

import click
import torch
from torch import Tensor, nn

from posecli.cli._progress import progress_bar
from posecli.config import (
    DatasetConfig,
    LossConfig,
    MergeConfig,
    PhaseConfig,
    PipelineConfig,
    RefineConfig,
    TeacherConfig,
    TrainConfig,
)
from posecli.engines.dev import only_first
from posecli.engines.evaluate import evaluate_pipeline, evaluate_true_boxes
from posecli.errors import ConfigError
from posecli.evaluation import GroundTruth, load_ground_truth
from posecli.geometry.boxes import xywh_to_xyxy
from posecli.media.sources import read_image
from posecli.networks import ModelSpec, fuse_batch_norm
from posecli.pipeline import Pipeline, load_pipeline
from posecli.runtime import Workers
from posecli.stages.refine import Refiner
from posecli.training.aids import load_aids
from posecli.training.data import load_crops, picture_paths
from posecli.training.labels import read_boxes
from posecli.training.loop import Trainer
from posecli.training.samples import Crops, joined
from posecli.training.start import read_start
from posecli.training.tasks import make_task, run_spec

INPUT_HW = (128, 96)
REFERENCE = "reference"
SCORED = MergeConfig(pose_score="mean")  # of all keypoints: weak networks have few sure ones
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How a run differs from the reference."""

    people: str = "C"  # what it trains on: letters of `TrainingSets`
    loss: Mapping[str, Any] = field(default_factory=dict)  # fields of LossConfig
    augment: Mapping[str, float] = field(default_factory=dict)  # fields of CropAugment
    run: Mapping[str, Any] = field(default_factory=dict)  # fields of TrainConfig
    taught: bool = False  # by the heatmaps of --teacher, too
    strategy: str = ""  # such as "AC->C": phases of equal lengths, which together take a run's steps

    def config(self, settings: Settings, seed: int) -> TrainConfig:
        """Return the run's configuration; the samples come from `TrainingSets`, whatever its datasets say."""
        base: dict[str, Any] = {
            "network": "prs-tiny",
            "datasets": tuple(DatasetConfig(images=letter, part=letter) for letter in self.people),
            "phases": self._phases(settings),
            "teacher": TeacherConfig(network=settings.teacher) if self.taught else None,
            "steps": settings.steps,
            "batch": settings.batch,
            "warmup": min(50, settings.steps // 4),
            "learning_rate": 2e-3,
            "optimizer": "muon",
            "input_hw": INPUT_HW,
            "init": "ImageNet",
            "seed": seed,
        }
        parts = {"loss": LossConfig(**self.loss), "augment": dict(self.augment)}
        return TrainConfig(**{**base, **parts, **self.run})

    def _phases(self, settings: Settings) -> tuple[PhaseConfig, ...]:
        if not self.strategy:
            return ()
        before, after = self.strategy.split("->")
        half = settings.steps // 2
        return (PhaseConfig(parts=before, steps=settings.steps - half), PhaseConfig(parts=after, steps=half))


@dataclass(frozen=True)
class Method:
    """One claim: two variants, of which one is the reference."""

    name: str
    claim: str  # whose it is
    on: str = REFERENCE
    off: str = REFERENCE
    measure: str = "AP"  # which of a run's figures is compared


# What the default recipe has is switched off, what it has not is switched on.
VARIANTS = {
    REFERENCE: Variant(),
    "no OHKM": Variant(loss={"hardest": 0}),
    "only the answer supervised": Variant(loss={"coarse_scale": 0.0}),
    "no regression": Variant(run={"network_options": {"regression": False}}),
    "no structure": Variant(loss={"structure": 0.0}),
    "no masking": Variant(augment={"mask": 0.0}),
    "equal kernels": Variant(loss={"coarse_to_fine": False}),
    "no location": Variant(loss={"location": 0.0}),
    "no half bodies": Variant(augment={"half_body": 0.0}),
    "no average": Variant(run={"ema": 0.0}),
    "random start": Variant(run={"init": ""}),
    "AdamW": Variant(run={"optimizer": "adamw"}),
    "hard negatives": Variant(people="CH"),
    "pseudo labels": Variant(people="P"),
    "heatmaps taught": Variant(taught=True),
    "joint": Variant(people="AC"),
    "A->C": Variant(people="AC", strategy="A->C"),
    "AC->C": Variant(people="AC", strategy="AC->C"),
    "ACH->CH": Variant(people="ACH", strategy="ACH->CH"),
    "ACHU->CHU": Variant(people="APH", strategy="APH->PH"),
    "C->C": Variant(strategy="C->C"),
}

METHODS = {
    "ohkm": Method("OHKM, the 8 hardest of 17", "CPN Table 5: +.8", off="no OHKM"),
    "mss": Method(
        "intermediate supervision at every scale (MSS)",
        "DetPoseNet III-C1, CPN Table 4",
        off="only the answer supervised",
    ),
    "msr": Method("multi-scale regression (MSR)", "DetPoseNet III-C2", off="no regression"),
    "structure": Method("structure-aware loss", "DetPoseNet III-C3, Eq. (2)", off="no structure"),
    "masking": Method("keypoint masking", "DetPoseNet III-C4", off="no masking"),
    "kernels": Method("coarse-to-fine kernels", "MSPN 3.3", off="equal kernels"),
    "location": Method("cross-entropy of the place", "posecli's own", off="no location"),
    "half-body": Method("half-body crops", "MSPN's code", off="no half bodies"),
    "ema": Method("averaged weights (EMA)", "usual", off="no average"),
    "imagenet": Method("ImageNet start of the trunk", "all five papers", off="random start"),
    "muon": Method("Muon in place of AdamW", "Jordan et al. 2024", off="AdamW"),
    "hndm": Method("hard negatives (HNDM), true boxes", "CCM Table 4: AR unchanged", on="hard negatives"),
    "hndm-pipeline": Method(
        "hard negatives (HNDM), whole pipeline", "CCM Table 4: +.3", on="hard negatives", measure="pipeline_AP"
    ),
    "hndm-nobody": Method(
        "hard negatives (HNDM), ROC of somebody against nobody",
        "CCM 6.2.2: suppresses false people",
        on="hard negatives",
        measure="somebody",
    ),
    "pseudo": Method("pseudo labels where people have none", "CCM Table 4: +.3, of more pictures", on="pseudo labels"),
    "distill": Method("heatmap distillation", "CCM 4.2 (there: pseudo labels)", on="heatmaps taught"),
    "joint": Method("LSPET's 12 keypoints mixed in (AC)", "CCM 4.3", on="joint"),
    "A->C": Method("A->C: LSPET, then COCO", "CCM Table 4: +1.3", on="A->C"),
    "AC->C": Method("AC->C: both, then COCO", "CCM Table 4: +1.5", on="AC->C"),
    "ACH->CH": Method("ACH->CH: with hard negatives", "CCM Table 4: +1.8", on="ACH->CH"),
    "ACHU->CHU": Method("ACHU->CHU: with pseudo labels, too", "CCM Table 4: +2.1", on="ACHU->CHU"),
    "C->C": Method("C->C: COCO in two phases, a control", "nobody", on="C->C"),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all runs of a table share; runs of other settings are another table's."""

    steps: int
    batch: int
    people: int  # of each data set; 0 = all
    dev_people: int  # 0 = all
    teacher: str = RefineConfig.refiner  # whose heatmaps are distilled


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the data is; paths relative to `root`."""

    root: Path
    coco: DatasetConfig
    lspet: DatasetConfig
    negatives: DatasetConfig
    init: str
    dev_gt: str
    dev_images: str


class TrainingSets:
    """The sets that letters stand for, each decoded once.

    C: people of COCO. P: the same with pseudo labels where they have none. A: LSPET. H: hard negatives.
    """

    def __init__(self, layout: Layout, people: int) -> None:
        self.layout, self.people = layout, people

    @cached_property
    def start(self) -> dict[str, Tensor]:
        """The folded ImageNet trunk."""
        return read_start(self.layout.root / self.layout.init)

    def crops(self, letters: str) -> Crops:
        """Return the samples of several sets, one after the other, each as a dataset of its own."""
        parts = [self._set(letter) for letter in letters]
        return joined([replace(p, datasets=torch.full_like(p.datasets, number)) for number, p in enumerate(parts)])

    @cache  # noqa: B019 - lives as long as the command
    def _set(self, letter: str) -> Crops:
        layout = self.layout
        if letter == "A":
            return self._load(replace(layout.lspet, max_people=self.people))
        if letter == "H":
            mined = replace(layout.coco, pseudo="", only_mined=True)
            return self._load(mined, replace(layout.negatives, only_mined=True))
        if letter == "P":
            return self._load(replace(layout.coco, max_people=self.people, mined=""))
        return only_own_labels(self._set("P"))  # the same pictures, in memory once

    def _load(self, *datasets: DatasetConfig) -> Crops:
        return load_crops(self.layout.root, datasets, crop_hw=INPUT_HW)


def only_own_labels(crops: Crops) -> Crops:
    """Forget what another network has labelled; people's labels weigh 1."""
    own = crops.weights == 1
    return replace(crops, weights=crops.weights * own, present=crops.present & own)


@dataclass(frozen=True)
class Dev:
    """What is measured on."""

    truth: GroundTruth
    folder: Path
    layout: Layout

    def measure(self, network: nn.Module, spec: ModelSpec, *, whole: bool) -> dict[str, float]:
        """Return a refiner's figures; changes the network."""
        refiner = Refiner([(fuse_batch_norm(network.eval()), spec)], RefineConfig(), CPU)
        report, found = evaluate_true_boxes(self.truth, self.folder, refiner, batch=32, merge=SCORED)
        figures = {"AP": report.scores.ap, "AP50": report.scores.ap50, "AR": report.scores.ar}
        if whole:
            report, _ = evaluate_pipeline(self.truth, self.folder, replace(self._pipeline, refiner=refiner))
            figures["pipeline_AP"] = report.scores.ap
            figures["somebody"] = ranked_above([person["score"] for person in found], self._nobody_scores(refiner))
        return figures

    @cached_property
    def _pipeline(self) -> Pipeline:
        return load_pipeline(device="cpu", config=PipelineConfig())

    @torch.inference_mode()
    def _nobody_scores(self, refiner: Refiner) -> list[float]:
        """Return the pose scores of boxes on nobody, of pictures held out of training."""
        negatives = self.layout.negatives
        folder, scores = self.layout.root / negatives.images, []
        found = read_boxes(self.layout.root / negatives.mined)
        for path in picture_paths(folder, hold_out=True, held_out=True):
            if boxes := found.get(path.name):
                seen = refiner([read_image(path)], [xywh_to_xyxy(torch.tensor(boxes))], batch=32)
                scores += seen[0][1].mean(dim=1).tolist()
        return scores


def ranked_above(somebody: Sequence[float], nobody: Sequence[float]) -> float:
    """Return how often a score of the first list is above one of the second, ties counting half."""
    if not somebody or not nobody:
        return math.nan
    high, low = torch.tensor(somebody)[:, None], torch.tensor(nobody)
    return float(((high > low).double() + 0.5 * (high == low).double()).mean())


def train(variant: Variant, settings: Settings, seed: int, sets: TrainingSets) -> tuple[nn.Module, ModelSpec]:
    """Train one variant; return the averaged network and its spec."""
    config = variant.config(settings, seed)
    spec = run_spec(config)
    samples = sets.crops(variant.people)
    task = make_task(config, spec, samples, CPU, aids=load_aids(config, samples, sets.layout.root, CPU))
    start = sets.start if config.init else {}
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, spec, task, start=start, folder=Path(folder), workers=Workers(CPU))
        trainer.fit(evaluate=None, report=lambda _: None)
    return trainer.run.ema, spec


@dataclass(frozen=True)
class Run:
    """One finished run: a line of the JSON."""

    variant: str
    seed: int
    settings: Any  # `Settings`, or those of another table
    figures: dict[str, float]
    seconds: float


class Runs:
    """The finished runs of one setting, kept in a file of JSON lines.

    Args:
        path: of the file; runs of other settings, a dataclass of the same kind, stay in it.
        settings: what the runs share.
    """

    def __init__(self, path: Path, settings: Any) -> None:
        self.path, self.settings = path, settings
        lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]  # a killed process may leave half a line
        if len(whole) < len(lines):
            path.write_text("".join(whole), "utf-8")
        runs = [json.loads(line) for line in whole]
        found = [Run(**{**run, "settings": type(settings)(**run["settings"])}) for run in runs]
        self.done = {(run.variant, run.seed): run for run in found if run.settings == settings}

    def add(self, run: Run) -> None:
        """Keep a run."""
        self.done[run.variant, run.seed] = run
        record = {**vars(run), "settings": vars(run.settings)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def has(self, variant: str, seed: int, measures: Set[str]) -> bool:
        """Say whether a run is done with all these figures."""
        return (variant, seed) in self.done and measures <= self.done[variant, seed].figures.keys()

    def figures(self, variant: str, measure: str) -> dict[int, float]:
        """Return a variant's figure by seed."""
        runs = [run for (name, _), run in self.done.items() if name == variant]
        return {run.seed: run.figures[measure] for run in runs if measure in run.figures}


def noise(runs: Runs, measure: str) -> float:
    """Return the standard deviation of a figure between seeds, pooled over all variants; NaN with one seed."""
    names = {name for name, _ in runs.done}
    groups = [list(runs.figures(name, measure).values()) for name in sorted(names)]
    spreads = [(len(group) - 1, variance(group)) for group in groups if len(group) > 1]
    free = sum(count for count, _ in spreads)
    return math.sqrt(sum(count * spread for count, spread in spreads) / free) if free else math.nan


def verdict(gain: float, error: float) -> str:
    """Call a mean gain what it is, given two of its standard errors; NaN without a spread."""
    if not abs(gain) > error:  # NaN included
        return "within noise"
    return "helps" if gain > 0 else "hurts"


def row(method: Method, runs: Runs) -> str | None:
    """Return a method's line of the table, in percent, None before both sides have a run of one seed."""
    on, off = (runs.figures(name, method.measure) for name in (method.on, method.off))
    seeds = sorted(on.keys() & off.keys())
    if not seeds:
        return None
    gains = [on[seed] - off[seed] for seed in seeds]
    sides = [f"{100 * fmean(side[seed] for seed in seeds):.2f}" for side in (off, on)]
    each = ", ".join(f"{100 * gain:+.2f}" for gain in gains)
    gain, error = fmean(gains), 2 * noise(runs, method.measure) * math.sqrt(2 / len(seeds))  # of a difference of means
    shown = f"{100 * gain:+.2f}" + ("" if math.isnan(error) else f" ± {100 * error:.2f}")
    return f"| {method.name} | {method.claim} | {' | '.join(sides)} | {shown} | {each} | {verdict(gain, error)} |"


def table(methods: Iterable[Method], runs: Runs) -> str:
    """Return the Markdown."""
    settings = runs.settings
    people = f"the first {settings.people}" if settings.people else "all"
    lines = [
        "# What each training method is worth at a small scale",
        "",
        f"Made by `examples/claims.py`: prs-tiny at {INPUT_HW[0]}x{INPUT_HW[1]}, {settings.steps} steps of"
        f" {settings.batch} crops a run, {people} people of each data set. Percent, true boxes if not said otherwise,"
        " no flip test. One side of each row is the default recipe on COCO's own labels.",
        "",
        *comparison(methods, runs, "AP"),
    ]
    return "\n".join(lines) + "\n"


def comparison(methods: Iterable[Method], runs: Runs, measure: str) -> list[str]:
    """Return the lines of the table itself, after those on how far a figure differs between seeds."""
    deviation = noise(runs, measure)
    spread = "There is no spread yet: that takes two seeds."
    if not math.isnan(deviation):
        called = measure.replace("_", " ")
        spread = (
            f"Between seeds {called} differs by {100 * deviation:.2f} (standard deviation, pooled over all variants)."
        )
    return [
        f"{spread} A method helps or hurts where its mean gain is beyond two standard errors, which follow the ±.",
        "",
        "| method | claimed by | off | on | gain | each seed | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *filter(None, (row(method, runs) for method in methods)),
    ]


def chosen_methods(names: tuple[str, ...], methods: Mapping[str, Method] = METHODS) -> list[Method]:
    """Return the methods of `--only`, all without it.

    Raises:
        ConfigError: an unknown name.
    """
    if unknown := set(names) - methods.keys():
        raise ConfigError(f"unknown method {min(unknown)!r}; choose from {', '.join(methods)}")
    return [methods[name] for name in names] if names else list(methods.values())


def missing_runs(methods: Sequence[Method], seeds: int, runs: Runs) -> dict[tuple[int, str], bool]:
    """Return seed and variant of what is to be run, and whether more than true boxes is measured.

    Every variant comes with one seed before any comes with the next.
    """
    measures: dict[str, set[str]] = {}
    for method in methods:
        for name in (REFERENCE, method.on, method.off):
            measures.setdefault(name, set()).add(method.measure)
    return {
        (seed, name): wanted != {"AP"}
        for seed in range(1, seeds + 1)
        for name, wanted in measures.items()
        if not runs.has(name, seed, wanted)
    }


def run_all(
    missing: Iterable[tuple[int, str]], runs: Runs, measure: Callable[[str, int], Mapping[str, float]]
) -> Iterator[None]:
    """Do the runs that are missing, given by seed and variant, one at each step of the iteration."""
    todo = list(missing)
    with progress_bar("runs", total=len(todo)) as advance:
        for seed, name in todo:
            started = time.monotonic()
            figures = dict(measure(name, seed))
            runs.add(Run(name, seed, runs.settings, figures, round(time.monotonic() - started, 1)))
            yield
            advance(1)


def layout_of(root: Path, given: Mapping[str, Any]) -> Layout:
    """Return where the data is, from a command's options; what they do not name is not wanted."""
    coco = {name: given.get(name, "") for name in ("images", "annotations", "pseudo", "mined")}
    return Layout(
        root=root,
        coco=DatasetConfig(**coco),
        lspet=DatasetConfig(images=given.get("lspet_images", ""), annotations=given.get("lspet_annotations", "")),
        negatives=DatasetConfig(
            images=given.get("negatives", ""), mined=given.get("mined_negatives", ""), hold_out=True
        ),
        init=given["init"],
        dev_gt=given["dev_gt"],
        dev_images=given["dev_images"],
    )


def _path(name: str, default: str, what: str) -> Callable[[Any], Any]:
    return click.option(name, default=default, show_default=True, help=f"{what}, relative to --data.")


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder that all paths are relative to.")
@_path("--images", "coco/train", "Pictures of people")
@_path("--annotations", "coco/person_keypoints_train.json", "Their COCO annotations")
@_path("--pseudo", "coco/pseudo_keypoints_train.json", "Another network's keypoints of these people")
@_path("--mined", "mined/train.coco.json", "What `posecli infer` wrote for these pictures")
@_path("--lspet-images", "lspet/images", "Pictures of LSPET")
@_path("--lspet-annotations", "lspet/annotations.json", "Their annotations")
@_path("--negatives", "negatives", "Pictures of nobody")
@_path("--mined-negatives", "mined/negatives.coco.json", "What `posecli infer` wrote for them")
@_path("--init", "mobilenet_v2_imagenet_folded.pth", "Folded MobileNet-v2 of ImageNet")
@_path("--dev-gt", "coco/person_keypoints_dev.json", "COCO annotations to measure on")
@_path("--dev-images", "coco/dev", "Their pictures")
@click.option("--teacher", default=RefineConfig.refiner, show_default=True, help="For `distill`; or onnx:FILE.")
@click.option("--only", multiple=True, metavar="METHOD", help=f"Only this one; several times: {', '.join(METHODS)}.")
@click.option("--steps", type=click.IntRange(1), default=400, show_default=True, help="Of each run.")
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Crops a step.")
@click.option("--seeds", type=click.IntRange(1), default=2, show_default=True, help="Runs of each variant.")
@click.option("--people", type=click.IntRange(0), default=0, help="Only so many of each data set.  [default: all]")
@click.option("--dev-people", type=click.IntRange(0), default=0, help="Only so many to measure on.  [default: all]")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("claims.md"), show_default=True)
def main(data: Path, out: Path, only: tuple[str, ...], seeds: int, **given: Any) -> None:
    """Write the table of what each training method is worth; the runs go to OUT's name with .jsonl."""
    methods = chosen_methods(only)
    settings = Settings(**{name: given[name] for name in ("steps", "batch", "people", "dev_people", "teacher")})
    layout = layout_of(data, given)
    torch.set_num_threads(1)
    truth = load_ground_truth(data / layout.dev_gt)
    if settings.dev_people:
        truth = only_first(truth, settings.dev_people)
    runs = Runs(out.with_suffix(".jsonl"), settings)
    sets, dev = TrainingSets(layout, settings.people), Dev(truth, data / layout.dev_images, layout)
    missing = missing_runs(methods, seeds, runs)

    def measure(name: str, seed: int) -> Mapping[str, float]:
        return dev.measure(*train(VARIANTS[name], settings, seed, sets), whole=missing[seed, name])

    for _ in run_all(missing, runs, measure):
        write(out, table(methods, runs))
    write(out, table(methods, runs))


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    main()
