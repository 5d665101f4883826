"""What public networks compute, written from their code with nothing but functions and the public names of tensors.

A `Public` holds a network's tensors by name and makes each one when it is first asked for, so that one description
gives the names, the shapes (on the meta device, without memory) and the reference answer of a network of any width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


class Public(dict):
    """Tensors by public name; random ones with the shapes that the calls imply are made as they are asked for."""

    def __init__(self, *, seed=0, device="cpu"):
        super().__init__()
        self.random = torch.Generator().manual_seed(seed)
        self.device = device

    def uniform(self, name, shape, low, high):
        if name not in self:
            meta = self.device == "meta"
            self[name] = (
                torch.empty(shape, device="meta")
                if meta
                else torch.empty(shape).uniform_(low, high, generator=self.random)
            )
        return self[name]

    def weights(self, name, shape, fan_in):
        bound = math.sqrt(6 / fan_in)
        return self.uniform(name, shape, -bound, bound)

    def conv(self, x, name, outputs, kernel, *, stride=1, bias=False):
        weight = self.weights(f"{name}.weight", (outputs, x.shape[1], kernel, kernel), x.shape[1] * kernel**2)
        offset = self.uniform(f"{name}.bias", (outputs,), -0.2, 0.2) if bias else None
        return F.conv2d(x, weight, offset, stride, kernel // 2)

    def deconv(self, x, name, outputs):
        weight = self.weights(f"{name}.weight", (x.shape[1], outputs, 4, 4), x.shape[1] * 4)
        return F.conv_transpose2d(x, weight, None, 2, 1)

    def norm(self, x, name, *, eps=1e-5, counter=True):
        channels = (x.shape[1],)
        weight, bias = (
            self.uniform(f"{name}.weight", channels, 0.5, 1),
            self.uniform(f"{name}.bias", channels, -0.2, 0.2),
        )
        mean = self.uniform(f"{name}.running_mean", channels, -0.2, 0.2)
        variance = self.uniform(f"{name}.running_var", channels, 0.5, 2)
        if counter:
            self[f"{name}.num_batches_tracked"] = torch.zeros((), dtype=torch.int64, device=self.device)
        scale = weight / (variance + eps).sqrt()
        return x * scale[:, None, None] + (bias - mean * scale)[:, None, None]


def simplebaseline(public, images, *, blocks, width=256, keypoints=17, body="", head=""):
    """Source: microsoft/human-pose-estimation.pytorch lib/models/pose_resnet.py."""
    x = resnet(public, images, blocks, prefix=body)[-1]
    for layer in range(3):
        x = F.relu(
            public.norm(
                public.deconv(x, f"{head}deconv_layers.{3 * layer}", width), f"{head}deconv_layers.{3 * layer + 1}"
            )
        )
    return [public.conv(x, f"{head}final_layer", keypoints, 1, bias=True)]


def resnet(public, x, blocks, *, prefix="", eps=1e-5, counter=True):
    """Source: torchvision models/resnet.py."""
    x = F.relu(public.norm(public.conv(x, f"{prefix}conv1", 64, 7, stride=2), f"{prefix}bn1", eps=eps, counter=counter))
    x = F.max_pool2d(x, 3, 2, 1)
    features = []
    for stage, count in enumerate(blocks):
        for block in range(count):
            stride = 2 if stage and not block else 1
            name = f"{prefix}layer{stage + 1}.{block}."
            x = bottleneck(public, x, name, 64 << stage, stride=stride, eps=eps, counter=counter)
        features.append(x)
    return features


def bottleneck(public, x, name, width, *, stride=1, eps=1e-5, counter=True):
    def normed(y, number):
        return public.norm(y, f"{name}{number}", eps=eps, counter=counter)

    y = F.relu(normed(public.conv(x, f"{name}conv1", width, 1), "bn1"))
    y = F.relu(normed(public.conv(y, f"{name}conv2", width, 3, stride=stride), "bn2"))
    y = normed(public.conv(y, f"{name}conv3", 4 * width, 1), "bn3")
    if stride > 1 or x.shape[1] != 4 * width:
        x = normed(public.conv(x, f"{name}downsample.0", 4 * width, 1, stride=stride), "downsample.1")
    return F.relu(x + y)


def hrnet(public, images, *, width=32, keypoints=17, body="", head=""):
    """Source: leoxiaobin/deep-high-resolution-net.pytorch lib/models/pose_hrnet.py."""

    def step(x, name, outputs, kernel, stride=1, first=""):
        return public.norm(public.conv(x, f"{name}.{first}0", outputs, kernel, stride=stride), f"{name}.{first}1")

    x = F.relu(public.norm(public.conv(images, f"{body}conv1", 64, 3, stride=2), f"{body}bn1"))
    x = F.relu(public.norm(public.conv(x, f"{body}conv2", 64, 3, stride=2), f"{body}bn2"))
    for block in range(4):
        x = bottleneck(public, x, f"{body}layer1.{block}.", 64)
    channels, levels = [width << level for level in range(4)], [x]
    for stage, units in ((2, 1), (3, 4), (4, 3)):
        name = f"{body}transition{stage - 1}"
        opened = F.relu(step(levels[-1], f"{name}.{stage - 1}", channels[stage - 1], 3, 2, "0."))
        if stage == 2:
            levels = [F.relu(step(levels[0], f"{name}.0", width, 3))]
        levels = [*levels, opened]
        for unit in range(units):
            last = stage == 4 and unit == units - 1
            levels = exchange(public, levels, f"{body}stage{stage}.{unit}.", channels, 1 if last else stage)
    return [public.conv(levels[0], f"{head}final_layer", keypoints, 1, bias=True)]


def exchange(public, levels, name, channels, outputs):
    def step(x, where, width, kernel, stride=1):
        return public.norm(public.conv(x, f"{where}.0", width, kernel, stride=stride), f"{where}.1")

    done = []
    for level, x in enumerate(levels):
        for block in range(4):
            where = f"{name}branches.{level}.{block}."
            y = F.relu(public.norm(public.conv(x, f"{where}conv1", channels[level], 3), f"{where}bn1"))
            x = F.relu(x + public.norm(public.conv(y, f"{where}conv2", channels[level], 3), f"{where}bn2"))  # noqa: PLW2901
        done.append(x)
    fused = []
    for target in range(outputs):
        total = 0
        for source, x in enumerate(done):
            where, y = f"{name}fuse_layers.{target}.{source}", x
            if source > target:
                y = step(x, where, channels[target], 1)
                y = F.interpolate(y, scale_factor=2 ** (source - target), mode="nearest")
            for halving in range(target - source):
                final = halving == target - source - 1
                y = step(y, f"{where}.{halving}", channels[target if final else source], 3, 2)
                y = y if final else F.relu(y)
            total = total + y
        fused.append(F.relu(total))
    return fused


class Mspn:
    """MSPN as its release has it: biases under every norm, `conv_bn_relu` inside everything.

    Source: megvii-research/MSPN exps/mspn.2xstg.coco/network.py.
    """

    top, stage, bias = "top.conv", "stage{}.", True
    lateral, climb, from_encoder, from_decoder = "u_skip", "up_conv", "skip1", "skip2"

    def __init__(self, public, keypoints=17):
        self.public, self.keypoints = public, keypoints

    def layer(self, x, name, outputs, *, kernel=1, stride=1, relu=True):
        x = self.public.conv(x, f"{name}.conv", outputs, kernel, stride=stride, bias=self.bias)
        x = self.public.norm(x, f"{name}.bn")
        return F.relu(x) if relu else x

    def inside(self, x, block, number, outputs, **how):
        """Return one of a bottleneck's three layers."""
        return self.layer(x, f"{block}conv_bn_relu{number}", outputs, **how)

    def answer(self, x, where, _):
        x = self.layer(x, f"{where}res_conv1", 256)
        return self.layer(x, f"{where}res_conv2", self.keypoints, kernel=3, relu=False)

    def __call__(self, images, stages):
        x = F.max_pool2d(self.layer(images, self.top, 64, kernel=7, stride=2), 3, 2, 1)
        skips, answers = [0, 0, 0, 0], []
        for stage in range(stages):
            prefix, last = self.stage.format(stage), stage == stages - 1
            encoded = self.encode(x, prefix, skips)
            skips, out = [], None
            for unit, features in enumerate(reversed(encoded)):
                where, below = f"{prefix}upsample.up{unit + 1}.", out
                out = self.layer(features, f"{where}{self.lateral}", 256, relu=False)
                if unit:
                    below = self.layer(resize(below, features), f"{where}{self.climb}", 256, relu=False)
                    out = out + below
                out = F.relu(out)
                answers.append(resize(self.answer(out, where, 4 * stage + unit), encoded[0]))
                skips.insert(0, 0 if last else self.skip(features, out, where))
            x = x if last else self.layer(out, f"{where}cross_conv", 64)
        return answers

    def encode(self, x, prefix, skips):
        encoded = []
        for level, count in enumerate((3, 4, 6, 3)):
            width = 64 << level
            for number in range(count):
                block, stride = f"{prefix}downsample.layer{level + 1}.{number}.", 2 if level and not number else 1
                y = self.inside(x, block, 1, width)
                y = self.inside(y, block, 2, width, kernel=3, stride=stride)
                y = self.inside(y, block, 3, 4 * width, relu=False)
                if not number:
                    x = self.layer(x, f"{block}downsample", 4 * width, stride=stride, relu=False)
                x = F.relu(y + x)
            x = x + skips[level]
            encoded.append(x)
        return encoded

    def skip(self, features, out, where):
        width = features.shape[1]
        given = self.layer(features, f"{where}{self.from_encoder}", width)
        return given + self.layer(out, f"{where}{self.from_decoder}", width)


class MmposeMspn(Mspn):
    """MSPN as mmpose has it. Source: mmpose models/backbones/mspn.py and heads/heatmap_heads/mspn_head.py."""

    top, stage, bias = "backbone.top.top.0", "backbone.multi_stage_mspn.{}.", False
    lateral, climb, from_encoder, from_decoder = "in_skip", "up_conv", "out_skip1", "out_skip2"
    head = "head."

    def inside(self, x, block, number, outputs, *, kernel=1, stride=1, relu=True):
        x = self.public.conv(x, f"{block}conv{number}", outputs, kernel, stride=stride)
        x = self.public.norm(x, f"{block}bn{number}")
        return F.relu(x) if relu else x

    def answer(self, x, where, number):
        layers = f"{self.head}predict_layers.{number}.conv_layers."
        return self.layer(self.layer(x, f"{layers}0", 256), f"{layers}1", self.keypoints, kernel=3, relu=False)


class OldMmposeMspn(MmposeMspn):
    """The same from the days before mmpose 1.0, as the published files are."""

    head = "keypoint_head."


def resize(x, like):
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


def mspn(public, images, *, stages, names=Mspn):
    return names(public)(images, stages)


def hourglass(public, images, *, stacks, width=256, keypoints=17):
    """Source: princeton-vl/pytorch_stacked_hourglass models/posenet.py, layers.py."""
    x = F.relu(public.norm(public.conv(images, "pre.0.conv", width // 4, 7, stride=2, bias=True), "pre.0.bn"))
    x = F.max_pool2d(residual(public, x, "pre.1", width // 2), 2)
    x = residual(public, residual(public, x, "pre.3", width // 2), "pre.4", width)
    answers = []
    for stack in range(stacks):
        y = residual(public, pass_down_and_up(public, x, f"hgs.{stack}.0", 4), f"features.{stack}.0", width)
        y = F.relu(
            public.norm(public.conv(y, f"features.{stack}.1.conv", width, 1, bias=True), f"features.{stack}.1.bn")
        )
        answers.append(public.conv(y, f"outs.{stack}.conv", keypoints, 1, bias=True))
        if stack < stacks - 1:
            x = x + public.conv(answers[-1], f"merge_preds.{stack}.conv.conv", width, 1, bias=True)
            x = x + public.conv(y, f"merge_features.{stack}.conv.conv", width, 1, bias=True)
    return answers


def residual(public, x, name, outputs):
    y = public.conv(F.relu(public.norm(x, f"{name}.bn1")), f"{name}.conv1.conv", outputs // 2, 1, bias=True)
    y = public.conv(F.relu(public.norm(y, f"{name}.bn2")), f"{name}.conv2.conv", outputs // 2, 3, bias=True)
    y = public.conv(F.relu(public.norm(y, f"{name}.bn3")), f"{name}.conv3.conv", outputs, 1, bias=True)
    convolved = public.conv(x, f"{name}.skip_layer.conv", outputs, 1, bias=True)  # there, but used only if it must be
    return y + (x if x.shape[1] == outputs else convolved)


def pass_down_and_up(public, x, name, depth):
    width = x.shape[1]
    up = residual(public, x, f"{name}.up1", width)
    low = residual(public, F.max_pool2d(x, 2), f"{name}.low1", width)
    inner = f"{name}.low2"
    low = pass_down_and_up(public, low, inner, depth - 1) if depth > 1 else residual(public, low, inner, width)
    return up + F.interpolate(residual(public, low, f"{name}.low3", width), scale_factor=2, mode="nearest")


def hourglass52(public, images, *, channels, blocks, keypoints=17, head="head."):
    """Source: mmpose models/backbones/hourglass.py with one stack, resnet.py `BasicBlock` and `ResLayer`."""
    body, width = "backbone.", channels[0]
    x = public.conv(images, f"{body}stem.0.conv", width // 2, 7, stride=2)
    x = F.relu(public.norm(x, f"{body}stem.0.bn"))
    x = basic_blocks(public, x, f"{body}stem.1", (width,), stride=2)
    y = pass_down_and_up_52(public, x, f"{body}hourglass_modules.0", channels, blocks)
    basic_blocks(public, x, f"{body}inters", (width,))  # there, but only more than one stack uses it
    y = F.relu(public.norm(public.conv(y, f"{body}out_convs.0.conv", width, 3), f"{body}out_convs.0.bn"))
    return [public.conv(y, f"{head}multi_final_layers.0", keypoints, 1, bias=True)]


def basic_blocks(public, x, name, outputs, *, stride=1):
    """One block for each of `outputs`, the first with the stride."""
    for block, width in enumerate(outputs):
        at, step = f"{name}.{block}", stride if block == 0 else 1
        y = F.relu(public.norm(public.conv(x, f"{at}.conv1", width, 3, stride=step), f"{at}.bn1"))
        y = public.norm(public.conv(y, f"{at}.conv2", width, 3), f"{at}.bn2")
        if step > 1 or x.shape[1] != width:
            x = public.norm(public.conv(x, f"{at}.downsample.0", width, 1, stride=step), f"{at}.downsample.1")
        x = F.relu(y + x)
    return x


def pass_down_and_up_52(public, x, name, channels, blocks):
    (here, below), count = channels[:2], blocks[0]
    up = basic_blocks(public, x, f"{name}.up1", (here,) * count)
    low = basic_blocks(public, x, f"{name}.low1", (below,) * count, stride=2)
    inner = f"{name}.low2"
    if len(channels) > 2:
        low = pass_down_and_up_52(public, low, inner, channels[1:], blocks[1:])
    else:
        low = basic_blocks(public, low, inner, (below,) * blocks[1])
    low = basic_blocks(public, low, f"{name}.low3", (*(below,) * (count - 1), here))
    return up + F.interpolate(low, scale_factor=2, mode="nearest")


def faster_rcnn(public, images):
    """Return the pyramid's levels of strides 4 to 64 and the proposals' raw scores and shifts on each.

    Source: torchvision ops/feature_pyramid_network.py, models/detection/backbone_utils.py, faster_rcnn.py and rpn.py;
    COCO_V1 weights have norms with eps 0.
    """
    features = resnet(public, images, (3, 4, 6, 3), prefix="backbone.body.", eps=0.0, counter=False)
    levels = []
    for level, x in enumerate(features):
        levels.append(public.conv(x, f"backbone.fpn.inner_blocks.{level}.0", 256, 1, bias=True))
    for level in (2, 1, 0):
        levels[level] = levels[level] + F.interpolate(levels[level + 1], size=levels[level].shape[-2:], mode="nearest")
    for level, x in enumerate(levels):
        levels[level] = public.conv(x, f"backbone.fpn.layer_blocks.{level}.0", 256, 3, bias=True)
    levels.append(F.max_pool2d(levels[-1], 1, 2))
    proposals = []
    for x in levels:
        y = F.relu(public.conv(x, "rpn.head.conv.0.0", 256, 3, bias=True))
        scores = public.conv(y, "rpn.head.cls_logits", 3, 1, bias=True)
        proposals.append((scores, public.conv(y, "rpn.head.bbox_pred", 12, 1, bias=True)))
    faster_rcnn_box_head(public, torch.empty(1, 256, 7, 7, device=public.device))
    return levels, proposals


def faster_rcnn_box_head(public, features):
    """Return the (R, 91) scores and (R, 91, 4) shifts of (R, 256, 7, 7) features. Source: `TwoMLPHead` and after."""

    def linear(x, name, outputs):
        weight = public.weights(f"roi_heads.{name}.weight", (outputs, x.shape[1]), x.shape[1])
        return F.linear(x, weight, public.uniform(f"roi_heads.{name}.bias", (outputs,), -0.2, 0.2))

    x = F.relu(linear(features.flatten(1), "box_head.fc6", 1024))
    x = F.relu(linear(x, "box_head.fc7", 1024))
    shifts = linear(x, "box_predictor.bbox_pred", 364)
    return linear(x, "box_predictor.cls_score", 91), shifts.view(len(shifts), 91, 4)
