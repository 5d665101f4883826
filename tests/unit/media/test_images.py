import struct
import zlib

import cv2
import numpy as np
import pytest

from posecli.errors import ConfigError, InputError
from posecli.media import images
from posecli.media.headers import read_header
from posecli.media.images import read_image
from posecli.media.sources import open_source


@pytest.fixture
def corners():
    """Every corner has another colour (RGB), so that any turn shows."""
    rgb = np.full((40, 60, 3), 128, np.uint8)
    rgb[:10, :10], rgb[:10, -10:] = (250, 0, 0), (0, 250, 0)
    rgb[-10:, :10], rgb[-10:, -10:] = (0, 0, 250), (250, 250, 0)
    return rgb


def save(path, rgb, *options):
    _, data = cv2.imencode(path.suffix, rgb[..., ::-1] if rgb.ndim == 3 else rgb, *options)
    path.write_bytes(data.tobytes())
    return path


def exif(orientation):
    return b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + struct.pack(">H", orientation) + b"\0\0\0\0\0\0"


def png_chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def stored_like(rgb, orientation):
    """The picture as a camera stores it that notes this orientation; EXIF 2.3, table 6."""
    stored = {
        1: rgb,
        2: rgb[:, ::-1],
        3: rgb[::-1, ::-1],
        4: rgb[::-1],
        5: rgb.swapaxes(0, 1),
        6: np.rot90(rgb, 1),
        7: rgb[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(rgb, -1),
    }
    return np.ascontiguousarray(stored[orientation])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_a_jpeg_is_applied(tmp_path, corners, orientation):
    data = save(tmp_path / "a.jpg", stored_like(corners, orientation), [cv2.IMWRITE_JPEG_QUALITY, 100]).read_bytes()
    block = b"Exif\0\0" + exif(orientation)
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:])

    image = read_image(tmp_path / "a.jpg").numpy()

    assert image.shape == corners.shape
    assert abs(image[5::29, 5::49].astype(int) - corners[5::29, 5::49]).max() < 12  # JPEG


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_transparent_png_is_applied(tmp_path, corners, orientation):
    rgba = np.dstack((stored_like(corners, orientation), np.full(stored_like(corners, orientation).shape[:2], 255)))
    _, data = cv2.imencode(".png", rgba[..., [2, 1, 0, 3]].astype(np.uint8))
    data = data.tobytes()
    (tmp_path / "a.png").write_bytes(data[:33] + png_chunk(b"eXIf", exif(orientation)) + data[33:])

    np.testing.assert_array_equal(read_image(tmp_path / "a.png").numpy(), corners)


def test_grey_is_spread_to_three_channels(tmp_path):
    grey = np.arange(200, dtype=np.uint8).reshape(10, 20)

    image = read_image(save(tmp_path / "a.png", grey)).numpy()

    np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_keep_their_upper_byte(tmp_path, suffix):
    deep = np.array([[[0x1234, 0x8000, 0xFFFF]]], np.uint16).repeat(4, axis=0)

    image = read_image(save(tmp_path / f"a{suffix}", deep)).numpy()

    assert abs(image[0, 0].astype(int) - (0x12, 0x80, 0xFF)).max() <= 1  # some decoders round


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_transparent_parts_become_white(tmp_path, suffix):
    bgra = np.zeros((4, 3, 4), np.uint8)
    bgra[1] = (0, 0, 200, 255)  # opaque red
    bgra[2] = (0, 0, 0, 128)
    _, data = cv2.imencode(suffix, bgra, [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else [])
    (tmp_path / f"a{suffix}").write_bytes(data.tobytes())

    image = read_image(tmp_path / f"a{suffix}").numpy()

    assert image[:3, 0].tolist() == [[255] * 3, [200, 0, 0], [127] * 3]


def test_a_palette_image_is_read(tmp_path):
    header = struct.pack(">IIBBBBB", 2, 1, 8, 3, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"PLTE", bytes((10, 20, 30, 40, 50, 60))), (b"IDAT", zlib.compress(b"\0\1\0"))]
    data = b"".join(png_chunk(*chunk) for chunk in [*chunks, (b"IEND", b"")])
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)

    assert read_image(tmp_path / "a.png").tolist() == [[[40, 50, 60], [10, 20, 30]]]


def test_names_may_be_in_any_script(tmp_path, corners):
    np.testing.assert_array_equal(read_image(save(tmp_path / "Über 写真 🙂.png", corners)).numpy(), corners)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", ".bmp"])
def test_headers_tell_the_size(tmp_path, corners, suffix):
    header = read_header(save(tmp_path / f"a{suffix}", corners).read_bytes())

    assert (header.width, header.height, header.has_alpha, header.is_cut_off) == (60, 40, False, False)


def test_a_header_of_absurd_size_is_refused_before_decoding(tmp_path, corners):
    data = save(tmp_path / "bomb.png", corners).read_bytes()
    (tmp_path / "bomb.png").write_bytes(data[:16] + struct.pack(">II", 50_000, 50_000) + data[24:])

    with pytest.raises(InputError, match=r"bomb.png: 50000x50000 pixels, wanted 200 million at most"):
        read_image(tmp_path / "bomb.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_file_that_was_cut_off_is_no_picture(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    path = save(tmp_path / f"a{suffix}", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(InputError, match="cut off after"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", ".bmp", ".ppm", ".jp2"])
def test_damaged_files_never_crash(tmp_path, corners, suffix):
    whole = save(tmp_path / f"a{suffix}", corners).read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole[: generator.integers(1, len(whole) + 1)])
        for place in generator.integers(0, min(len(data), 200), 4):
            data[place] = generator.integers(256)
        message = ""
        try:
            image = images.decode_image(np.frombuffer(bytes(data), np.uint8), "a")
        except InputError as error:
            message = str(error)
        else:
            assert (image.ndim, image.dtype) == (3, np.uint8)
        assert "\n" not in message


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "an empty file"), (b"hello", "not an image"), (b"\x89PNG\r\n\x1a\n" + b"IEND" * 9, "")],
)
def test_other_content_is_said_to_be_no_image(tmp_path, data, message):
    (tmp_path / "a.png").write_bytes(data)

    with pytest.raises(InputError, match=f"a.png: .*{message}"):
        read_image(tmp_path / "a.png")


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no.png: cannot be read \(No such file"):
        read_image(tmp_path / "no.png")


@pytest.fixture
def pillow():
    return pytest.importorskip("PIL.Image", reason="Pillow, which writes what OpenCV cannot, is not installed")


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_becomes_rgb(tmp_path, pillow, corners, suffix):
    pillow.fromarray(corners).convert("CMYK").save(tmp_path / f"a{suffix}")

    image = read_image(tmp_path / f"a{suffix}").numpy().astype(int)

    assert abs(image[5::29, 5::49] - corners[5::29, 5::49]).max() < 16


@pytest.mark.parametrize(
    ("mode", "suffix"), [("P", ".png"), ("P", ".tif"), ("1", ".png"), ("LA", ".png"), ("L", ".jpg")]
)
def test_palettes_and_greys_become_rgb(tmp_path, pillow, corners, mode, suffix):
    picture = pillow.fromarray(corners)
    picture = picture.quantize(16) if mode == "P" else picture.convert(mode)
    picture.save(tmp_path / f"a{suffix}")

    image = read_image(tmp_path / f"a{suffix}").numpy().astype(int)

    assert abs(image[5, 5] - np.asarray(picture.convert("RGB"), int)[5, 5]).max() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_turned_by_its_boxes(tmp_path, pillow, corners, orientation):
    from PIL import features

    if not (features.check("avif") and cv2.haveImageWriter(".avif")):
        pytest.skip("this Pillow or this OpenCV has no AVIF")
    tags = pillow.Exif()
    tags[0x112] = orientation
    pillow.fromarray(stored_like(corners, orientation)).save(tmp_path / "a.avif", exif=tags, quality=95)

    image = read_image(tmp_path / "a.avif").numpy()

    assert image.shape == corners.shape
    assert abs(image[5::29, 5::49].astype(int) - corners[5::29, 5::49]).max() < 12


def test_pages_of_a_tiff_after_the_first_are_remarked_on(tmp_path, corners):
    cv2.imwritemulti(str(tmp_path / "a.tif"), [corners, corners, corners])

    with open_source(tmp_path / "a.tif") as source:
        (frame,) = source
        assert (frame.width, frame.height) == (60, 40)
        assert source.remarks() == ("page 1 of 3 was read; save the others as files",)


def test_a_tiff_whose_pages_go_in_a_circle_is_read_once(tmp_path, corners):
    data = bytearray(save(tmp_path / "a.tif", corners).read_bytes())
    (place,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, place)
    data[place + 2 + 12 * count : place + 6 + 12 * count] = struct.pack("<I", place)

    assert read_header(bytes(data)).num_frames == 1


@pytest.mark.parametrize("brand", [b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1heic", b"hevc\0\0\0\0hevc"])
def test_a_heic_picture_is_told_as_such(tmp_path, brand):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(300))

    with pytest.raises(InputError, match=r"a\.heic: a HEIC picture, which OpenCV cannot read; convert it to JPEG"):
        open_source(tmp_path / "a.heic")


@pytest.mark.parametrize(
    "data",
    [
        b"P5\n# a comment\n60000 60000\n255\n",
        b"BM" + bytes(8) + struct.pack("<IIii", 54, 40, 60000, -60000) + bytes(40),
        b"\0\0\0\x18ftypavif" + bytes(40) + b"ispe" + struct.pack(">III", 0, 60000, 60000) + bytes(40),
        b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20) + b"ihdr" + struct.pack(">II", 60000, 60000) + bytes(40),
        b"RIFF\x40\0\0\0WEBPVP8X\n\0\0\0\0\0\0\0" + b"\x3f\xff\0" * 2 + bytes(60),
    ],
)
def test_bombs_of_every_format_are_refused_with_the_way_out(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)

    with pytest.raises(InputError, match=r"wanted 200 million at most; scale it down, or raise POSECLI_MAX_PIXELS"):
        read_image(tmp_path / "a.png")


def test_the_limit_can_be_lifted(tmp_path, corners, monkeypatch):
    path = save(tmp_path / "a.png", corners)
    monkeypatch.setenv("POSECLI_MAX_PIXELS", "2399")
    with pytest.raises(InputError, match=r"60x40 pixels, wanted 0\.002399 million"):
        read_image(path)
    monkeypatch.setenv("POSECLI_MAX_PIXELS", "2400")
    assert read_image(path).shape == (40, 60, 3)
    monkeypatch.setenv("POSECLI_MAX_PIXELS", "many")
    with pytest.raises(ConfigError, match="POSECLI_MAX_PIXELS=many: wanted a whole number of pixels"):
        read_image(path)
