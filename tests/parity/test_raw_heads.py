"""RTMDet's heads, cut out of a real file, against the boxes that the whole file finds with its own NMS."""

from __future__ import annotations

import pytest
import torch

from posecli.backends.onnx import load_onnx
from posecli.geometry.boxes import hard_nms, pairwise_iou
from posecli.media.sources import read_image

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

_HEADS = ["y", "y.8", "y.16", "y.4", "y.12", "y.20"]  # class logits and distances of strides 8, 16 and 32, in its names


@pytest.fixture(scope="module")
def whole(shared_data):
    path = shared_data.parent / "peers" / "rtmdet_nano_person.onnx"
    if not path.is_file():
        pytest.skip(f"no {path.name} beside the photos")
    return path


def test_heads_find_the_boxes_of_the_file_with_nms(whole, shared_data, tmp_path):
    onnx.utils.extract_model(str(whole), str(tmp_path / "heads.onnx"), ["input"], _HEADS)
    photo = sorted((shared_data / "coco" / "dev").glob("*.webp"))[1]
    picture = read_image(photo).permute(2, 0, 1)
    files = (f"onnx:{whole}", f"onnx:{tmp_path / 'heads.onnx'}")
    with_nms, without = (load_onnx(file, device=torch.device("cpu"), kinds=["detector"])[0] for file in files)

    ((wanted, wanted_scores),), ((boxes, scores),) = with_nms([picture]), without([picture])

    sure = wanted_scores >= 0.3
    assert sure.any()
    kept = hard_nms(boxes, scores, max_iou=0.6)
    nearest = pairwise_iou(wanted[sure], boxes[kept]).argmax(dim=1)
    torch.testing.assert_close(boxes[kept][nearest], wanted[sure], rtol=0, atol=0.05)  # pixels
    torch.testing.assert_close(scores[kept][nearest], wanted_scores[sure], rtol=0, atol=1e-4)
