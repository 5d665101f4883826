import os
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

import clips
from posecli.config import ReadConfig
from posecli.errors import InputError
from posecli.media.sources import VideoSource, count_frames, open_source
from posecli.media.video import VideoReader

VFR = [*range(0, 300, 10), *range(300, 900, 30), 901, 977]


def save_png(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.full((6, 8), value, np.uint8))[1].tobytes())
    return path


def frames_of(path, **reading):
    with open_source(path, ReadConfig(**reading)) as source:
        return list(source), source


def test_an_image_is_one_frame(tmp_path):
    (frame,), source = frames_of(save_png(tmp_path / "a.b.png", 7))

    assert (source.kind, source.stem, source.header_frames) == ("image", "a.b", 1)
    assert (frame.index, frame.file_name, frame.width, frame.height, frame.pts) == (0, "a.b.png", 8, 6, None)
    assert frame.image.shape == (6, 8, 3)


def test_a_folder_comes_in_natural_order_and_keeps_its_broken_images(tmp_path):
    for name in ("img10.png", "img2.png", "sub/img1.png"):
        save_png(tmp_path / "run.1" / name)
    (tmp_path / "run.1" / "img3.png").write_bytes(b"no image")

    frames, source = frames_of(tmp_path / "run.1")

    assert [frame.file_name for frame in frames] == ["img2.png", "img3.png", "img10.png"]
    assert [frame.status for frame in frames] == ["ok", "decode_error", "ok"]
    assert (frames[1].image, frames[1].width, frames[1].height) == (None, 0, 0)
    assert (source.kind, source.stem, source.header_frames) == ("folder", "run.1", 3)
    assert [frame.file_name for frame in frames_of(tmp_path / "run.1", recursive=True)[0]][-1] == "sub/img1.png"


def test_a_video_keeps_its_true_time_stamps(tmp_path):
    path = clips.write_clip(tmp_path / "walk.mkv", pts=VFR, time_base=Fraction(1, 1000))

    frames, source = frames_of(path)

    assert [frame.pts for frame in frames] == VFR
    assert [frame.time_s for frame in frames] == [float(pts * source.time_base) for pts in VFR]
    assert [frame.index for frame in frames] == list(range(len(VFR)))
    assert frames[1].file_name == "walk_000001.png"
    assert isinstance(source, VideoSource)
    assert (source.kind, source.rotation) == ("video", 0)
    assert not source.notes()


def test_a_late_start_is_kept(tmp_path):
    path = clips.write_clip(tmp_path / "a.ts", pts=range(12), codec="mpeg2video")

    frames, _ = frames_of(path)

    with av.open(str(path)) as container:
        assert frames[0].time_s == pytest.approx(container.start_time / av.time_base)
    assert frames[0].time_s > 0
    assert len(frames) == 12


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_turned_video_is_made_upright_once(tmp_path, degrees, mirrored):
    path = clips.write_clip(tmp_path / "a.mp4", pts=range(3), turn=(degrees, mirrored))
    stored = clips.picture(0)
    turned = np.rot90(stored, degrees // 90)  # counter-clockwise, as FFmpeg counts
    expected = turned[:, ::-1] if mirrored else turned

    frames, source = frames_of(path)

    image = frames[0].image.numpy()
    assert (frames[0].height, frames[0].width, 3) == image.shape == expected.shape
    assert abs(image.astype(int) - expected).mean() < 12  # H.264 at a low resolution; wrong turns differ by over 40
    if not mirrored:
        assert source.rotation == (360 - degrees) % 360


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_opencv_turns_videos_the_same_way(tmp_path, degrees):
    path = clips.write_clip(tmp_path / "a.mp4", pts=range(2), turn=(degrees, False))
    capture = cv2.VideoCapture(str(path))
    _, bgr = capture.read()
    capture.release()

    image = frames_of(path)[0][0].image.numpy()

    assert abs(image[..., ::-1].astype(int) - bgr).mean() < 3  # two colour converters


@pytest.mark.parametrize("start", [-5, 0])
def test_frames_that_an_edit_list_hides_are_not_missed(tmp_path, start):
    path = clips.write_clip(tmp_path / "a.mp4", pts=range(start, 12))

    frames, source = frames_of(path)

    assert len(frames) == source.header_frames == 12


def test_frames_go_on_after_damage(tmp_path):
    path = clips.write_clip(tmp_path / "a.mkv", pts=range(100), codec="mpeg4", size_wh=(128, 96))
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 1500] = bytes(1500)
    path.write_bytes(bytes(data))

    frames, _ = frames_of(path)

    assert frames[0].status == "ok"
    assert frames[-1].time_s > 2  # beyond the damage, at a third of 4 s
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert {(frame.width, frame.height) for frame in frames} == {(128, 96)}
    assert all((frame.image is None) == (frame.status == "decode_error") for frame in frames)


def test_lost_frames_are_placeholders_with_estimated_times(tmp_path, monkeypatch):
    whole = VideoReader._pictures

    def lossy(reader):
        for index, picture in enumerate(whole(reader)):
            yield None if index in {0, 1, 4, 7} else picture

    monkeypatch.setattr(VideoReader, "_pictures", lossy)
    frames, _ = frames_of(clips.write_clip(tmp_path / "a.mp4", pts=range(8), turn=(90, False)))

    lost = [False, False, True, True, False, True, True, False]
    assert [frame.image is not None for frame in frames] == lost
    assert [frame.status != "decode_error" for frame in frames] == lost
    assert [frame.index for frame in frames] == list(range(8))
    assert {(frame.width, frame.height) for frame in frames} == {(48, 64)}
    assert [round(frame.time_s * 25) for frame in frames[2:]] == [2, 3, 4, 5, 6, 7]
    assert frames[4].file_name == "a_000004.png"


def test_a_video_without_one_good_frame_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(VideoReader, "_pictures", lambda _: iter([None, None]))

    with pytest.raises(InputError, match=r"a\.mp4: not one frame could be decoded \(h264\)"):
        open_source(clips.write_clip(tmp_path / "a.mp4"))


def test_a_file_that_was_cut_off_ends_quietly_and_says_so(tmp_path):
    path = clips.write_clip(tmp_path / "a.mkv", pts=range(200), crf=10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    frames, source = frames_of(path)

    assert 0 < len(frames) < 200
    assert any("cut off" in note for note in source.notes())


def test_a_cut_off_mp4_with_its_index_in_front_has_fewer_frames_than_promised(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(100):
            noise = np.random.default_rng(index).integers(0, 255, (48, 64, 3), dtype=np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        output.mux(stream.encode(None))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    frames, source = frames_of(path)

    assert source.header_frames == 100
    assert 0 < sum(frame.status == "ok" for frame in frames) < 100


def test_a_gif_is_a_video(tmp_path):
    path = tmp_path / "a.gif"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb8"
        for index in range(4):
            output.mux(
                stream.encode(av.VideoFrame.from_ndarray(clips.picture(index), format="rgb24").reformat(format="rgb8"))
            )
        output.mux(stream.encode(None))

    frames, source = frames_of(path)

    assert (source.kind, len(frames)) == ("video", 4)


def test_content_decides_not_the_suffix(tmp_path):
    (tmp_path / "movie.jpg").write_bytes(clips.write_clip(tmp_path / "a.mp4").read_bytes())
    (tmp_path / "photo.mp4").write_bytes(save_png(tmp_path / "a.png").read_bytes())

    assert frames_of(tmp_path / "movie.jpg")[1].kind == "video"
    assert frames_of(tmp_path / "photo.mp4")[1].kind == "image"


@pytest.mark.parametrize("name", ["Über 写真.mp4", "a:b.mp4", "%03d.mp4", "-a.mp4", "with space.mp4"])
def test_names_of_videos_may_be_odd(tmp_path, name):
    assert len(frames_of(clips.write_clip(tmp_path / "a.mp4").rename(tmp_path / name))[0]) == 12


def test_odd_sizes_are_kept(tmp_path):
    path = clips.write_clip(tmp_path / "a.mkv", size_wh=(63, 47), codec="ffv1")

    assert frames_of(path)[0][0].image.shape == (47, 63, 3)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("clip.mp4", b"hello\n" * 200, "clip.mp4: not a video or image that FFmpeg or OpenCV can read"),
        ("notes.txt", b"hello\n" * 200, "notes.txt: not a video or image that FFmpeg or OpenCV can read"),
        ("zeros.mp4", bytes(9000), "zeros.mp4: not a video or image"),
        ("empty.mp4", b"", "empty.mp4: an empty file"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "list.mp4: a playlist or script"),
        (
            "list.m3u8",
            b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
            "list.m3u8: a playlist or script",
        ),
        ("photo.jpg", b"hello", "photo.jpg: not an image that OpenCV can read"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)

    with pytest.raises(InputError, match=message) as failure:
        open_source(tmp_path / name)

    assert "\n" not in str(failure.value)
    assert count_frames(tmp_path / name) in (None, 1)


def test_a_video_of_no_frames_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as output:
        output.add_stream("libx264", rate=25).pix_fmt = "yuv420p"
        output.start_encoding()

    with pytest.raises(InputError, match=r"a\.mp4: no video stream, nor any other"):
        open_source(tmp_path / "a.mp4")


def test_a_song_is_refused_by_its_codec(tmp_path):
    with pytest.raises(InputError, match=r"song.mp4: no video stream, only audio \(aac\)"):
        open_source(clips.write_audio_only(tmp_path / "song.mp4"))


def test_cut_off_before_the_index_is_refused(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:600])

    with pytest.raises(InputError, match=r"a\.mp4: an MP4 or MOV without a whole index"):
        open_source(path)


def test_missing_and_special_files_and_folders_without_images_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    os.mkfifo(tmp_path / "pipe")

    for name, message in (
        ("no.mp4", "no such file or folder"),
        ("empty", "an empty folder, wanted .avif"),
        ("texts", "no images in this folder"),
        ("pipe", "neither a file nor a folder"),
    ):
        with pytest.raises(InputError, match=f"{name}: {message}"):
            open_source(tmp_path / name)


def test_damaged_videos_never_crash(tmp_path):
    whole = clips.write_clip(tmp_path / "a.mp4").read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(40):
        data = bytearray(whole[: generator.integers(len(whole) // 2, len(whole) + 1)])
        for place in generator.integers(0, len(data), 12):
            data[place] = generator.integers(256)
        (tmp_path / "b.mp4").write_bytes(bytes(data))
        message = ""
        try:
            frames_of(tmp_path / "b.mp4")
        except InputError as error:
            message = str(error)
        assert "\n" not in message


def test_count_frames_looks_at_headers_only(tmp_path):
    save_png(tmp_path / "f/a.png")
    save_png(tmp_path / "f/in/b.png")

    assert count_frames(tmp_path / "f") == 1
    assert count_frames(tmp_path / "f", ReadConfig(recursive=True)) == 2
    assert count_frames(tmp_path / "f/a.png") == 1
    assert count_frames(clips.write_clip(tmp_path / "a.mp4")) == 12
    assert abs(count_frames(clips.write_clip(tmp_path / "a.mkv", pts=range(50))) - 50) <= 1
    assert count_frames(tmp_path / "no.mp4") is None


def test_pictures_that_build_on_a_damaged_one_are_marked_up_to_the_next_key_frame(tmp_path, monkeypatch):
    whole = VideoReader._pictures

    def lossy(reader):
        for index, picture in enumerate(whole(reader)):
            yield None if index == 3 else picture

    monkeypatch.setattr(VideoReader, "_pictures", lossy)
    path = clips.write_clip(tmp_path / "a.mp4", pts=range(12), g=6, bf=0, sc_threshold=0)

    frames, source = frames_of(path)

    assert [frame.status for frame in frames] == ["ok"] * 3 + ["decode_error"] + ["damaged"] * 2 + ["ok"] * 6
    assert source.notes() == ("2 frames are damaged and were patched up; poses there may be wrong",)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_random_bytes_inside_of_a_video_are_noticed_and_the_rest_is_kept(tmp_path, codec):
    path = clips.write_clip(tmp_path / "a.mp4", pts=range(60), codec=codec, g=15, size_wh=(128, 96))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = np.random.default_rng(0).integers(0, 256, 300, dtype=np.uint8).tobytes()
    path.write_bytes(bytes(data))

    frames, source = frames_of(path)

    assert len(frames) >= 58
    assert {frames[0].status, frames[-1].status} == {"ok"}
    assert any(frame.status != "ok" for frame in frames)
    assert source.header_frames == 60


def test_interlaced_video_is_remarked_on_and_is_no_fault(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", flags="+ildct+ilme", **{"x264-params": "tff=1"})

    _, source = frames_of(path)

    assert len(source.remarks()) == 1
    assert source.remarks()[0].startswith("interlaced: ")
    assert source.notes() == ()


def test_pixels_that_are_not_square_are_told_upright(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(90)
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        output.mux(stream.encode(av.VideoFrame.from_ndarray(clips.picture(0), format="rgb24")))
        output.mux(stream.encode(None))

    frames, source = frames_of(path)

    assert source.pixel_aspect == Fraction(3, 4)  # upright
    assert (frames[0].width, frames[0].height) == (48, 64)  # stored pixels, not stretched
