from fractions import Fraction

import pytest
import torch

import clips
from posecli.config import ReadConfig
from posecli.errors import ConfigError
from posecli.media.selection import Selection, expected
from posecli.media.sources import count_frames, open_source

VFR = [*range(0, 300, 10), *range(300, 900, 30), 901, 977]


def read(path, **reading):
    with open_source(path, ReadConfig(**reading)) as source:
        return list(source), source


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        ("mp4", "libx264", {"g": 10, "bf": 3}),
        ("mkv", "libx265", {"x265-params": "log-level=none:open-gop=1:keyint=8:bframes=3"}),
        ("ts", "libx264", {"g": 10, "bf": 2}),
        ("mkv", "ffv1", {}),
        ("avi", "mpeg4", {"g": 10}),
    ],
)
@pytest.mark.parametrize(("start", "end"), [(0.6, 1.0), (1.32, None), (0.0, 0.2)])
def test_a_part_is_the_same_frames_as_in_the_whole(tmp_path, suffix, codec, options, start, end):
    path = clips.write_clip(tmp_path / f"a.{suffix}", pts=range(40), codec=codec, **options)
    whole, _ = read(path)
    origin = whole[0].time_s

    part, source = read(path, start=start, end=end)

    wanted = [f for f in whole if start <= round(f.time_s - origin, 6) < (end or 99)]
    assert [(f.index, f.pts, f.file_name) for f in part] == [(f.index, f.pts, f.file_name) for f in wanted]
    assert all(torch.equal(a.image, b.image) for a, b in zip(part, wanted, strict=True))
    assert source.notes() == ()  # the rest is not missed


def test_time_is_the_time_stamps_not_the_index(tmp_path):
    path = clips.write_clip(tmp_path / "a.mkv", pts=VFR, time_base=Fraction(1, 1000), bf=0, g=12)

    part, _ = read(path, start=0.31, end=0.5)

    assert [frame.pts for frame in part] == [330, 360, 390, 420, 450, 480]
    assert part[0].index == VFR.index(330)


def test_what_lies_before_the_last_key_frame_is_not_decoded(tmp_path, monkeypatch):
    path = clips.write_clip(tmp_path / "a.mkv", pts=range(60), codec="mpeg4", g=10)
    decoded = 0
    from posecli.media import video

    convert = video.VideoReader._chosen

    def counted(reader, picture):
        nonlocal decoded
        decoded += 1
        yield from convert(reader, picture)

    monkeypatch.setattr(video.VideoReader, "_chosen", counted)
    part, _ = read(path, start=2.2, end=2.3)

    assert len(part) == 3
    assert decoded < 12  # of 60


def test_stride_and_number_count_from_the_start(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", pts=range(30))

    part, _ = read(path, start=0.2, stride=4, max_frames=3)

    assert [frame.index for frame in part] == [5, 9, 13]
    assert [frame.file_name for frame in part][1] == "a_000009.png"


def test_a_start_behind_the_end_is_told(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", pts=range(12))

    with pytest.raises(ConfigError, match=r"a\.mp4: no frame from --start on; it has 12 frames before"):
        open_source(path, ReadConfig(start=3))


def test_a_file_that_was_cut_off_is_still_told_when_a_part_reaches_its_end(tmp_path):
    path = clips.write_clip(tmp_path / "a.mkv", pts=range(200), crf=10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    assert read(path, stride=5)[1].notes()
    assert not read(path, max_frames=5)[1].notes()


def test_images_of_a_folder_are_chosen_by_stride_and_number(tmp_path):
    import cv2
    import numpy as np

    for index in range(7):
        (tmp_path / f"{index}.png").write_bytes(cv2.imencode(".png", np.zeros((6, 8), np.uint8))[1].tobytes())

    part, source = read(tmp_path, stride=3, max_frames=2, start=5)  # a time says nothing of images

    assert [(frame.index, frame.file_name) for frame in part] == [(0, "0.png"), (3, "3.png")]
    assert source.header_frames == 7
    assert count_frames(tmp_path, ReadConfig(stride=3)) == 3


def test_streams_are_chosen_by_number(tmp_path):
    import av

    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        streams = []
        for width in (64, 32):
            stream = output.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, 48, "yuv444p"
            streams.append(stream)
        for stream, width in zip(streams, (64, 32), strict=True):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(clips.picture(0, 48, width), format="rgb24")))
            output.mux(stream.encode(None))

    assert read(path, stream=1)[0][0].width == 32
    frames, source = read(path)
    assert frames[0].width == 64
    assert source.remarks() == ("video stream 0 of 2 was read; --stream chooses another",)
    with pytest.raises(ConfigError, match=r"--stream 2, but its video streams are 0 to 1"):
        open_source(path, ReadConfig(stream=2))


def test_a_count_before_the_work_is_that_after_it(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", pts=range(50))

    for reading in (
        ReadConfig(),
        ReadConfig(start=0.4, end=1.2),
        ReadConfig(stride=7),
        ReadConfig(start=1, max_frames=4),
    ):
        with open_source(path, reading) as source:
            assert count_frames(path, reading) == len(list(source))


def test_an_end_that_no_float_can_hold_is_met_exactly():
    selection = Selection(ReadConfig(start=0.1, end=0.3), 0, Fraction(1, 10))

    taken = [selection.takes(pts) for pts in range(5) if not selection.ended]

    assert taken == [False, True, True, False]
    assert expected(100, ReadConfig(stride=3), first=10, last=20) == 4
    assert expected(5, ReadConfig(), first=10) == 0
