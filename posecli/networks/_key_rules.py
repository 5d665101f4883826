"""How public projects name the tensors of the networks that we have too.

A rule takes a public name apart and says what the same tensor is called here; the networks' own files show both side by
side. Sources: the state dicts of mmpose (0.x says `keypoint_head.`, 1.x `head.`), of HRNet's, SimpleBaseline's and
MSPN's releases, of princeton-vl's stacked hourglass and of torchvision's Faster R-CNN, as their code builds them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Rule = tuple[str, "str | Callable[[re.Match[str]], str]"]  # a whole public name, and our name as re.Match.expand has it

_T = r"(weight|bias|running_mean|running_var)"
_PARTS = {"1": "reduce", "2": "filter", "3": "expand"}  # of a bottleneck
BODY, HEAD = r"backbone\.", r"(?:keypoint_)?head\."  # of mmpose 0.x and 1.x


def _less_one(match: re.Match[str], group: str) -> int:
    return int(match[group]) - 1


def _bottlenecks(public: str, ours: str) -> tuple[Rule, ...]:
    """Map bottlenecks `conv1 bn1 conv2 bn2 conv3 bn3 downsample`.

    Args:
        public: pattern of what stands before, with a group L of the stage, from 1, and B of the block.
        ours: what stands before here; {stage} counts from 0.
    """

    def block(match: re.Match[str]) -> str:
        return ours.format(stage=_less_one(match, "L"), **match.groupdict()) + f"{match['B']}."

    def convolution(match: re.Match[str]) -> str:
        return f"{block(match)}{_PARTS[match['C']]}.{match['kind']}.{match['T']}"

    def shortcut(match: re.Match[str]) -> str:
        return f"{block(match)}shortcut.{'bn' if match['kind'] in {'1', 'bn'} else 'conv'}.{match['T']}"

    return (
        (rf"{public}(?P<kind>conv|bn)(?P<C>[123])\.(?P<T>\w+)", convolution),
        (rf"{public}downsample\.(?P<kind>0|1|conv|bn)\.(?P<T>\w+)", shortcut),
    )


def resnet(public: str, ours: str) -> tuple[Rule, ...]:
    """Map torchvision's names of a ResNet without its classifier, `public` and `ours` standing before."""
    return (
        (rf"{public}conv1\.{_T}", rf"{ours}stem.conv.\1"),
        (rf"{public}bn1\.{_T}", rf"{ours}stem.bn.\1"),
        *_bottlenecks(rf"{public}layer(?P<L>[1-4])\.(?P<B>\d+)\.", ours + "stages.{stage}."),
    )


def simplebaseline(body: str = "", head: str = "") -> tuple[Rule, ...]:
    """Map SimpleBaseline's names; `body` and `head` are patterns of what mmpose puts before."""

    def deconvolution(match: re.Match[str]) -> str:
        layer, kind = divmod(int(match["index"]), 3)
        return f"deconvs.{layer}.{('conv', 'bn', 'relu')[kind]}.{match['T']}"

    return (
        *resnet(body, "trunk."),
        (rf"{head}deconv_layers\.(?P<index>\d)\.(?P<T>\w+)", deconvolution),
        (rf"{head}final_layer\.{_T}", r"head.\1"),
    )


def hrnet(body: str = "", head: str = "") -> tuple[Rule, ...]:
    """Map HRNet's names; `body` and `head` are patterns of what mmpose puts before."""
    kinds = {"0": "conv", "1": "bn"}

    def transition(match: re.Match[str]) -> str:
        return f"body.stages.{_less_one(match, 'S')}.enter.{match['I']}.{kinds[match['kind']]}.{match['T']}"

    def unit(match: re.Match[str]) -> str:
        return f"body.stages.{int(match['S']) - 2}.units.{match['U']}"

    def branch(match: re.Match[str]) -> str:
        part = {"1": "first", "2": "second"}[match["C"]]
        return f"{unit(match)}.branches.{match['I']}.{match['B']}.{part}.{match['kind']}.{match['T']}"

    def path(match: re.Match[str]) -> str:
        step = f".{match['K']}" if match["K"] else ""
        return f"{unit(match)}.paths.{match['I']}.{match['J']}{step}.{kinds[match['kind']]}.{match['T']}"

    stage = rf"{body}stage(?P<S>[234])\.(?P<U>\d)\."
    return (
        (rf"{body}conv([12])\.{_T}", lambda match: f"body.stem.{int(match[1]) - 1}.conv.{match[2]}"),
        (rf"{body}bn([12])\.{_T}", lambda match: f"body.stem.{int(match[1]) - 1}.bn.{match[2]}"),
        *_bottlenecks(rf"{body}layer(?P<L>1)\.(?P<B>\d)\.", "body.first."),
        (rf"{body}transition(?P<S>[123])\.(?P<I>\d)(\.0)?\.(?P<kind>[01])\.(?P<T>\w+)", transition),
        (rf"{stage}branches\.(?P<I>\d)\.(?P<B>\d)\.(?P<kind>conv|bn)(?P<C>[12])\.(?P<T>\w+)", branch),
        (rf"{stage}fuse_layers\.(?P<I>\d)\.(?P<J>\d)(\.(?P<K>\d))?\.(?P<kind>[01])\.(?P<T>\w+)", path),
        (rf"{head}final_layer\.{_T}", r"head.\1"),
    )


_MSPN_UNITS = {
    "u_skip": "lateral",
    "up_conv": "climb",
    "res_conv1": "head.0",
    "res_conv2": "head.1",
    "skip1": "encoder_skip",
    "skip2": "decoder_skip",
    "in_skip": "lateral",
    "out_skip1": "encoder_skip",
    "out_skip2": "decoder_skip",
}


def _mspn_units(stage: str) -> tuple[Rule, ...]:
    """Map the decoder, whose parts the release and mmpose name differently and nest alike."""

    def unit(match: re.Match[str]) -> str:
        where = f"stages.{match['S']}.decoder.{_less_one(match, 'U')}"
        return f"{where}.{_MSPN_UNITS[match['part']]}.{match['kind']}.{match['T']}"

    parts = "|".join(_MSPN_UNITS)
    return (
        (rf"{stage}upsample\.up(?P<U>[1-4])\.(?P<part>{parts})\.(?P<kind>conv|bn)\.(?P<T>\w+)", unit),
        (rf"{stage}upsample\.up4\.cross_conv\.(conv|bn)\.{_T}", r"stages.\g<S>.cross.\2.\3"),
    )


def mspn_release() -> tuple[Rule, ...]:
    """Map the names of MSPN's own code."""

    def convolution(match: re.Match[str]) -> str:
        where = f"stages.{match['S']}.encoder.{_less_one(match, 'L')}.{match['B']}"
        part = _PARTS[match["C"]] if match["C"] else "shortcut"
        return f"{where}.{part}.{match['kind']}.{match['T']}"

    stage = r"stage(?P<S>\d)\."
    block = rf"{stage}downsample\.layer(?P<L>[1-4])\.(?P<B>\d)\."
    return (
        (rf"top\.conv\.(conv|bn)\.{_T}", r"stem.\1.\2"),
        (rf"{block}(conv_bn_relu(?P<C>[123])|downsample)\.(?P<kind>conv|bn)\.(?P<T>\w+)", convolution),
        *_mspn_units(stage),
    )


def mspn_mmpose() -> tuple[Rule, ...]:
    """Map the names of mmpose's MSPN."""

    def head(match: re.Match[str]) -> str:
        stage, unit = divmod(int(match["N"]), 4)
        return f"stages.{stage}.decoder.{unit}.head.{match['C']}.{match['kind']}.{match['T']}"

    stage = r"backbone\.multi_stage_mspn\.(?P<S>\d)\."
    answers = rf"{HEAD}predict_layers\.(?P<N>\d+)\.conv_layers\."
    return (
        (rf"backbone\.top\.top\.0\.(conv|bn)\.{_T}", r"stem.\1.\2"),
        *_bottlenecks(rf"{stage}downsample\.layer(?P<L>[1-4])\.(?P<B>\d)\.", "stages.{S}.encoder.{stage}."),
        *_mspn_units(stage),
        (rf"{answers}(?P<C>[01])\.(?P<kind>conv|bn)\.(?P<T>\w+)", head),
    )


_BLOCK_PARTS = {  # of princeton's residual block, which normalises before it convolves
    "bn1": "norm",
    "conv1.conv": "reduce.conv",
    "bn2": "reduce.bn",
    "conv2.conv": "filter.conv",
    "bn3": "filter.bn",
    "conv3.conv": "expand",
    "skip_layer.conv": "shortcut",
}


def hourglass() -> tuple[Rule, ...]:
    """Map the names of princeton-vl's stacked hourglass."""
    parts = {"up1": "skip", "low1": "down", "low2": "inner", "low3": "up"}

    def block(ours: Callable[[re.Match[str]], str]) -> Callable[[re.Match[str]], str]:
        return lambda match: f"{ours(match)}.{_BLOCK_PARTS[match['part']]}.{match['T']}"

    def way(match: re.Match[str]) -> str:
        return ".".join((f"stacks.{match['S']}", *(parts[step] for step in match["way"].split("."))))

    inside = rf"(?P<part>{'|'.join(map(re.escape, _BLOCK_PARTS))})\.(?P<T>\w+)"
    return (
        (rf"pre\.0\.(conv|bn)\.{_T}", r"stem.0.\1.\2"),
        (rf"pre\.(?P<I>[134])\.{inside}", block(lambda match: f"stem.{match['I']}")),
        (rf"hgs\.(?P<S>\d)\.0\.(?P<way>(low2\.)*(up1|low1|low2|low3))\.{inside}", block(way)),
        (rf"features\.(?P<S>\d)\.0\.{inside}", block(lambda match: f"mixes.{match['S']}.0")),
        (rf"features\.(\d)\.1\.(conv|bn)\.{_T}", r"mixes.\1.1.\2.\3"),
        (rf"outs\.(\d)\.conv\.{_T}", r"heads.\1.\2"),
        (rf"merge_features\.(\d)\.conv\.conv\.{_T}", r"feature_merges.\1.\2"),
        (rf"merge_preds\.(\d)\.conv\.conv\.{_T}", r"heatmap_merges.\1.\2"),
    )


def faster_rcnn() -> tuple[Rule, ...]:
    """Map torchvision's names; files of before its pyramid's and heads' convolutions had norms lack a `.0`."""
    return (
        *resnet(r"backbone\.body\.", "trunk."),
        (rf"backbone\.fpn\.inner_blocks\.([0-3])(?:\.0)?\.{_T}", r"fpn.lateral.\1.\2"),
        (rf"backbone\.fpn\.layer_blocks\.([0-3])(?:\.0)?\.{_T}", r"fpn.output.\1.\2"),
        (rf"rpn\.head\.conv(?:\.0\.0)?\.{_T}", r"rpn.conv.\1"),
        (rf"rpn\.head\.cls_logits\.{_T}", r"rpn.score.\1"),
        (rf"rpn\.head\.bbox_pred\.{_T}", r"rpn.shift.\1"),
        (rf"roi_heads\.box_head\.(fc[67])\.{_T}", r"head.\1.\2"),
        (rf"roi_heads\.box_predictor\.cls_score\.{_T}", r"head.score.\1"),
        (rf"roi_heads\.box_predictor\.bbox_pred\.{_T}", r"head.shift.\1"),
    )


def hourglass52() -> tuple[Rule, ...]:
    """Map the names of mmpose's hourglass of one stack."""
    parts = {"up1": "skip", "low1": "down", "low2": "inner", "low3": "up"}
    blocks = {"conv1": "first.conv", "bn1": "first.bn", "conv2": "second.conv", "bn2": "second.bn"}
    blocks |= {"downsample.0": "shortcut.conv", "downsample.1": "shortcut.bn"}

    def way(match: re.Match[str]) -> str:
        steps = ".".join(parts[step] for step in match["way"].split("."))
        return f"hourglass.{steps}.{match['B']}.{blocks[match['part']]}.{match['T']}"

    inside = rf"(?P<part>{'|'.join(map(re.escape, blocks))})\.(?P<T>\w+)"
    module = rf"{BODY}hourglass_modules\.0\."
    return (
        (rf"{BODY}stem\.0\.(conv|bn)\.{_T}", r"stem.0.\1.\2"),
        (rf"{BODY}stem\.1\.0\.{inside}", lambda match: f"stem.1.{blocks[match['part']]}.{match['T']}"),
        (rf"{module}(?P<way>(low2\.)*(up1|low1|low2|low3))\.(?P<B>\d)\.{inside}", way),
        (rf"{BODY}out_convs\.0\.(conv|bn)\.{_T}", r"mix.\1.\2"),
        (rf"{HEAD}multi_final_layers\.0\.{_T}", r"head.\1"),
    )
