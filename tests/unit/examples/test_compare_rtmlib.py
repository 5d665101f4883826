import numpy as np
import pytest
import torch

from posecli.backends.onnx import load_onnx


@pytest.fixture
def script(load_example):
    return load_example("compare_rtmlib")


def test_agreement_counts_people_without_a_partner_as_differing(script):
    box = [100.0, 50.0, 253.6, 254.8]
    theirs = np.random.default_rng(0).uniform(100, 200, (17, 2))
    mine = theirs + 0.5
    mine[0] += 40
    own = [{"image_id": 2, "bbox": [100.0, 50.0, 153.6, 204.8], "points": mine.tolist()}]
    person = {"box": box, "keypoints": theirs.tolist(), "scores": [0.9] * 4 + [0.1] * 13}

    found = script.agreement(own, [[person], [person]])

    assert (found["people"], found["without_partner"]) == (2, 1)
    assert found["within_1_px"] == pytest.approx(16 / 34)
    assert found["within_1_px_of_those_drawn"] == pytest.approx(3 / 8)
    assert script.agreement([], [[]]) == {
        "people": 0, "without_partner": 0, "within_1_px": 0, "within_1_px_of_those_drawn": 0,
    }  # fmt: skip


def test_speeds_are_medians_with_and_without_start_up(script):
    rows = np.array([[[11.0, 15.0], [21.0, 30.0]], [[12.0, 15.0], [22.0, 30.0]], [[50.0, 15.0], [23.0, 30.0]]])

    told = script.speeds(101, np.array([[2.0, 3.0], [1.0, 1.0]]), rows)

    assert (told["posecli_fps"], told["rtmlib_fps"]) == (pytest.approx(101 / 12), pytest.approx(101 / 22))
    assert (told["ratio"], told["ratio_after_start_up"]) == (pytest.approx(22 / 12), pytest.approx(21 / 10))
    assert told["ratio_of_each_round"] == pytest.approx([21 / 11, 22 / 12, 23 / 50])
    assert told["posecli_cpu_ms_a_frame"] == pytest.approx(1000 * 15 / 101)


def test_each_way_to_read_the_heatmaps_is_one_that_posecli_knows(script, tmp_path):
    pytest.importorskip("onnx")
    from onnx_files import heatmap_net

    heatmap_net(tmp_path / "net.onnx")
    networks = [
        script.beside(tmp_path / "net.onnx", toml, tmp_path / str(i)) for i, toml in enumerate(script.WAYS.values())
    ]

    specs = [load_onnx(name, device=torch.device("cpu"), kinds=["refiner"])[1] for name in networks]

    assert [(spec.bgr, spec.half_pixel, spec.codec.spacing) for spec in specs] == [
        (False, True, "stride"), (True, False, "stretched"), (False, False, "stretched"),
    ]  # fmt: skip
