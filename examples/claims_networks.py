"""What the parts of the papers' networks are worth, on your data: each in and out, equal budgets, several seeds.

    python examples/claims_networks.py --data DATA -o examples/claims_networks.md

CPN, CCM and PCR are trained at 128x96 on a MobileNet-v2 that knows ImageNet, the only trunk small enough for so many
runs on a CPU, so what their tables say of a ResNet's dilation is not asked. A network with all its parts is one side of
each comparison, the same without one of them the other. The ensemble averages the heatmaps of all three, its other side
is each of them alone; PoseFix, a small ResNet from random weights, corrects the ensemble's poses. It learns to undo the
mistakes of its paper's networks, or those that the ensemble makes on people of the training set.

Runs are kept beside the table as JSON lines, as those of examples/claims.py, whose data, figures and verdicts these
are.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import torch
from claims import (
    CPU,
    INPUT_HW,
    SCORED,
    Method,
    Runs,
    TrainingSets,
    chosen_methods,
    comparison,
    layout_of,
    run_all,
    write,
)
from torch import Tensor, nn

from posecli.config import DatasetConfig, RefineConfig, TrainConfig
from posecli.engines.dev import only_first
from posecli.engines.evaluate import evaluate_true_boxes
from posecli.evaluation import GroundTruth, breakdown, check_results, load_ground_truth, pack, score
from posecli.networks import ModelSpec, fuse_batch_norm, get_spec
from posecli.networks._mobilenet import MobileNetV2
from posecli.networks._resnet import ResNet
from posecli.networks.ccm import CascadedContextMixer
from posecli.networks.cpn import CascadedPyramidNetwork
from posecli.networks.pcr import ProgressiveContextRefinement
from posecli.networks.posefix import PoseFix
from posecli.runtime import Workers
from posecli.stages.refine import Refiner
from posecli.training.disturb import possible_mistakes, read_mistakes
from posecli.training.loop import Trainer
from posecli.training.samples import Crops
from posecli.training.tasks import Aids, make_task

_MOBILE = partial(MobileNetV2, whole=True)
_WIDTHS = (128, 96, 64)  # of the mixers, as CCM and PCR have them on ResNet-152
_PLAIN = ModelSpec(name="", kind="refiner", build=nn.Identity, input_hw=INPUT_HW)  # how the trunk wants its pictures


@dataclass(frozen=True)
class Family:
    """A paper's network on the small trunk."""

    like: str  # whose heatmaps it has
    build: Callable[..., nn.Module]

    def spec(self, **parts: Any) -> ModelSpec:
        """Return the network with some of its parts changed."""
        known = replace(get_spec(self.like), build=partial(self.build, **parts), input_hw=INPUT_HW)
        if known.takes_prior:  # starts from random weights, whatever the pictures are like
            return known
        return replace(known, bgr=_PLAIN.bgr, mean=_PLAIN.mean, std=_PLAIN.std)


CPN = Family("cpn-r50", partial(CascadedPyramidNetwork, _MOBILE))
CCM = Family("ccm-mobilenetv2", partial(CascadedContextMixer, _MOBILE, widths=_WIDTHS))
PCR = Family("pcr-r50", partial(ProgressiveContextRefinement, _MOBILE, widths=_WIDTHS))
POSEFIX = Family("posefix-r50", partial(PoseFix, partial(ResNet, (1, 1, 1, 1)), width=64))

NETWORKS: dict[str, ModelSpec] = {
    "CPN": CPN.spec(),
    "CPN, levels joined as they are": CPN.spec(refine="concat"),
    "GlobalNet": CPN.spec(refine="none"),
    "CCM": CCM.spec(),
    "CCM without SE": CCM.spec(se=False),
    "CCM without HDC": CCM.spec(hdc=False),
    "CCM without auxiliary decoder": CCM.spec(auxiliary=False),
    "PCR": PCR.spec(),
    "PCR of one level": PCR.spec(levels=1),
    "PCR without auxiliary task": PCR.spec(auxiliary=False),
    "PoseFix": POSEFIX.spec(),
    "PoseFix of own mistakes": POSEFIX.spec(),
}
_OWN = "PoseFix of own mistakes"
_MEASURED_ON = 600  # people of the training set, on whom the ensemble's mistakes are counted


@dataclass(frozen=True)
class Variant:
    """What finds the poses: networks whose heatmaps are averaged, and perhaps one that corrects what they find."""

    members: tuple[str, ...]
    posefix: str | None = None


_ALL = ("CPN", "CCM", "PCR")
VARIANTS = {name: Variant((name,)) for name, spec in NETWORKS.items() if not spec.takes_prior} | {
    "ensemble": Variant(_ALL),
    "ensemble and PoseFix": Variant(_ALL, "PoseFix"),
    "ensemble and own PoseFix": Variant(_ALL, _OWN),
}

METHODS = {
    "refinenet": Method("RefineNet behind GlobalNet", "CPN Table 5: +2.0", on="CPN", off="GlobalNet"),
    "cascade": Method(
        "RefineNet's bottlenecks, more on smaller levels",
        "CPN Table 6: +.5",
        on="CPN",
        off="CPN, levels joined as they are",
    ),
    "se": Method("squeeze and excitation in the mixers", "CCM Table 2", on="CCM", off="CCM without SE"),
    "hdc": Method("hybrid dilated convolutions in the mixers", "CCM Table 2", on="CCM", off="CCM without HDC"),
    "auxiliary": Method("auxiliary decoder", "CCM Table 2", on="CCM", off="CCM without auxiliary decoder"),
    "pcr": Method("two levels of refinement", "PCR Table 3", on="PCR", off="PCR of one level"),
    "pcr-auxiliary": Method("auxiliary task", "PCR Table 3", on="PCR", off="PCR without auxiliary task"),
    "ensemble-cpn": Method("CPN, CCM and PCR averaged, against CPN", "CCM Table 8: +.9", on="ensemble", off="CPN"),
    "ensemble-ccm": Method("CPN, CCM and PCR averaged, against CCM", "CCM Table 8: +.9", on="ensemble", off="CCM"),
    "ensemble-pcr": Method("CPN, CCM and PCR averaged, against PCR", "CCM Table 8: +.9", on="ensemble", off="PCR"),
    "posefix": Method(
        "PoseFix behind the ensemble",
        "Refine-50 report Table 4: +.3 to +.7",
        on="ensemble and PoseFix",
        off="ensemble",
    ),
    "own-mistakes": Method(
        "PoseFix of the ensemble's own mistakes", "posecli's own", on="ensemble and own PoseFix", off="ensemble"
    ),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all runs of a table share; runs of other settings are another table's."""

    steps: int
    batch: int
    people: int  # 0 = all
    dev_people: int  # 0 = all


class Laboratory:
    """Trains networks, each with each seed once, and measures what they find."""

    def __init__(self, settings: Settings, sets: TrainingSets, truth: GroundTruth, folder: Path) -> None:
        self.settings, self.sets, self.truth, self.folder = settings, sets, truth, folder

    @cache  # noqa: B019 - lives as long as the command
    def trained(self, name: str, seed: int) -> nn.Module:
        """Return a network's averaged weights, ready to answer."""
        spec, settings = NETWORKS[name], self.settings
        config = TrainConfig(
            network=spec.name,
            datasets=(DatasetConfig(images="P"),),
            steps=settings.steps,
            batch=settings.batch,
            warmup=min(50, settings.steps // 4),
            learning_rate=2e-3,
            optimizer="muon",
            input_hw=INPUT_HW,
            init="" if spec.takes_prior else "ImageNet",
            seed=seed,
        )
        crops = self.sets.crops("P")
        mistakes = self._mistakes(seed, crops) if name == _OWN else None
        task = make_task(config, spec, crops, CPU, aids=Aids(mistakes=mistakes))
        start = self.sets.start if config.init else {}
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(config, spec, task, start=start, folder=Path(folder), workers=Workers(CPU))
            trainer.fit(evaluate=None, report=lambda _: None)
        return fuse_batch_norm(trainer.run.ema.eval())

    def _mistakes(self, seed: int, crops: Crops) -> Tensor:
        """Count the ensemble's mistakes on some of those whom it was trained on, as `disturb` wants them."""
        layout = self.sets.layout
        known = only_first(load_ground_truth(layout.root / layout.coco.annotations), _MEASURED_ON)
        members = [(self.trained(name, seed), NETWORKS[name]) for name in _ALL]
        refiner = Refiner(members, RefineConfig(), CPU)
        _, found = evaluate_true_boxes(known, layout.root / layout.coco.images, refiner, batch=32, merge=SCORED)
        errors = breakdown(score(pack(known, check_results(found, known)))).as_dict()
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.json"
            report.write_text(json.dumps({"breakdown": errors}), "utf-8")
            return possible_mistakes(read_mistakes(report), crops.present, crops.near_labelled)

    def measure(self, name: str, seed: int) -> dict[str, float]:
        """Return a variant's figures with true boxes."""
        variant = VARIANTS[name]
        members = [(self.trained(name, seed), NETWORKS[name]) for name in variant.members]
        fixing = (self.trained(variant.posefix, seed), NETWORKS[variant.posefix]) if variant.posefix else None
        refiner = Refiner(members, RefineConfig(), CPU, posefix=fixing)
        report, _ = evaluate_true_boxes(self.truth, self.folder, refiner, batch=32, merge=SCORED)
        return {"AP": report.scores.ap, "AP50": report.scores.ap50, "AR": report.scores.ar}


def missing_runs(methods: list[Method], seeds: int, runs: Runs) -> list[tuple[int, str]]:
    """Return seed and variant of what is to be run, a seed after the other."""
    names = list(dict.fromkeys(name for method in methods for name in (method.off, method.on)))
    return [(seed, name) for seed in range(1, seeds + 1) for name in names if not runs.has(name, seed, {"AP"})]


def table(methods: list[Method], runs: Runs) -> str:
    """Return the Markdown."""
    settings = runs.settings
    lines = [
        "# What the parts of the papers' networks are worth at a small scale",
        "",
        f"Made by `examples/claims_networks.py`: {INPUT_HW[0]}x{INPUT_HW[1]}, {settings.steps} steps of"
        f" {settings.batch} crops a run, MobileNet-v2 with an ImageNet start as the trunk, people of COCO with another"
        " network's keypoints where they have none. AP in percent, true boxes, no flip test.",
        "",
        *comparison(methods, runs, "AP"),
    ]
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder that all paths are relative to.")
@click.option("--images", default="coco/train", show_default=True, help="Pictures of people, relative to --data.")
@click.option("--annotations", default="coco/person_keypoints_train.json", show_default=True)
@click.option("--pseudo", default="coco/pseudo_keypoints_train.json", show_default=True)
@click.option("--init", default="mobilenet_v2_imagenet_folded.pth", show_default=True)
@click.option("--dev-gt", default="coco/person_keypoints_dev.json", show_default=True)
@click.option("--dev-images", default="coco/dev", show_default=True)
@click.option("--only", multiple=True, metavar="METHOD", help=f"Only this one; several times: {', '.join(METHODS)}.")
@click.option("--steps", type=click.IntRange(1), default=300, show_default=True, help="Of each run.")
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Crops a step.")
@click.option("--seeds", type=click.IntRange(1), default=2, show_default=True, help="Runs of each variant.")
@click.option("--people", type=click.IntRange(0), default=0, help="Only so many to train on.  [default: all]")
@click.option("--dev-people", type=click.IntRange(0), default=0, help="Only so many to measure on.  [default: all]")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("claims_networks.md"), show_default=True)
def main(data: Path, out: Path, only: tuple[str, ...], seeds: int, **given: Any) -> None:
    """Write the table of what each part is worth; the runs go to OUT's name with .jsonl."""
    torch.set_num_threads(1)
    methods = chosen_methods(only, METHODS)
    settings = Settings(**{name: given[name] for name in ("steps", "batch", "people", "dev_people")})
    layout = layout_of(data, given)
    truth = load_ground_truth(data / layout.dev_gt)
    if settings.dev_people:
        truth = only_first(truth, settings.dev_people)
    runs = Runs(out.with_suffix(".jsonl"), settings)
    laboratory = Laboratory(settings, TrainingSets(layout, settings.people), truth, data / layout.dev_images)
    for _ in run_all(missing_runs(methods, seeds, runs), runs, laboratory.measure):
        write(out, table(methods, runs))
    write(out, table(methods, runs))


if __name__ == "__main__":
    main()
