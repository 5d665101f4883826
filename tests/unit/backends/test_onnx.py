"""ONNX files behind our contracts, read by what they answer and by what is told beside them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from posecli.backends import onnx
from posecli.backends.onnx import load_onnx
from posecli.config import DetectConfig, PipelineConfig, RefineConfig
from posecli.errors import ConfigError, WeightsError
from posecli.pipeline import load_pipeline
from posecli.records import Frame

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx_files import constant_net, heatmap_net, simcc_net

CPU = torch.device("cpu")


def test_heatmaps_come_in_the_networks_size_and_the_spec_says_how(tmp_path):
    network, spec = load_onnx(heatmap_net(tmp_path / "a.onnx"), device=CPU, kinds=["refiner"])
    crops = torch.rand(3, 3, 64, 48)
    (heatmaps,) = network(crops)

    assert (spec.kind, spec.input_hw, spec.codec.stride, spec.bgr) == ("refiner", (64, 48), 4, False)
    wanted = torch.nn.functional.avg_pool2d(crops[:, :1], 4).expand(3, 17, 16, 12)
    torch.testing.assert_close(heatmaps, wanted)


def test_a_fixed_batch_is_filled_up(tmp_path):
    free, _ = load_onnx(heatmap_net(tmp_path / "a.onnx"), device=CPU, kinds=["refiner"])
    fixed, _ = load_onnx(heatmap_net(tmp_path / "b.onnx", batch=2), device=CPU, kinds=["refiner"])
    crops = torch.rand(5, 3, 64, 48)

    torch.testing.assert_close(fixed(crops)[0], free(crops)[0])


def test_simcc_finds_the_pixel_and_its_score(tmp_path):
    network, spec = load_onnx(simcc_net(tmp_path / "a.onnx"), device=CPU, kinds=["refiner"])
    crops = torch.zeros(1, 3, 64, 48)
    crops[0, 0, 20, 30] = 0.8
    points, scores = spec.codec.decode(network(crops)[0])

    assert spec.codec.stride == 1
    torch.testing.assert_close(points[0, 0], torch.tensor([30.0, 20.0]), rtol=0, atol=0.01)
    assert float(scores[0, 0]) == pytest.approx(0.8)


def test_rtmdet_gives_the_people_in_the_pictures_pixels(tmp_path):
    dets = np.array([[[2, 4, 10, 20, 0.9], [1, 1, 5, 5, 0.8]]], np.float32)
    name = constant_net(tmp_path / "a.onnx", {"dets": dets, "labels": np.array([[0, 7]], np.int64)})
    network, spec = load_onnx(name, device=CPU, kinds=["detector"])
    ((boxes, scores),) = network([torch.full((3, 64, 32), 9, dtype=torch.uint8)])  # shrunk to half

    assert spec.bgr
    torch.testing.assert_close(boxes, torch.tensor([[4.0, 8.0, 20.0, 40.0]]))
    torch.testing.assert_close(scores, torch.tensor([0.9]))


def test_a_detector_sees_opencvs_smaller_picture(tmp_path, monkeypatch):
    """Every other pixel's mean is rounded down, up or not, as OpenCV does, and the rest is the family's grey."""
    dets, labels = np.zeros((1, 1, 5), np.float32), np.zeros((1, 1), np.int64)
    network, spec = load_onnx(
        constant_net(tmp_path / "a.onnx", {"dets": dets, "labels": labels}), device=CPU, kinds=["detector"]
    )
    picture, seen = (
        torch.randint(0, 256, (3, 45, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
        [],
    )
    monkeypatch.setattr(onnx, "answer", lambda session, images: seen.append(images) or [dets, torch.zeros(1, 0)])
    monkeypatch.setattr(network, "_read", lambda outputs: (torch.zeros(0, 4), torch.zeros(0)))

    network([picture])

    back = seen[0] * torch.tensor(spec.std).view(3, 1, 1) + torch.tensor(spec.mean).view(3, 1, 1)
    grey = (255 * back[0].flip(0)).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(grey[:22], cv2.resize(picture.permute(1, 2, 0).numpy(), (32, 22)), atol=1e-3)
    np.testing.assert_allclose(grey[22:], 114, atol=1e-3)


def test_yolox_cells_become_boxes(tmp_path):
    rows = np.zeros((1, 16 + 4 + 1, 85), np.float32)  # strides 8, 16, 32 of 32 x 32 pixels
    rows[0, 5, :6] = (0.5, 0.25, np.log(2), np.log(1), 0.9, 0.5)  # stride 8, cell (1, 1)
    network, _ = load_onnx(constant_net(tmp_path / "a.onnx", {"output": rows}), device=CPU, kinds=["detector"])
    ((boxes, scores),) = network([torch.full((3, 32, 32), 9, dtype=torch.uint8)])

    torch.testing.assert_close(boxes[0], torch.tensor([4.0, 6.0, 20.0, 14.0]))  # centre (12, 10), 16 x 8
    assert float(scores[0]) == pytest.approx(0.45)


def test_heads_without_nms_become_boxes(tmp_path):
    classes = {stride: np.full((1, 1, 32 // stride, 32 // stride), -8.0, np.float32) for stride in (8, 16, 32)}
    sides = {stride: np.ones((1, 4, 32 // stride, 32 // stride), np.float32) for stride in (8, 16, 32)}
    classes[16][0, 0, 1, 0] = np.log(3)  # a probability of 3 / 4 at x 0, y 16
    sides[16][0, :, 1, 0] = (0, 10, 20, 12)
    heads = {f"cls{stride}": item for stride, item in classes.items()}
    heads |= {f"box{stride}": item for stride, item in sides.items()}
    network, spec = load_onnx(constant_net(tmp_path / "a.onnx", heads), device=CPU, kinds=["detector"])
    ((boxes, scores),) = network([torch.full((3, 64, 32), 9, dtype=torch.uint8)])  # shrunk to half

    assert spec.bgr
    torch.testing.assert_close(boxes[0], torch.tensor([0.0, 12.0, 40.0, 56.0]))
    assert float(scores[0]) == pytest.approx(0.75)
    assert len(scores) == 21
    assert (scores[1:] < 0.001).all()


def test_a_toml_beside_the_file_has_the_last_word(tmp_path):
    name = heatmap_net(tmp_path / "a.onnx")
    (tmp_path / "a.toml").write_text("bgr = true\nmean = [0.0, 0.0, 0.0]\n[codec]\noffset = 1.5\nblur = 5\n")
    _, spec = load_onnx(name, device=CPU, kinds=["refiner"])

    assert (spec.bgr, spec.mean, spec.codec.offset, spec.codec.blur) == (True, (0, 0, 0), 1.5, 5)


def test_a_toml_tells_another_programs_crops_and_cells(tmp_path):
    name = heatmap_net(tmp_path / "a.onnx")
    text = "half_pixel = false\nrounded = false\n[codec]\nspacing = 'stretched'\nsubpixel = 'dark_udp'\n"
    (tmp_path / "a.toml").write_text(text)
    _, spec = load_onnx(name, device=CPU, kinds=["refiner"])

    assert (spec.half_pixel, spec.rounded) == (False, False)
    assert (spec.codec.spacing, spec.codec.subpixel) == ("stretched", "dark_udp")


def test_our_own_files_are_not_rounded_unless_they_say_so(tmp_path):
    onnx_package = pytest.importorskip("onnx")
    for name, text in (("old", '{"bgr": true}'), ("new", '{"rounded": true}')):
        heatmap_net(tmp_path / f"{name}.onnx")
        model = onnx_package.load(tmp_path / f"{name}.onnx")
        onnx_package.helper.set_model_props(model, {"posecli.spec": text})
        onnx_package.save(model, tmp_path / f"{name}.onnx")
    heatmap_net(tmp_path / "foreign.onnx")

    names = [f"onnx:{tmp_path}/{name}.onnx" for name in ("old", "new", "foreign")]
    specs = [load_onnx(name, device=CPU, kinds=["refiner"])[1] for name in names]

    assert [(spec.bgr, spec.rounded) for spec in specs] == [(True, False), (False, True), (False, True)]


def test_vitpose_is_known_by_its_name(tmp_path):
    _, spec = load_onnx(heatmap_net(tmp_path / "ViTPose-s_coco.onnx"), device=CPU, kinds=["refiner"])
    _, other = load_onnx(heatmap_net(tmp_path / "a.onnx"), device=CPU, kinds=["refiner"])

    assert (spec.codec.spacing, spec.codec.subpixel) == ("corners", "dark_udp")
    assert (other.codec.spacing, other.codec.subpixel, other.codec.offset) == ("stride", "dark", 0)


@pytest.mark.parametrize(
    "text",
    [
        "rounded = 1",
        "[codec]\nspacing = 'udp'",
        "bgr = 3",
        "colour = 1",
        "mean = [1.0]",
        "[codec]\nsubpixel = 'best'",
        "= =",
    ],
)
def test_a_wrong_toml_is_told(tmp_path, text):
    name = heatmap_net(tmp_path / "a.onnx")
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"a\.toml"):
        load_onnx(name, device=CPU, kinds=["refiner"])


def test_what_is_no_usable_onnx_file_is_told(tmp_path):
    (tmp_path / "torn.onnx").write_bytes(b"\x08\x09torn")
    with pytest.raises(WeightsError, match="ONNX Runtime cannot use it"):
        load_onnx(f"onnx:{tmp_path}/torn.onnx", device=CPU, kinds=["refiner"])
    with pytest.raises(WeightsError, match="no such ONNX file"):
        load_onnx(f"onnx:{tmp_path}/none.onnx", device=CPU, kinds=["refiner"])
    hands = heatmap_net(tmp_path / "hands.onnx", channels=21)
    with pytest.raises(WeightsError, match="neither heatmaps of 17 keypoints"):
        load_onnx(hands, device=CPU, kinds=["refiner"])
    with pytest.raises(ConfigError, match="is a refiner, wanted a detector"):
        load_onnx(heatmap_net(tmp_path / "a.onnx"), device=CPU, kinds=["detector"])


def test_the_pipeline_runs_on_onnx_files_and_records_them(tmp_path):
    dets = np.array([[[2, 4, 22, 30, 0.9]]], np.float32)
    detector = constant_net(tmp_path / "d.onnx", {"dets": dets, "labels": np.array([[0]], np.int64)})
    refiner = heatmap_net(tmp_path / "r.onnx")
    config = PipelineConfig(detect=DetectConfig(detector=detector), refine=RefineConfig(refiner=refiner))
    pipeline = load_pipeline(config, device="cpu")
    frame = Frame(index=0, image=torch.full((32, 32, 3), 200, dtype=torch.uint8), width=32, height=32, file_name="a")
    (done,) = pipeline.run([frame])

    assert set(pipeline.weights) >= {detector, refiner}
    assert done.refiner_runs == 1
    assert done.poses.keypoints.shape[1:] == (17, 2)
