import cv2
import numpy as np
import pytest

from posecli.config import ReadConfig
from posecli.errors import ConfigError, InputError
from posecli.media.sources import count_frames, open_source

pytestmark = pytest.mark.skipif(not hasattr(cv2, "imencodeanimation"), reason="this OpenCV writes no animations")
DURATIONS = [100, 50, 200, 100, 100]


def write(path, *, alpha=False):
    animation = cv2.Animation()
    opacity = np.zeros((48, 64), np.uint8)
    opacity[:, 32:] = 255
    planes = [np.full((48, 64), 255, np.uint8), opacity][alpha]
    animation.frames = [np.dstack([np.full((48, 64, 3), 40 * index, np.uint8), planes]) for index in range(5)]
    animation.durations = np.array(DURATIONS)
    suffix = path.suffix if path.suffix != ".apng" else ".png"
    path.write_bytes(cv2.imencodeanimation(suffix, animation)[1].tobytes())
    return path


def read(path, **reading):
    with open_source(path, ReadConfig(**reading)) as source:
        return list(source), source


@pytest.mark.parametrize("suffix", [".webp", ".avif", ".gif", ".apng"])
def test_animated_images_are_videos_with_their_own_times(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}")

    frames, source = read(path)

    assert (source.kind, len(frames)) == ("video", 5)
    assert count_frames(path) in {5, None}  # an APNG does not say before
    assert [round(frame.time_s, 3) for frame in frames] == [0, 0.1, 0.15, 0.35, 0.45]
    for index, frame in enumerate(frames):
        assert abs(int(frame.image[5, 5, 0]) - 40 * index) < (30 if suffix == ".gif" else 6)  # GIF has few colours
    assert source.notes() == ()


def test_transparent_parts_of_an_animation_are_black(tmp_path):
    frames, _ = read(write(tmp_path / "a.webp", alpha=True))

    assert frames[4].image[:, :30].max() == 0
    assert abs(int(frames[4].image[5, 40, 0]) - 160) < 6


def test_a_part_of_an_animation_is_read(tmp_path):
    path = write(tmp_path / "a.webp")

    assert [frame.index for frame in read(path, start=0.1, end=0.4)[0]] == [1, 2, 3]
    assert [frame.index for frame in read(path, stride=2, max_frames=2)[0]] == [0, 2]
    with pytest.raises(ConfigError, match="no frame from --start on; it has 5 frames before"):
        read(path, start=9)


def test_an_animation_too_large_or_damaged_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "a.webp")
    monkeypatch.setenv("POSECLI_MAX_PIXELS", str(64 * 48 * 4))
    with pytest.raises(InputError, match=r"5 pictures of 64x48 pixels, wanted 0\.012288 million pixels at most"):
        open_source(path)

    monkeypatch.delenv("POSECLI_MAX_PIXELS")
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InputError, match="the animation is cut off"):
        open_source(path)
    data = bytearray(write(path).read_bytes())
    data[60:] = bytes(len(data) - 60)
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"a damaged animated WEBP|cut off"):
        open_source(path)
