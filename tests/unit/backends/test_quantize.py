from __future__ import annotations

import pytest
import torch

from posecli.backends.export import export
from posecli.backends.onnx import open_network
from posecli.backends.quantize import quantize
from posecli.errors import WeightsError
from posecli.networks import get_spec, random_network

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    spec = get_spec("hourglass-1").with_options({"width": 16}, input_hw=(64, 64))
    path = tmp_path_factory.mktemp("exact") / "a.onnx"
    export(random_network(spec), spec, path, {"license": "MIT"})
    return path


def opened(path):
    return open_network(path, name="mine", device=torch.device("cpu"), kinds=["refiner"])


def test_eight_bits_answer_nearly_the_same_and_keep_what_the_file_says(exported, tmp_path):
    batches = [2 * torch.rand(size, 3, 64, 64) - 1 for size in (4, 3)]
    off = quantize(exported, tmp_path / "b.onnx", batches)
    (exact, spec), (rough, found) = opened(exported), opened(tmp_path / "b.onnx")
    wanted, answered = exact(batches[0])[0], rough(batches[0])[0]

    assert 0 < off < 0.03
    assert float((wanted - answered).square().mean().sqrt() / wanted.abs().max()) < 0.03
    assert (found.codec, found.mean, found.input_hw) == (spec.codec, spec.mean, spec.input_hw)
    model = onnx.load(str(tmp_path / "b.onnx"))
    assert "MIT" in {item.value for item in model.metadata_props}
    assert onnx.TensorProto.INT8 in {item.data_type for item in model.graph.initializer}


def test_the_last_layers_stay_in_float(exported, tmp_path):
    quantize(exported, tmp_path / "b.onnx", [torch.rand(2, 3, 64, 64)])
    graph = onnx.load(str(tmp_path / "b.onnx")).graph
    maker = {name: node for node in graph.node for name in node.output}
    rounded = [all(maker[name].op_type == "DequantizeLinear" for name in node.input[:2]) for node in graph.node
               if node.op_type == "Conv" and all(name in maker for name in node.input[:2])]  # fmt: skip

    assert maker[graph.output[0].name].op_type == "Conv"
    assert any(rounded)
    assert sum(node.op_type == "Conv" for node in graph.node) > sum(rounded)


def test_what_cannot_be_quantised_leaves_nothing_behind(exported, tmp_path):
    (tmp_path / "torn.onnx").write_bytes(exported.read_bytes()[:500])
    with pytest.raises(WeightsError, match=r"torn\.onnx: cannot be quantised"):
        quantize(tmp_path / "torn.onnx", tmp_path / "b.onnx", [torch.rand(1, 3, 64, 64)])

    assert not (tmp_path / "b.onnx").exists()
