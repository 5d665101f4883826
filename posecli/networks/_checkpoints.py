"""Public checkpoints that fit our networks: where they are, how to know them, and what their weights expect.

Sources: mmpose's model zoo (`configs/body_2d_keypoint/topdown_heatmap/coco/*.yml` of open-mmlab/mmpose@759b39c1),
torchvision 0.28.0 (`models/detection/faster_rcnn.py`), the READMEs of leoxiaobin/deep-high-resolution-net.pytorch
@6f69e467 and megvii-research/MSPN. The first eight digits of a file's SHA-256 stand in its name; that is the
publisher's own word, and what a download is checked against.

Left out, on purpose: UDP checkpoints, whose heatmaps have a stride of (input - 1) / (cells - 1) that is no whole number
of pixels; fp16 and AIC variants, which add nothing here; mmpose's ResNet-101 at 384x288, whose entry in the zoo names
the 256x192 file; SimCC networks (RTMPose), which have no heatmaps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

_MMPOSE = "https://download.openmmlab.com/mmpose"
_HRNET_FOLDER = "https://drive.google.com/drive/folders/1hOTihvbyIxsm5ygDpbUuJ7O_tzv4oXjC"
COCO_DETECTIONS = (
    "COCO val2017, boxes of a detector with person AP 56.4, flip test"  # HRNet's and mmpose's detection file
)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One file of public weights."""

    name: str  # of the checkpoint; the one to take first has its network's name
    network: str  # a name of `networks.available()`
    layout: str  # a name of `_foreign.LAYOUTS`
    url: str = ""  # empty: the publisher has no plain address, only a page for browsers
    page: str = ""  # where people find it
    file: str = ""  # the publisher's name of it, where the address does not say
    license: str
    ap: float | None  # as the publisher states it, in [0, 1]
    ap_on: str  # data and boxes of that figure
    dark: bool = False  # trained and to be decoded as DARK has it

    @property
    def file_name(self) -> str:
        """Return what the publisher calls the file."""
        return self.file or PurePosixPath(urlsplit(self.url).path).name

    @property
    def sha256_prefix(self) -> str:
        """Return the digits of the SHA-256 that the publisher put into the file's name; "" where there are none."""
        digits = re.search(r"-([0-9a-f]{8})(?=_\d{8}\.pth$|\.pth$)", self.file_name)
        return digits[1] if digits else ""


def _mmpose(name: str, network: str, path: str, ap: float, *, dark: bool = False) -> Checkpoint:
    return Checkpoint(
        name=name,
        network=network,
        layout="mmpose",
        url=f"{_MMPOSE}/{path}.pth",
        license="Apache-2.0",
        ap=ap,
        ap_on=COCO_DETECTIONS,
        dark=dark,
    )


def _mmpose_v1(network: str, config: str, digits: str, ap: float, *, dark: bool = False) -> Checkpoint:
    name = f"{network}-dark" if dark else network
    path = f"v1/body_2d_keypoint/topdown_heatmap/coco/td-hm_{config}-{digits}"
    return _mmpose(name, network, path, ap, dark=dark)


def _official(network: str, file: str, ap: float) -> Checkpoint:
    return Checkpoint(
        name=f"{network}-official",
        network=network,
        layout="official",
        page=_HRNET_FOLDER,
        file=file,
        license="MIT",
        ap=ap,
        ap_on=COCO_DETECTIONS,
    )


_TABLE = (
    _mmpose_v1("hrnet-w32", "hrnet-w32_8xb64-210e_coco-256x192", "81c58e40_20220909", 0.746),
    _mmpose_v1("hrnet-w32-384x288", "hrnet-w32_8xb64-210e_coco-384x288", "ca5956af_20220909", 0.760),
    _mmpose_v1("hrnet-w48", "hrnet-w48_8xb32-210e_coco-256x192", "0e67c616_20220913", 0.756),
    _mmpose_v1("hrnet-w48-384x288", "hrnet-w48_8xb32-210e_coco-384x288", "c161b7de_20220915", 0.767),
    _mmpose_v1("hrnet-w32", "hrnet-w32_dark-8xb64-210e_coco-256x192", "0e00bf12_20220914", 0.757, dark=True),
    _mmpose_v1("hrnet-w32-384x288", "hrnet-w32_dark-8xb64-210e_coco-384x288", "9bab4c9b_20220917", 0.766, dark=True),
    _mmpose_v1("hrnet-w48", "hrnet-w48_dark-8xb32-210e_coco-256x192", "e1ebdd6f_20220913", 0.764, dark=True),
    _mmpose_v1("hrnet-w48-384x288", "hrnet-w48_dark-8xb32-210e_coco-384x288", "39c3c381_20220916", 0.772, dark=True),
    _mmpose_v1("simplebaseline-r50", "res50_8xb64-210e_coco-256x192", "04af38ce_20220923", 0.718),
    _mmpose_v1("simplebaseline-r50-384x288", "res50_8xb64-210e_coco-384x288", "7b8db90e_20220923", 0.731),
    _mmpose_v1("simplebaseline-r101", "res101_8xb64-210e_coco-256x192", "065d3625_20220926", 0.728),
    _mmpose_v1("simplebaseline-r152", "res152_8xb32-210e_coco-256x192", "0345f330_20220928", 0.736),
    _mmpose_v1("simplebaseline-r152-384x288", "res152_8xb32-210e_coco-384x288", "7fbb906f_20220927", 0.750),
    _mmpose("mspn-1", "mspn-1", "top_down/mspn/mspn50_coco_256x192-8fbfb5d0_20201123", 0.723),
    _mmpose("mspn-2", "mspn-2", "top_down/mspn/2xmspn50_coco_256x192-c8765a5c_20201123", 0.754),
    _mmpose("mspn-3", "mspn-3", "top_down/mspn/3xmspn50_coco_256x192-e348f18e_20201123", 0.758),
    _mmpose("mspn-4", "mspn-4", "top_down/mspn/4xmspn50_coco_256x192-7b837afb_20201123", 0.765),
    _mmpose("hourglass-52", "hourglass-52", "top_down/hourglass/hourglass52_coco_256x256-4ec713ba_20200709", 0.726),
    _mmpose(
        "hourglass-52-384x384",
        "hourglass-52-384x384",
        "top_down/hourglass/hourglass52_coco_384x384-be91ba2b_20200812",
        0.746,
    ),
    Checkpoint(
        name="fasterrcnn-r50-fpn",
        network="fasterrcnn-r50-fpn",
        layout="torchvision",
        url="https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
        license="BSD-3-Clause",
        ap=0.370,
        ap_on="COCO val2017, box AP over 80 classes",
    ),
    Checkpoint(
        name="mspn-2-official",
        network="mspn-2",
        layout="official",
        page="https://drive.google.com/open?id=1MW27OY_4YetEZ4JiD4PltFGL_1-caECy",
        license="MIT",
        ap=0.745,
        ap_on="COCO val2017, the detector's boxes, flip test",
    ),
    _official("simplebaseline-r50", "pose_resnet_50_256x192.pth", 0.704),
    _official("simplebaseline-r50-384x288", "pose_resnet_50_384x288.pth", 0.722),
    _official("simplebaseline-r101", "pose_resnet_101_256x192.pth", 0.714),
    _official("simplebaseline-r101-384x288", "pose_resnet_101_384x288.pth", 0.736),
    _official("simplebaseline-r152", "pose_resnet_152_256x192.pth", 0.720),
    _official("simplebaseline-r152-384x288", "pose_resnet_152_384x288.pth", 0.743),
    _official("hrnet-w32", "pose_hrnet_w32_256x192.pth", 0.744),
    _official("hrnet-w32-384x288", "pose_hrnet_w32_384x288.pth", 0.758),
    _official("hrnet-w48", "pose_hrnet_w48_256x192.pth", 0.751),
    _official("hrnet-w48-384x288", "pose_hrnet_w48_384x288.pth", 0.763),
)

CHECKPOINTS = {checkpoint.name: checkpoint for checkpoint in _TABLE}
