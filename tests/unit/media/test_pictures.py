"""Colours, through files whose YUV values are worked out here from the standards' formulas."""

import av
import numpy as np
import pytest

from posecli.media.sources import open_source

COLOURS = np.array(
    [[235, 30, 30], [30, 200, 40], [20, 40, 220], [250, 250, 250], [128, 128, 128], [5, 5, 5], [240, 200, 20]], np.uint8
)
KR_KB = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
CODES = {"bt601": 6, "bt709": 1, "bt2020": 9, None: 2}  # ITU-T H.273
PQ, HLG, BT2020 = 16, 18, 9


def to_yuv(rgb, matrix, *, full, bits):
    """Return (3, N) Y Cb Cr of (N, 3) R'G'B' in [0, 1]. Source: ITU-R BT.601, BT.709, BT.2020; H.273 for the ranges."""
    kr, kb = KR_KB[matrix]
    red, green, blue = rgb.T
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = [(blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)]
    top, scale = 2**bits - 1, 2 ** (bits - 8)
    if full:
        values = [luma * top, *(part * top + 128 * scale for part in chroma)]
    else:
        values = [(16 + 219 * luma) * scale, *((128 + 224 * part) * scale for part in chroma)]
    return np.clip(np.rint(values), 0, top)


def write_yuv(path, yuv, *, bits, full=False, height=16, tile=16, **context):
    """Write one frame of vertical stripes, (3, N) Y Cb Cr, without loss."""
    planes = np.repeat(np.repeat(yuv[:, None], height, 1), tile, 2).astype(np.uint16 if bits > 8 else np.uint8)
    pixels = "yuv444p" if bits == 8 else f"yuv444p{bits}le"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = planes.shape[2], height, pixels
        stream.codec_context.color_range = 2 if full else 1
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        frame = av.VideoFrame(planes.shape[2], height, pixels)
        for plane, values in zip(frame.planes, planes, strict=True):
            row = np.zeros((height, plane.line_size // values.itemsize), values.dtype)
            row[:, : values.shape[1]] = values
            plane.update(row.tobytes())
        frame.color_range = stream.codec_context.color_range
        for name, value in context.items():
            setattr(frame, name, value)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def stripes(path, tile=16):
    """Return (N, 3): each stripe's colour as it is read."""
    with open_source(path) as source:
        return next(source).image.numpy()[8, tile // 2 :: tile].astype(int)


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_known_colours_come_back_through_each_matrix_range_and_depth(tmp_path, matrix, full, bits):
    yuv = to_yuv(COLOURS / 255, matrix, full=full, bits=bits)

    read = stripes(write_yuv(tmp_path / "a.mkv", yuv, bits=bits, full=full, colorspace=CODES[matrix]))

    np.testing.assert_allclose(read, COLOURS, atol=2)


@pytest.mark.parametrize(("height", "matrix"), [(16, "bt601"), (720, "bt709")])
def test_without_a_stated_matrix_hd_is_bt709_and_less_is_bt601(tmp_path, height, matrix):
    yuv = to_yuv(COLOURS / 255, matrix, full=False, bits=8)

    read = stripes(write_yuv(tmp_path / "a.mkv", yuv, bits=8, height=height))

    np.testing.assert_allclose(read, COLOURS, atol=2)


def pq(nits):
    """SMPTE ST 2084, inverse EOTF."""
    power = (np.asarray(nits) / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def hlg(light):
    """ITU-R BT.2100, OETF of scene light in [0, 1]."""
    light = np.asarray(light)
    return np.where(light <= 1 / 12, np.sqrt(3 * light), 0.17883277 * np.log(12 * light - 0.28466892) + 0.55991073)


def read_hdr(path, signal, transfer):
    yuv = to_yuv(np.asarray(signal, float), "bt2020", full=False, bits=10)
    tags = {"colorspace": CODES["bt2020"], "color_primaries": BT2020, "color_trc": transfer}
    return stripes(write_yuv(path, yuv, bits=10, **tags))


def test_pq_greys_keep_their_look_and_highlights_are_rolled_off(tmp_path):
    nits = np.array([0, 5, 26, 100, 203, 400, 1000, 4000])

    read = read_hdr(tmp_path / "a.mkv", np.repeat(pq(nits)[:, None], 3, 1), PQ)

    assert np.ptp(read, axis=1).max() <= 2  # grey stays grey
    grey = read[:, 1]
    srgb = 255 * (1.055 * (nits[1:4] / 203) ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(grey[1:4], srgb, atol=2)  # up to half of paper white as an SDR camera would have it
    assert grey[0] == 0
    assert 225 <= grey[4] < grey[5] < grey[6] == 255  # paper white is nearly white, lamps are still brighter
    assert grey[7] == 255


def test_hlg_paper_white_is_where_pq_has_it(tmp_path):
    signal = np.array([0.0, 0.75, 1.0])  # BT.2408: 75% is paper white, 203 nits

    read = read_hdr(tmp_path / "a.mkv", np.repeat(signal[:, None], 3, 1), HLG)

    assert read[0].max() == 0
    assert 225 <= read[1].min() <= read[1].max() <= 240
    assert read[2].min() == 255


def test_a_bt709_red_in_an_hdr_file_is_red(tmp_path):
    red = np.array([0.6274, 0.0691, 0.0164])  # BT.2087: BT.709's red in BT.2020 light

    read = read_hdr(tmp_path / "a.mkv", [pq(100 * red)], PQ)[0]

    expected = 255 * (1.055 * (100 / 203) ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(read, [expected, 0, 0], atol=6)  # 10-bit steps in the dark channels


def test_hdr_is_remarked_on(tmp_path):
    read_hdr(tmp_path / "a.mkv", [[0.5] * 3], PQ)

    with open_source(tmp_path / "a.mkv") as source:
        list(source)
        assert source.remarks() == ("HDR, tone-mapped to 8-bit SDR",)
        assert source.notes() == ()


@pytest.mark.parametrize(
    ("codec", "pixels", "suffix"),
    [
        ("ffv1", "bgra", "mkv"),
        ("png", "rgba", "mov"),
        ("prores_ks", "yuva444p10le", "mov"),
        ("libvpx-vp9", "yuva420p", "webm"),
    ],
)
def test_transparent_parts_are_black(tmp_path, codec, pixels, suffix):
    rgba = np.zeros((48, 64, 4), np.uint8)
    rgba[..., 0] = 250
    rgba[:, 32:, 3] = 255
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25, options={"lossless": "1"} if "vp9" in codec else {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        if "vp9" in codec:
            stream.metadata["alpha_mode"] = "1"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba")))
        output.mux(stream.encode(None))

    with open_source(path) as source:
        image = next(source).image.numpy()

    assert image[:, :28].max() <= 6
    np.testing.assert_allclose(image[:, 36:].reshape(-1, 3), [[250, 0, 0]] * (28 * 48), atol=6)


@pytest.mark.parametrize("pixels", ["gray", "gray10le", "gray16le"])
def test_grey_video_is_grey_rgb(tmp_path, pixels):
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))
    with av.open(str(tmp_path / "a.mkv"), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        output.mux(stream.encode(av.VideoFrame.from_ndarray(ramp, format="gray").reformat(format=pixels)))
        output.mux(stream.encode(None))

    with open_source(tmp_path / "a.mkv") as source:
        image = next(source).image.numpy().astype(int)

    assert np.ptp(image, axis=2).max() == 0
    np.testing.assert_allclose(image[..., 0], ramp, atol=2)
