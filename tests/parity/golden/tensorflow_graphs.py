"""Write `cpn.npz` and `posefix.npz`: what the official codes' TensorFlow graphs answer to seeded weights and pictures.

The graphs are those of tf-cpn (`network.py`, `create_global_net`, `create_refine_net`) and PoseFix_RELEASE (`model.py`,
`head_net`), built here layer by layer on tf_slim's own ResNet units, which both codes use, with both codes' batch norm
settings. Run it where TensorFlow is, from the repository's root:

    pip install tensorflow-cpu==2.12.1 tf_slim==1.1.0
    PYTHONPATH=tests python tests/parity/golden/tensorflow_graphs.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf
import tf_slim as slim
from tf_slim.nets import resnet_utils, resnet_v1

from tensorflow_names import cpn_place, posefix_place, seeded_images, seeded_tensor, tensorflow_key

HERE = Path(__file__).parent
BLOCKS = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))  # units, width, stride of the first unit
NORM = {"is_training": False, "decay": 0.99, "epsilon": 1e-9, "scale": True}  # as both codes ask for


def scope():
    """Return slim's settings for all layers that are normalised."""
    normed = {"normalizer_fn": slim.batch_norm, "normalizer_params": NORM}
    return slim.arg_scope([slim.conv2d, slim.conv2d_transpose], padding="SAME", **normed)


def resnet50(images):
    """(N, H, W, C) -> the features of the four blocks."""
    features = []
    with scope(), tf.variable_scope("resnet_v1_50"):
        net = resnet_utils.conv2d_same(images, 64, 7, stride=2, scope="conv1")
        net = slim.max_pool2d(tf.pad(net, [[0, 0], [1, 1], [1, 1], [0, 0]]), 3, stride=2, padding="VALID")
        for number, (units, width, first) in enumerate(BLOCKS, start=1):
            for unit in range(1, units + 1):
                with tf.variable_scope(f"block{number}/unit_{unit}"):
                    stride = first if unit == 1 else 1
                    net = resnet_v1.bottleneck(net, 4 * width, width, stride, scope="bottleneck_v1")
            features.append(net)
    return features


def cpn(images):
    """Return GlobalNet's answers, res2 first, and RefineNet's."""
    size = (images.shape[1] // 4, images.shape[2] // 4)
    pyramid, answers, above = [], [], None
    for number, features in zip((5, 4, 3, 2), reversed(resnet50(images)), strict=True):
        with scope():
            lateral = slim.conv2d(features, 256, 1, scope=f"lateral/res{number}")
        if above is not None:
            wide = tf.image.resize_bilinear(above, lateral.shape[1:3])
            lateral += slim.conv2d(wide, 256, 1, activation_fn=None, scope=f"merge/res{number}")
        above = lateral
        with scope():
            mixed = slim.conv2d(above, 256, 1, scope=f"tmp/res{number}")
            answer = slim.conv2d(mixed, 17, 3, activation_fn=None, scope=f"pyramid/res{number}")
        pyramid.insert(0, above)
        answers.insert(0, tf.image.resize_bilinear(answer, size))
    joined = []
    with scope():
        for level, features in enumerate(pyramid):
            for unit in range(level):
                features = resnet_v1.bottleneck(  # noqa: PLW2901
                    features, 256, 128, 1, scope=f"res{level + 2}/refine_conv{unit}"
                )
            joined.append(tf.image.resize_bilinear(features, size))
        net = resnet_v1.bottleneck(tf.concat(joined, axis=3), 256, 128, 1, scope="final_bottleneck")
        return [*answers, slim.conv2d(net, 17, 3, activation_fn=None, scope="refine_out")]


def posefix(images):
    """(N, H, W, 20) -> logits."""
    net = resnet50(images)[-1]
    with scope():
        for number in (1, 2, 3):
            net = slim.conv2d_transpose(net, 256, 4, stride=2, scope=f"up{number}")
    return [slim.conv2d(net, 17, 1, activation_fn=None, scope="out")]


def answers(graph, place, channels):
    """Run a graph with seeded weights on seeded pictures; return its answers as (K, h, w)."""
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = graph(tf.constant(seeded_images(channels).transpose(0, 2, 3, 1)))
        for variable in tf.global_variables():
            key, shape = tensorflow_key(variable.op.name, variable.shape.as_list(), place)
            value = seeded_tensor(key, shape)
            variable.load(value.transpose(2, 3, 1, 0) if value.ndim == 4 else value, session)
        return [answer[0].transpose(2, 0, 1) for answer in session.run(outputs)]


if __name__ == "__main__":
    tf.disable_eager_execution()
    *_, res5, refined = answers(cpn, cpn_place, 3)
    np.savez_compressed(HERE / "cpn.npz", res5=res5, refined=refined)
    np.savez_compressed(HERE / "posefix.npz", answer=answers(posefix, posefix_place, 20)[0])
