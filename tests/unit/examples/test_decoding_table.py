"""The table's rows are the paper's, and its poses are those of the refiner."""

from dataclasses import replace

import pytest
import torch

from posecli.config import RefineConfig
from posecli.evaluation import check_ground_truth
from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks import ModelSpec
from posecli.records import Candidates
from posecli.stages.refine import People, Refiner

BOXES = torch.tensor([[10.0, 5.0, 60.0, 90.0], [30.0, 20.0, 110.0, 80.0]])


@pytest.fixture(scope="module")
def table(load_example):
    return load_example("decoding_table")


class Smooth(torch.nn.Module):
    """Answers smoothed crops: maps with tops anywhere."""

    def forward(self, crops):
        maps = torch.nn.functional.avg_pool2d(crops, 15, 4, 7)
        return (torch.cat([maps.roll(shift, dims=1) for shift in range(6)], dim=1)[:, :17],)


def test_rows_are_those_of_the_papers_tables(table):
    rows = table.paper_rows()

    assert len(rows) == len(set(rows)) == 25
    told = {(row.decoding.subpixel, row.fused, row.decoding.alpha, row.decoding.blurred) for row in rows}
    for name in ("none", "quarter", "parabola", "paraboloid"):
        assert (name, False, None, False) in told
        assert (name, True, 1.0, True) in told
    assert [row.decoding.alpha for row in rows[-5:]] == [0.8, 0.6, 0.4, 0.2, 0.0]


@pytest.mark.parametrize("alpha", [None, 0.0, 0.6])
@pytest.mark.parametrize(("subpixel", "blurred"), [("none", False), ("paraboloid", True)])
def test_decoded_poses_are_the_refiners(table, alpha, subpixel, blurred):
    spec = ModelSpec(name="smooth", kind="refiner", build=Smooth, input_hw=(128, 96), codec=HeatmapCodec(blur=9))
    image = torch.randint(0, 256, (100, 120, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    decoding = table.Decoding(subpixel, alpha, blurred)
    config = RefineConfig(subpixel=subpixel, blur=5 if blurred else 0, flip_test=alpha is not None, flip_shift=alpha)

    poses = table.decoded(
        People([image], [0, 0], BOXES), Smooth(), spec, {decoding: table.codec_of(decoding, spec, blur=5)}
    )

    ((points, scores),) = Refiner([(Smooth(), spec)], config, torch.device("cpu"))([image], [BOXES], batch=2)
    torch.testing.assert_close(poses[decoding], (points, scores), rtol=0, atol=1e-4)


def test_fused_rows_are_scored_with_fused_poses(table):
    truth_points = torch.rand(1, 17, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([200.0, 300.0])
    keypoints = torch.cat((truth_points[0], torch.full((17, 1), 2.0)), dim=1).flatten().tolist()
    person = {
        "id": 1, "image_id": 7, "category_id": 1, "iscrowd": 0, "area": 4000.0, "num_keypoints": 17,
        "bbox": [0.0, 0.0, 200.0, 300.0], "keypoints": keypoints,
    }  # fmt: skip
    truth = check_ground_truth(
        {
            "images": [{"id": 7, "width": 640, "height": 480}],
            "annotations": [person],
            "categories": [{"id": 1, "name": "person"}],
        },
        name="truth",
    )
    apart = 8 * torch.tensor([[[1.0, 0.0]], [[-1.0, 0.0]]])  # two poses, one on either side of the truth
    seen = torch.zeros(2, 17)
    boxes = torch.tensor([[0.0, 0.0, 1000.0, 1000.0]]).expand(2, 4)  # large ones: the poses are alike
    people = Candidates(boxes, torch.tensor([0.9, 0.8]), torch.zeros(2, 17, 2), seen, ("proposal",) * 2)
    decoding = table.Decoding("none")
    done = table.Decoded([7], [people], [{decoding: (truth_points + apart, torch.ones(2, 17))}])

    dropped = done.scores(table.Row(decoding), truth)
    fused = done.scores(table.Row(decoding, fused=True), truth)

    assert dropped.ap < 0.95 * fused.ap
    assert fused.num_results == dropped.num_results == 1


def test_gains_are_what_each_technique_adds_alone_best_first(table):
    rows = [*table.paper_rows(), *table.more_rows()]
    aps = dict.fromkeys(rows, 0.5)
    plain = table.Decoding("none")
    aps[table.Row(plain)] = 0.4
    aps[table.Row(table.Decoding("parabola"))] = 0.42
    aps[table.Row(replace(plain, alpha=1.0))] = 0.39

    told = table.gains({row: type("Scores", (), {"ap": ap}) for row, ap in aps.items()})

    assert [name for name, _ in told] == ["soft-NMS", "SSP (alpha 0)", "GF", "SOA (parabola)", "SSP (alpha 1)"]
    assert [gain for _, gain in told] == pytest.approx([10, 10, 10, 2, -1])
