"""A decoded picture of a video as 8-bit sRGB: colour matrix and range, HDR, transparency."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np

# Codes of ITU-T H.273, which FFmpeg has as they are.
_UNSPECIFIED = 2
_PQ, _HLG = 16, 18
_BT2020_PRIMARIES = 9
_HD_WH = (1280, 577)  # pictures without a stated matrix are taken for BT.709 from here on, as players do

_WHITE_NITS = 203  # a sheet of white paper in an HDR picture; becomes SDR's white, less what highlights need (BT.2408)
_PEAK_NITS = 1000  # brighter light is cut
_KNEE = 0.6  # linear light below stays as it is, all above shares what remains up to white
_STEPS = 4095  # of linear light; the smallest is less than one of 255 sRGB steps
_ROWS = 128  # of a picture worked on at a time, to stay in the processor's cache
_BT2020_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)  # BT.2087


def to_rgb(picture: Any, context: Any) -> np.ndarray:
    """Return an av.VideoFrame as (H, W, 3) uint8 sRGB.

    The picture's own matrix and range are undone; without a stated matrix it is BT.709 for HD and BT.601 for less. HDR
    (PQ, HLG) is brought to SDR: light up to about half of paper white stays, brighter light is rolled off. Transparent
    parts become black, as players show them.

    Args:
        picture: as the decoder gave it.
        context: the decoder's av.CodecContext, which knows transfer and primaries.
    """
    options = {"src_colorspace": "ITU709"} if _is_untagged_hd(picture) else {}
    if needs_tone_mapping(context):
        return _through_linear_light(picture.to_ndarray(format="rgb48le", **options), _hdr_light(context.color_trc))
    if context.color_primaries == _BT2020_PRIMARIES:
        return _through_linear_light(picture.to_ndarray(format="rgb48le", **options), _sdr_light())
    if any(component.is_alpha for component in picture.format.components):
        return over_black(picture.to_ndarray(format="rgba", **options))
    image: np.ndarray = picture.to_ndarray(format="rgb24", **options)
    return image


def needs_tone_mapping(context: Any) -> bool:
    """Tell whether a stream's light goes beyond SDR's white."""
    return context.color_trc in {_PQ, _HLG}


def _is_untagged_hd(picture: Any) -> bool:
    wide = picture.width >= _HD_WH[0] or picture.height >= _HD_WH[1]
    return wide and picture.colorspace == _UNSPECIFIED and not picture.format.is_rgb


def over_black(rgba: np.ndarray) -> np.ndarray:
    """Lay (H, W, 4) uint8 over black; its colours are not multiplied with their opacity yet."""
    opacity = rgba[:, :, 3:].astype(np.uint16)
    return ((rgba[:, :, :3] * opacity + 127) // 255).astype(np.uint8)


def _through_linear_light(signal: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint16 BT.2020 RGB as sRGB, with `light` (65536,) in [0, 1] for each signal value."""
    image = np.empty(signal.shape, np.uint8)
    for top in range(0, len(signal), _ROWS):
        linear = cv2.transform(light[signal[top : top + _ROWS]], _BT2020_TO_709)
        steps = (np.clip(linear, 0, 1) * _STEPS + 0.5).astype(np.uint16)
        image[top : top + _ROWS] = _srgb_steps()[steps]
    return image


@lru_cache(maxsize=2)
def _hdr_light(transfer: int) -> np.ndarray:
    """Return (65536,) linear light in [0, 1], highlights rolled off, for each 16-bit signal value."""
    signal = np.linspace(0, 1, 1 << 16)
    nits = _pq_nits(signal) if transfer == _PQ else _hlg_nits(signal)
    relative = np.minimum(nits, _PEAK_NITS) / _WHITE_NITS
    over = np.maximum(relative - _KNEE, 0) / (1 - _KNEE)
    most = (_PEAK_NITS / _WHITE_NITS - _KNEE) / (1 - _KNEE)
    rolled = _KNEE + (1 - _KNEE) * over / (1 + over) * (1 + 1 / most)
    return np.where(relative > _KNEE, rolled, relative).astype(np.float32)


def _pq_nits(signal: np.ndarray) -> np.ndarray:
    """Source: SMPTE ST 2084, the EOTF."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = signal ** (1 / m2)
    return 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)


def _hlg_nits(signal: np.ndarray) -> np.ndarray:
    """Source: ITU-R BT.2100, inverse OETF and, taken by channel, the OOTF of a display of 1000 nits."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return 1000 * scene**1.2


@lru_cache(maxsize=1)
def _sdr_light() -> np.ndarray:
    """Return (65536,) linear light in [0, 1] of an SDR signal shown on an sRGB screen."""
    signal = np.linspace(0, 1, 1 << 16)
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4).astype(np.float32)


@lru_cache(maxsize=1)
def _srgb_steps() -> np.ndarray:
    """Return the sRGB value, uint8, of each of `_STEPS` + 1 steps of linear light. Source: IEC 61966-2-1."""
    light = np.linspace(0, 1, _STEPS + 1)
    signal = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(signal * 255).astype(np.uint8)
