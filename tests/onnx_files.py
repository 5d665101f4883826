"""Tiny ONNX files with the outputs of the families that posecli knows, made here."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(path, nodes, constants, outputs, *, shape):
    """Write a graph with one input `images`."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, kind, size) for name, kind, size in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return f"onnx:{path}"


def heatmap_net(path, *, batch="n", channels=17, hw=(64, 48)):
    """The mean of the first colour over 4 x 4 pixels, as every keypoint's heatmap."""
    weight = np.zeros((channels, 3, 4, 4), np.float32)
    weight[:, 0] = 1 / 16
    nodes = [helper.make_node("Conv", ["images", "weight"], ["heatmaps"], strides=[4, 4])]
    outputs = [("heatmaps", TensorProto.FLOAT, [batch, channels, hw[0] // 4, hw[1] // 4])]
    return save(path, nodes, {"weight": weight}, outputs, shape=[batch, 3, *hw])


def simcc_net(path, *, hw=(64, 48)):
    """The highest of each column and of each row, twice as fine as the pixels, for 17 keypoints."""
    weight = np.concatenate((np.ones((17, 1, 1, 1)), np.zeros((17, 2, 1, 1))), axis=1).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "weight"], ["planes"]),
        helper.make_node("Resize", ["planes", "", "fine"], ["doubled"], mode="nearest"),
        helper.make_node("ReduceMax", ["doubled"], ["simcc_x"], axes=[2], keepdims=0),
        helper.make_node("ReduceMax", ["doubled"], ["simcc_y"], axes=[3], keepdims=0),
    ]
    sizes = {"simcc_x": 2 * hw[1], "simcc_y": 2 * hw[0]}
    outputs = [(name, TensorProto.FLOAT, ["n", 17, size]) for name, size in sizes.items()]
    constants = {"weight": weight, "fine": np.array([1, 1, 2, 2], np.float32)}
    return save(path, nodes, constants, outputs, shape=["n", 3, *hw])


def constant_net(path, arrays, *, shape=(1, 3, 32, 32)):
    """The same outputs whatever the picture is; the input is used, so that the graph keeps it."""
    nodes = [
        helper.make_node("ReduceSum", ["images"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
    ]
    constants, outputs = {"zero": np.zeros((), np.float32)}, []
    for name, array in arrays.items():
        constants[f"{name}_is"] = array.astype(np.float32)
        if array.dtype == np.int64:
            nodes.append(helper.make_node("Add", [f"{name}_is", "nothing"], [f"{name}_float"]))
            nodes.append(helper.make_node("Cast", [f"{name}_float"], [name], to=TensorProto.INT64))
            outputs.append((name, TensorProto.INT64, list(array.shape)))
        else:
            nodes.append(helper.make_node("Add", [f"{name}_is", "nothing"], [name]))
            outputs.append((name, TensorProto.FLOAT, list(array.shape)))
    return save(path, nodes, constants, outputs, shape=list(shape))
