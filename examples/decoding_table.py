"""Repeat Tables 5 and 6 of CCM with a refiner of posecli's: what each way of decoding and merging is worth.

    python examples/decoding_table.py --gt person_keypoints_val2017.json --images val2017

The refiner sees every crop and its mirror image once; all rows are decoded from the same heatmaps. The boxes are those
of the detector after a weak hard NMS, so that a person has several, as in the paper. Columns as there: SOA is how the
top is found between the cells, soft-NMS the fusion of Eq. (20) in place of OKS NMS, SSP the shift in cells (alpha of
Eq. (22)) of the mirrored crop's heatmaps (- is no flip test), GF a Gaussian filter of the heatmaps. Which alpha is best
follows from the refiner's codec, see `geometry.heatmaps.flip_merge`: 0 where cells stand for their middle.

Source: Zhang et al., "Towards High Performance Human Keypoint Detection", IJCV 2021, section 6.2.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path

import click
import torch
from torch import Tensor, nn

from posecli.cli._progress import progress_bar
from posecli.config import FilterConfig, MergeConfig, PipelineConfig, RefineConfig
from posecli.engines.evaluate import picture_frames, result
from posecli.evaluation import CocoScores, GroundTruth, check_results, keypoint_scores, load_ground_truth
from posecli.geometry.affine import crop_matrices, transform_points
from posecli.geometry.boxes import fit_aspect
from posecli.geometry.heatmaps import HeatmapCodec, flip_merge
from posecli.networks import ModelSpec, load_network
from posecli.pipeline import Pipeline, load_pipeline
from posecli.records import Candidates
from posecli.skeleton import MIRROR
from posecli.stages.merge import merge
from posecli.stages.refine import People

PAPER = ("none", "quarter", "parabola", "paraboloid")
_BATCH = 16  # crops
NAMES = {"none": "-", "quarter": "0.25"}


@dataclass(frozen=True)
class Decoding:
    """How heatmaps become points."""

    subpixel: str
    alpha: float | None = None  # None: no flip test
    blurred: bool = False


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    decoding: Decoding
    fused: bool = False


def paper_rows() -> list[Row]:
    """Return the rows of Tables 5 and 6, in their order."""
    blocks: tuple[tuple[bool, float | None, bool], ...] = (
        (False, None, False), (True, None, False), (False, 1.0, False), (False, None, True), (True, 1.0, True),
    )  # fmt: skip
    rows = [Row(Decoding(name, alpha, blurred), fused) for fused, alpha, blurred in blocks for name in PAPER]
    return rows + [Row(Decoding("parabola", alpha, True), fused=True) for alpha in (0.8, 0.6, 0.4, 0.2, 0.0)]


def more_rows() -> list[Row]:
    """Return rows that the paper does not have: posecli's other methods, and the flip test without a shift."""
    others = ("second_peak", "log_parabola", "dark")
    plain = [Row(Decoding(name, None, blurred)) for blurred in (False, True) for name in others]
    return plain + [Row(Decoding(name, 0.0, blurred)) for blurred in (False, True) for name in (*PAPER, *others)]


Poses = dict[Decoding, tuple[Tensor, Tensor]]  # (N, K, 2) points in image pixels and (N, K) scores, in each way


@dataclass
class Decoded:
    """Everything that the rows are made of, picture by picture."""

    image_ids: list[int] = field(default_factory=list)
    people: list[Candidates] = field(default_factory=list)
    poses: list[Poses] = field(default_factory=list)

    def scores(self, row: Row, truth: GroundTruth) -> CocoScores:
        """Merge one row's poses and score them."""
        config = MergeConfig(pose_nms="fusion" if row.fused else "hard")
        results = []
        for image_id, people, poses in zip(self.image_ids, self.people, self.poses, strict=True):
            merged = merge(people, *poses[row.decoding], config)
            columns = (merged.keypoints, merged.keypoint_scores, merged.scores.tolist())
            results += [result(image_id, *person) for person in zip(*columns, strict=True)]
        return keypoint_scores(truth, check_results(results, truth))


def codec_of(decoding: Decoding, spec: ModelSpec, *, blur: int) -> HeatmapCodec:
    """Return the refiner's codec with this decoding."""
    return replace(spec.codec, subpixel=decoding.subpixel, blur=blur if decoding.blurred else 0)


def decoded(people: People, network: nn.Module, spec: ModelSpec, codecs: dict[Decoding, HeatmapCodec]) -> Poses:
    """Run the refiner on people's crops and their mirror images, and read its answers in every way."""
    height, width = spec.input_hw
    windows = fit_aspect(people.boxes, aspect=width / height, margin=spec.margin)
    matrices = crop_matrices(windows, crop_hw=spec.input_hw)
    inputs = spec.normalise(people.crops(matrices, spec) / 255)
    mirrored = inputs.flip(-1).contiguous(memory_format=torch.channels_last)
    plain, turned = (spec.codec.activate(network(crops)[-1]) for crops in (inputs, mirrored))
    averages: dict[float | None, Tensor] = {None: plain}
    poses = {}
    for decoding, codec in codecs.items():
        alpha = decoding.alpha
        if alpha is not None and alpha not in averages:
            averages[alpha] = flip_merge(plain, turned, MIRROR, shift=alpha)
        points, scores = codec.decode(averages[alpha])
        poses[decoding] = (transform_points(points, matrices), scores)
    return poses


@torch.inference_mode()
def decode_all(truth: GroundTruth, images: Path, pipeline: Pipeline, read: Callable[[People], Poses]) -> Decoded:
    """Find the people of all pictures and read their poses in every way."""
    done = Decoded()
    with progress_bar("pictures", total=len(truth.images), quiet=False) as advance:
        for image_id, frame in picture_frames(truth, images):
            (proposals,) = pipeline.proposer([frame])
            people = pipeline.select(proposals, (frame.width, frame.height))
            if len(people) and frame.image is not None:
                parts = people.boxes.split(_BATCH)
                read_parts = [read(People([frame.image], [0] * len(boxes), boxes)) for boxes in parts]
                done.image_ids.append(image_id)
                done.people.append(people)
                done.poses.append({key: _joined([part[key] for part in read_parts]) for key in read_parts[0]})
            advance(1)
    return done


def _joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    points, scores = zip(*parts, strict=True)
    return torch.cat(points), torch.cat(scores)


def line(row: Row, scores: CocoScores) -> str:
    """Return one row as Markdown, in percent."""
    decoding = row.decoding
    alpha = "-" if decoding.alpha is None else f"{decoding.alpha:g}"
    settings = [NAMES.get(decoding.subpixel, decoding.subpixel), "X" if row.fused else "-", alpha]
    settings.append("X" if decoding.blurred else "-")
    columns = astuple(scores)[:10]
    return f"| {' | '.join(settings)} | {' | '.join('-' if x is None else f'{100 * x:.1f}' for x in columns)} |"


def gains(found: dict[Row, CocoScores]) -> list[tuple[str, float]]:
    """Return what each technique adds to the plain row when it comes alone, in AP percent, best first."""
    plain = Decoding("none")
    alone = {
        "SOA (parabola)": Row(Decoding("parabola")),
        "soft-NMS": Row(plain, fused=True),
        "SSP (alpha 1)": Row(replace(plain, alpha=1.0)),
        "SSP (alpha 0)": Row(replace(plain, alpha=0.0)),
        "GF": Row(replace(plain, blurred=True)),
    }
    rows = [(name, 100 * (found[row].ap - found[Row(plain)].ap)) for name, row in alone.items()]
    return sorted(rows, key=lambda entry: -entry[1])


@click.command()
@click.option("--gt", type=click.Path(path_type=Path), required=True, help="COCO dataset with keypoints.")
@click.option("--images", type=click.Path(path_type=Path), required=True, help="Folder of its pictures.")
@click.option("--refiner", default=RefineConfig.refiner, show_default=True, help="Refinement network.")
@click.option("--weights", type=click.Path(path_type=Path), help="Its weights, if not those of posecli.")
@click.option("--max-box-iou", default=0.8, show_default=True, help="Of the hard NMS before the refiner.")
@click.option("--blur", default=5, show_default=True, help="Kernel of GF, odd.")
def main(gt: Path, images: Path, refiner: str, weights: Path | None, max_box_iou: float, blur: int) -> None:
    """Print CCM's Tables 5 and 6 for a refiner of posecli's."""
    truth = load_ground_truth(gt)
    filtering = FilterConfig(filter=False, max_box_iou=max_box_iou)
    pipeline = load_pipeline(PipelineConfig(filtering=filtering), device="cpu")
    network, spec = load_network(refiner, weights, kind="refiner")
    rows = [*paper_rows(), *more_rows()]
    codecs = {row.decoding: codec_of(row.decoding, spec, blur=blur) for row in rows}
    done = decode_all(truth, images, pipeline, lambda people: decoded(people, network, spec, codecs))
    runs = sum(len(people) for people in done.people)
    click.echo(f"{refiner}, {len(truth.images)} pictures, {runs / max(1, truth.num_annotated):.2f} boxes a person\n")
    click.echo("| SOA | Soft-NMS | SSP | GF | AP | AP50 | AP75 | APM | APL | AR | AR50 | AR75 | ARM | ARL |")
    click.echo("|" + " --- |" * 14)
    found = {}
    for row in rows:
        found[row] = done.scores(row, truth)
        click.echo(line(row, found[row]))
    told = ", ".join(f"{name} {gain:+.1f}" for name, gain in gains(found))
    click.echo(f"\nAlone, in AP: {told}.")


if __name__ == "__main__":
    main()
