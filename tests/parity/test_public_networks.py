"""The public networks, written out again as plain functions of their own state dicts, against ours.

The functions follow the public code line by line in what matters (order, strides, padding, resizing) and share nothing
with `posecli.networks` but the weights, which reach ours through the key maps. Keys and shapes are the public lists';
values are random, of a size that keeps signals alive. The tolerance is asked of what `load_network` returns: folded.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from posecli.networks import fuse_batch_norm, get_spec
from posecli.networks._foreign import own_tensors, translate
from posecli.networks._layouts import LAYOUTS

FOREIGN_KEYS = Path(__file__).parents[3] / "shared" / "foreign_keys"


class Weights(dict):
    """A public state dict with the layers that the public code builds from it."""

    def conv(self, key, x, *, stride=1):
        weight = self[f"{key}.weight"]
        return F.conv2d(x, weight, self.get(f"{key}.bias"), stride, weight.shape[-1] // 2)

    def bn(self, key, x):
        mean, variance = self[f"{key}.running_mean"], self[f"{key}.running_var"]
        return F.batch_norm(x, mean, variance, self[f"{key}.weight"], self[f"{key}.bias"], False, 0.1, 1e-5)

    def conv_bn(self, key, x, *, stride=1):
        """MSPN's `conv_bn_relu` and princeton's `Conv`, before the relu."""
        return self.bn(f"{key}.bn", self.conv(f"{key}.conv", x, stride=stride))

    def sequence(self, key, x, *, stride=1):
        """A convolution and a batch norm numbered 0 and 1."""
        return self.bn(f"{key}.1", self.conv(f"{key}.0", x, stride=stride))

    def bottlenecks(self, key, x, *, stride=1):
        """Torchvision's bottlenecks of one layer."""
        block = 0
        while f"{key}.{block}.conv1.weight" in self:
            at, step = f"{key}.{block}", stride if block == 0 else 1
            out = F.relu(self.bn(f"{at}.bn1", self.conv(f"{at}.conv1", x)))
            out = F.relu(self.bn(f"{at}.bn2", self.conv(f"{at}.conv2", out, stride=step)))
            out = self.bn(f"{at}.bn3", self.conv(f"{at}.conv3", out))
            residual = self.sequence(f"{at}.downsample", x, stride=step) if block == 0 else x
            x = F.relu(out + residual)
            block += 1
        return x


def simplebaseline(w, x):
    x = F.relu(w.bn("bn1", w.conv("conv1", x, stride=2)))
    x = F.max_pool2d(x, 3, 2, 1)
    for layer in (1, 2, 3, 4):
        x = w.bottlenecks(f"layer{layer}", x, stride=1 if layer == 1 else 2)
    for index in (0, 3, 6):
        x = F.conv_transpose2d(x, w[f"deconv_layers.{index}.weight"], None, 2, 1)
        x = F.relu(w.bn(f"deconv_layers.{index + 1}", x))
    return [w.conv("final_layer", x)]


def basic_blocks(w, key, x):
    for block in range(4):
        at = f"{key}.{block}"
        out = F.relu(w.bn(f"{at}.bn1", w.conv(f"{at}.conv1", x)))
        x = F.relu(w.bn(f"{at}.bn2", w.conv(f"{at}.conv2", out)) + x)
    return x


def fused(w, key, xs, target, source):
    """What one resolution tells another."""
    if target == source:
        return xs[source]
    if source > target:
        return F.interpolate(w.sequence(key, xs[source]), scale_factor=2 ** (source - target), mode="nearest")
    x = xs[source]
    for step in range(target - source):
        x = w.sequence(f"{key}.{step}", x, stride=2)
        x = x if step == target - source - 1 else F.relu(x)
    return x


def hrnet(w, x):
    x = F.relu(w.bn("bn1", w.conv("conv1", x, stride=2)))
    x = F.relu(w.bn("bn2", w.conv("conv2", x, stride=2)))
    x = w.bottlenecks("layer1", x)
    xs = [F.relu(w.sequence("transition1.0", x)), F.relu(w.sequence("transition1.1.0", x, stride=2))]
    for stage in (2, 3, 4):
        if stage > 2:
            last = F.relu(w.sequence(f"transition{stage - 1}.{stage - 1}.0", xs[-1], stride=2))
            xs = [*xs, last]
        unit = 0
        while f"stage{stage}.{unit}.branches.0.0.conv1.weight" in w:
            at = f"stage{stage}.{unit}"
            xs = [basic_blocks(w, f"{at}.branches.{index}", x) for index, x in enumerate(xs)]
            targets = len(xs) if any(key.startswith(f"{at}.fuse_layers.1.") for key in w) else 1
            xs = [
                F.relu(sum(fused(w, f"{at}.fuse_layers.{i}.{j}", xs, i, j) for j in range(len(xs))))
                for i in range(targets)
            ]
            unit += 1
    return [w.conv("final_layer", xs[0])]


def princeton_residual(w, key, x):
    widens = w[f"{key}.skip_layer.conv.weight"].shape[0] != w[f"{key}.skip_layer.conv.weight"].shape[1]
    residual = w.conv(f"{key}.skip_layer.conv", x) if widens else x
    for part in (1, 2, 3):
        x = w.conv(f"{key}.conv{part}.conv", F.relu(w.bn(f"{key}.bn{part}", x)))
    return x + residual


def princeton_hourglass(w, key, x, depth):
    up1 = princeton_residual(w, f"{key}.up1", x)
    low = princeton_residual(w, f"{key}.low1", F.max_pool2d(x, 2, 2))
    inner = f"{key}.low2"
    low = princeton_hourglass(w, inner, low, depth - 1) if depth > 1 else princeton_residual(w, inner, low)
    low = princeton_residual(w, f"{key}.low3", low)
    return up1 + F.interpolate(low, scale_factor=2, mode="nearest")


def hourglass(w, x):
    x = F.relu(w.conv_bn("pre.0", x, stride=2))
    x = F.max_pool2d(princeton_residual(w, "pre.1", x), 2, 2)
    x = princeton_residual(w, "pre.4", princeton_residual(w, "pre.3", x))
    answers = []
    for stack in range(8):
        feature = princeton_hourglass(w, f"hgs.{stack}.0", x, 4)
        feature = F.relu(w.conv_bn(f"features.{stack}.1", princeton_residual(w, f"features.{stack}.0", feature)))
        answers.append(w.conv(f"outs.{stack}.conv", feature))
        if stack < 7:
            x = x + w.conv(f"merge_preds.{stack}.conv.conv", answers[-1])
            x = x + w.conv(f"merge_features.{stack}.conv.conv", feature)
    return answers


def aligned(x, like):
    """Bilinear resizing with aligned corners, by its definition: linear along one axis, then the other."""
    for axis in (-2, -1):
        old, new = x.shape[axis], like.shape[axis]
        place = torch.arange(new) * (old - 1) / (new - 1)
        low = place.floor().long().clamp(max=old - 1)
        part = (place - low).view(-1, 1) if axis == -2 else place - low
        x = x.index_select(axis, low) * (1 - part) + x.index_select(axis, (low + 1).clamp(max=old - 1)) * part
    return x


def mspn_layer(w, key, x, stride):
    block = 0
    while f"{key}.{block}.conv_bn_relu1.conv.weight" in w:
        at, step = f"{key}.{block}", stride if block == 0 else 1
        out = F.relu(w.conv_bn(f"{at}.conv_bn_relu1", x))
        out = F.relu(w.conv_bn(f"{at}.conv_bn_relu2", out, stride=step))
        out = w.conv_bn(f"{at}.conv_bn_relu3", out)
        x = F.relu(out + (w.conv_bn(f"{at}.downsample", x, stride=step) if block == 0 else x))
        block += 1
    return x


def mspn(w, x):
    x = F.max_pool2d(F.relu(w.conv_bn("top.conv", x, stride=2)), 3, 2, 1)
    answers, skip1, skip2, stage = [], [], [], 0
    while f"stage{stage}.upsample.up1.u_skip.conv.weight" in w:
        encoded = []
        for layer in (1, 2, 3, 4):
            x = mspn_layer(w, f"stage{stage}.downsample.layer{layer}", x, 1 if layer == 1 else 2)
            if stage:
                x = x + skip1[layer - 1] + skip2[layer - 1]
            encoded.append(x)
        skip1, skip2, below = [], [], None
        for unit, level in zip((1, 2, 3, 4), reversed(encoded), strict=True):
            at = f"stage{stage}.upsample.up{unit}"
            out = w.conv_bn(f"{at}.u_skip", level)
            if unit > 1:
                out = out + w.conv_bn(f"{at}.up_conv", aligned(below, out))
            below = out = F.relu(out)
            answer = w.conv_bn(f"{at}.res_conv2", F.relu(w.conv_bn(f"{at}.res_conv1", out)))
            answers.append(aligned(answer, encoded[0]))
            if f"{at}.skip1.conv.weight" in w:
                skip1.insert(0, F.relu(w.conv_bn(f"{at}.skip1", level)))
                skip2.insert(0, F.relu(w.conv_bn(f"{at}.skip2", out)))
            if f"{at}.cross_conv.conv.weight" in w:
                x = F.relu(w.conv_bn(f"{at}.cross_conv", out))
        stage += 1
    return answers


def random_tensor(key, shape):
    if key.endswith("running_var"):
        return torch.empty(shape).uniform_(0.8, 1.25)
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if len(shape) == 4:
        ways_in = shape[0] * 4 if "deconv" in key else math.prod(shape[1:])  # a quarter of 4x4 meets each pixel
        return torch.randn(shape) * math.sqrt(2 / ways_in)
    if key.endswith("weight"):
        return torch.empty(shape).uniform_(0.6, 0.8)
    return 0.1 * torch.randn(shape)


def public_weights(name):
    path = FOREIGN_KEYS / f"keys_{name}.json"
    if not path.is_file():
        pytest.skip(f"{path} is not here: the public key lists lie beside the repository")
    torch.manual_seed(0)
    return Weights((key, random_tensor(key, shape)) for key, shape, _ in json.loads(path.read_text()))


@pytest.mark.parametrize(
    ("name", "keys", "reference"),
    [
        ("simplebaseline-r50", "simplebaseline_r50_256x192", simplebaseline),
        ("hrnet-w32", "hrnet_w32_256x192", hrnet),
        ("hourglass-8", "hourglass8_princeton_256x192", hourglass),
        ("mspn-2", "mspn_2stg_256x192", mspn),
    ],
)
@torch.no_grad()
def test_public_weights_give_the_public_answer(name, keys, reference):
    public, spec = public_weights(keys), get_spec(name)
    layout = next(one for one in LAYOUTS if name.startswith(one.family) and one.mark in public)
    tensors, _ = translate(public, own_tensors(spec), layout, where="file", name=name)
    with torch.device("meta"):
        network = spec.build().eval()
    network.load_state_dict(tensors, strict=False, assign=True)
    images = torch.randn(1, 3, 128, 64)

    expected = reference(public, images)
    actual = fuse_batch_norm(network)(images)

    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        assert theirs.std() > 0.01 * theirs.abs().max()
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5 * float(theirs.std()))
