"""What comes along with the pictures of a drawn video."""

from fractions import Fraction

import av
import numpy as np
import pytest

import clips
from posecli.config import OverlayConfig, ReadConfig
from posecli.errors import ConfigError
from posecli.media.encoders import find_encoder
from posecli.media.overlay import Drawer
from posecli.media.sinks import overlay_sink
from posecli.media.sources import open_source
from posecli.records import Annotated, Poses

LINES = [(0.5, "Hello <i>there</i>\r\nyou"), (1.25, "Über 写真")]


def overlay(path, directory, config=None, **reading):
    with open_source(path, ReadConfig(**reading)) as source:
        sink = overlay_sink(directory, source, Drawer(config=config or OverlayConfig()))
        stamps = []
        for frame in source:
            stamps.append(frame.time_s)
            sink.write(Annotated(frame, Poses.empty(), 0))
        (written,) = sink.finish()
    return written, stamps


def times(path):
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


def add_subtitles(path, codec, texts):
    """Bring a clip into a new file with subtitles."""
    target = path.with_name(f"with_{codec}.mkv")
    with av.open(str(path)) as source, av.open(str(target), "w") as output:
        pictures = output.add_stream_from_template(source.streams.video[0])
        lines = output.add_mux_stream(codec)
        lines.time_base = Fraction(1, 1000)
        lines.metadata["language"] = "deu"
        waiting = list(texts)
        for packet in source.demux(video=0):
            if packet.dts is None:
                continue
            while waiting and waiting[0][0] <= packet.dts * packet.time_base:
                time_s, text = waiting.pop(0)
                line = av.Packet(text.encode())
                line.pts = line.dts = int(time_s * 1000)
                line.duration, line.time_base, line.stream = 500, Fraction(1, 1000), lines
                output.mux(line)
            packet.stream = pictures
            output.mux(packet)
    return target


def subtitles(path):
    with av.open(str(path)) as container:
        (stream,) = container.streams.subtitles
        assert (stream.codec_context.name, stream.language) == ("mov_text", "deu")
        return [
            (float(packet.pts * packet.time_base), bytes(packet)[2:].decode())
            for packet in container.demux(stream)
            if packet.size > 2
        ]


@pytest.mark.skipif(
    not hasattr(av.container.OutputContainer, "add_mux_stream"), reason="this PyAV muxes no bare packets"
)
@pytest.mark.parametrize(
    ("codec", "texts"),
    [
        ("subrip", LINES),
        ("ass", [(0.5, "0,0,Default,,0,0,0,,Hello {\\i1}there{\\i0}\\Nyou"), (1.25, "1,0,Default,,0,0,0,,Über 写真")]),
    ],
)
def test_text_subtitles_become_the_mp4s_own(tmp_path, codec, texts):
    path = add_subtitles(clips.write_clip(tmp_path / "a.mkv", pts=range(50)), codec, texts)

    written, _ = overlay(path, tmp_path)

    assert subtitles(written) == [(0.5, "Hello there\nyou"), (1.25, "Über 写真")]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_late_start_is_kept_to_the_tick(tmp_path, suffix):
    path = clips.write_clip(
        tmp_path / f"a.{suffix}", pts=[k * 3003 + 45_001 for k in range(12)], time_base=Fraction(1, 90_000), bf=2
    )

    written, stamps = overlay(path, tmp_path)

    assert times(written) == stamps
    assert stamps[0] > 0.4


def test_a_drawn_part_begins_at_nought_and_has_its_own_sound(tmp_path):
    path = clips.write_clip(tmp_path / "a.mkv", pts=range(50), audio="aac")

    written, stamps = overlay(path, tmp_path, start=0.8, end=1.2)

    np.testing.assert_allclose(times(written), np.array(stamps) - stamps[0], atol=1e-9)
    with av.open(str(written)) as container:
        sound = [float(packet.pts * packet.time_base) for packet in container.demux(audio=0) if packet.size]
    assert 0 <= sound[0] < 0.03
    assert 0.3 < sound[-1] < 0.45


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1", "mjpeg", "mpeg4"])
def test_codecs_are_to_be_had_by_name_and_keep_colours_and_times(tmp_path, codec):
    try:
        find_encoder(codec)
    except ConfigError as missing:
        pytest.skip(str(missing))
    path = clips.write_clip(
        tmp_path / "a.mkv", pts=[0, 40, 90, 200], time_base=Fraction(1, 1000), size_wh=(128, 96), crf=5
    )

    written, stamps = overlay(path, tmp_path, OverlayConfig(overlay_codec=codec))

    with av.open(str(written)) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == codec
    if codec == "mpeg4":  # its time base has 16 bits
        np.testing.assert_allclose(times(written), stamps, atol=1e-4)
    else:
        assert times(written) == stamps
    with open_source(written) as drawn, open_source(path) as source:
        difference = abs(next(drawn).image.numpy().astype(int) - next(source).image.numpy())
    assert difference.mean() < 8


def test_any_encoder_of_ffmpeg_may_be_named():
    assert find_encoder("libx264rgb").pixels in {"bgr0", "bgr24", "rgb24", "gbrp"}
    assert find_encoder("libx264").pixels == "yuv420p"


@pytest.mark.parametrize("codec", ["prores_ks", "aac", "gif", "nonsense", ""])
def test_what_is_no_codec_for_it_is_refused_with_those_that_are(codec):
    with pytest.raises(ConfigError, match=f"--overlay-codec {codec}: not to be had here; choose from h264"):
        find_encoder(codec)


def test_a_hidden_face_stays_hidden_for_a_moment(tmp_path):
    from dataclasses import replace

    import torch

    rng = np.random.default_rng(0)
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv444p"
        still = rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)
        for _ in range(12):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(still, format="rgb24")))
        output.mux(stream.encode(None))
    points = torch.full((1, 17, 2), 64.0)
    points[0, 3:5, 0] = torch.tensor([76.0, 52.0])
    seen = Poses(torch.tensor([[30.0, 30, 100, 120]]), points, torch.full((1, 17), 0.9), torch.ones(1))
    seen = replace(seen, keypoint_scores=torch.cat((torch.full((1, 5), 0.9), torch.zeros(1, 12)), 1))

    with open_source(path) as source:
        sink = overlay_sink(tmp_path, source, Drawer(config=OverlayConfig(blur_faces=True)))
        for frame in source:
            sink.write(Annotated(frame, seen if frame.index == 1 else Poses.empty(), 0))
        (written,) = sink.finish()

    with av.open(str(written)) as container:
        frames = [frame.to_ndarray(format="gray")[70:78, 56:72].astype(int) for frame in container.decode(video=0)]
    detail = [np.abs(np.diff(part, axis=1)).mean() for part in frames]
    assert detail[0] > 25
    assert max(detail[2:8]) < 15  # .24 s at 25 frames/s
    assert detail[11] > 25
