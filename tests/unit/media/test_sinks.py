from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

import clips
from posecli.media.sinks import overlay_sink
from posecli.media.sources import open_source
from posecli.records import Annotated, Frame, Poses

VFR = [*range(0, 300, 10), *range(300, 900, 30), 901, 977]


def overlay(path, directory):
    with open_source(path) as source:
        sink = overlay_sink(directory, source)
        stamps = []
        for frame in source:
            stamps.append(frame.time_s)
            sink.write(Annotated(frame, Poses.empty(), 0))
        (written,) = sink.finish()
    return written, stamps


def packets(path, kind):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(getattr(container.streams, kind)) if packet.size]


def test_a_video_overlay_keeps_every_time_stamp_and_copies_the_sound(tmp_path):
    path = clips.write_clip(tmp_path / "walk.mkv", pts=VFR, time_base=Fraction(1, 1000), audio="aac")

    written, stamps = overlay(path, tmp_path / ".")

    assert written.name == "walk.overlay.mp4"
    with open_source(written) as source:
        assert [frame.time_s for frame in source] == stamps
    assert packets(written, "audio") == packets(path, "audio")
    head = written.read_bytes()
    assert 0 < head.find(b"moov") < head.find(b"mdat")  # faststart: players begin before the whole file is there
    with av.open(str(written)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
    assert not [name for name in tmp_path.iterdir() if name.name.startswith(".")]


def test_sound_and_pictures_alternate(tmp_path):
    path = clips.write_clip(tmp_path / "a.mkv", pts=range(50), audio="aac")

    written, _ = overlay(path, tmp_path)

    with av.open(str(written)) as container:
        kinds = "".join(packet.stream.type[0] for packet in container.demux() if packet.size)
    assert "v" * 15 not in kinds.removeprefix("v" * 15)
    assert "a" in kinds[:20]


@pytest.mark.parametrize(("suffix", "video"), [(".avi", "mpeg4"), (".mkv", "libx264")])
def test_sound_that_mp4_cannot_carry_becomes_aac(tmp_path, suffix, video):
    path = clips.write_clip(tmp_path / f"a{suffix}", codec=video, audio="pcm_s16le")

    written, _ = overlay(path, tmp_path)

    with av.open(str(written)) as container:
        (sound,) = container.streams.audio
        assert sound.codec_context.name == "aac"
        assert float(sound.duration * sound.time_base) == pytest.approx(2, abs=0.1)


def test_a_turned_odd_sized_video_is_upright_and_even_in_its_overlay(tmp_path):
    turned = clips.write_clip(tmp_path / "turned.mp4", turn=(90, False))
    odd = clips.write_clip(tmp_path / "odd.mkv", size_wh=(63, 47), codec="ffv1")

    for path, size_hw in ((turned, (64, 48)), (odd, (48, 64))):
        written, _ = overlay(path, tmp_path)
        with open_source(written) as source, open_source(path) as original:
            first, expected = next(source), next(original).image.numpy()
            assert (source.rotation, first.image.shape[:2]) == (0, size_hw)
            height, width = expected.shape[:2]
            assert abs(first.image.numpy()[:height, :width].astype(int) - expected).mean() < 12


def test_an_aborted_video_leaves_nothing_and_an_old_one_alone(tmp_path):
    (tmp_path / "in").mkdir()
    path = clips.write_clip(tmp_path / "in" / "a.mp4")
    (tmp_path / "a.overlay.mp4").write_text("old")
    with open_source(path) as source:
        sink = overlay_sink(tmp_path, source)
        for frame in source:
            sink.write(Annotated(frame, Poses.empty(), 0))
        sink.abort()
        sink.abort()

    assert sorted(name.name for name in tmp_path.iterdir()) == ["a.overlay.mp4", "in"]
    assert (tmp_path / "a.overlay.mp4").read_text() == "old"


def test_lost_frames_show_as_the_frame_before(tmp_path):
    with open_source(clips.write_clip(tmp_path / "a.mp4", pts=range(6))) as source:
        sink = overlay_sink(tmp_path, source)
        for frame in source:
            if frame.index == 3:
                frame = Frame(3, None, 64, 48, frame.file_name, frame.pts, frame.time_s, "decode_error")  # noqa: PLW2901
            sink.write(Annotated(frame, Poses.empty(), 0))
        (written,) = sink.finish()

    with open_source(written) as source:
        assert [round(frame.time_s * 25) for frame in source] == [0, 1, 2, 4, 5]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jpg", "a.overlay.jpg"), ("ü.PNG", "ü.overlay.PNG"), ("a.mp4", "a.overlay.png"), ("a.pgm", "a.overlay.png")],
)
def test_an_image_overlay_has_its_sources_format(tmp_path, name, expected):
    suffix = ".jpg" if name.endswith("jpg") else ".png"
    (tmp_path / name).write_bytes(cv2.imencode(suffix, np.full((20, 30, 3), 90, np.uint8))[1].tobytes())

    written, _ = overlay(tmp_path / name, tmp_path)

    assert written.name == expected
    assert cv2.imdecode(np.fromfile(written, np.uint8), cv2.IMREAD_COLOR).shape == (20, 30, 3)


def test_a_folders_overlays_keep_their_names(tmp_path):
    for name in ("b/img1.png", "b/img2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(cv2.imencode(name[-4:], np.zeros((20, 30, 3), np.uint8))[1].tobytes())

    written, _ = overlay(tmp_path / "b", tmp_path)

    assert written == tmp_path / "b.overlay"
    assert sorted(path.name for path in written.iterdir()) == ["img1.png", "img2.jpg"]


def test_a_webp_overlay_is_small_and_looks_the_same(tmp_path):
    """OpenCV's own habit of WebP, without loss, took most of the time of annotating such pictures."""
    noise = np.random.default_rng(0).integers(0, 60, (120, 160, 3), np.uint8)
    ramp = np.linspace(0, 190, 160, dtype=np.uint8)[None, :, None]
    path = tmp_path / "photo.webp"
    cv2.imwrite(str(path), cv2.GaussianBlur(noise, (0, 0), 1.5) + ramp)

    written, _ = overlay(path, tmp_path)

    assert written.name == "photo.overlay.webp"
    before, after = cv2.imread(str(path)), cv2.imread(str(written))
    assert float(np.abs(before.astype(int) - after).mean()) < 2
    assert b"VP8L" not in written.read_bytes()[:16]  # the mark of what is without loss
    assert written.stat().st_size < path.stat().st_size / 2
