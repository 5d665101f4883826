"""Servers, playlists and what they may reach."""

import functools
import http.server
import socket
import threading

import av
import pytest
import torch

import clips
from posecli.config import ReadConfig
from posecli.errors import ConfigError, InputError
from posecli.media import containers
from posecli.media.sources import count_frames, open_source

PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def served(tmp_path):
    """A folder and the address that it is served at."""
    (tmp_path / "www").mkdir()
    handler = functools.partial(_Quiet, directory=str(tmp_path / "www"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield tmp_path / "www", f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def read(source, **reading):
    with open_source(source, ReadConfig(**reading)) as frames:
        return list(frames), frames


def test_a_servers_video_is_read_like_a_file(served):
    folder, address = served
    clips.write_clip(folder / "walk.mp4", pts=range(20))

    frames, source = read(f"{address}/walk.mp4?key=secret", start=0.2, stride=5)

    assert [frame.index for frame in frames] == [5, 10, 15]
    assert (source.stem, source.name) == ("walk", f"{address}/walk.mp4")
    assert source.notes() == ()
    assert count_frames(f"{address}/walk.mp4") is None  # nobody asks a server twice


def test_a_servers_playlist_may_name_its_segments(served):
    folder, address = served
    clips.write_clip(folder / "a.ts", codec="mpeg2video")
    (folder / "a.m3u8").write_text(PLAYLIST.format("a.ts"))

    assert len(read(f"{address}/a.m3u8")[0]) == 12


@pytest.mark.parametrize("scheme", ["file://{}", "{}", "concat:{}", "subfile,,start,0,end,0,,:{}", "crypto+file://{}"])
def test_a_servers_playlist_cannot_name_a_local_file(served, tmp_path, scheme):
    folder, address = served
    local = clips.write_clip(tmp_path / "private.ts", codec="mpeg2video")
    (folder / "a.m3u8").write_text(PLAYLIST.format(scheme.format(local)))

    with pytest.raises(InputError, match=r"a\.m3u8: "):
        read(f"{address}/a.m3u8")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.m3u8", PLAYLIST.format("private.ts")),
        ("list.mp4", PLAYLIST.format("private.ts")),
        ("list.txt", "ffconcat version 1.0\nfile private.ts\n"),
        ("list.mkv", "ffconcat version 1.0\nfile private.ts\n"),
        ("list.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n"),
    ],
)
def test_a_local_playlist_is_refused_although_its_files_are_there(tmp_path, name, text):
    clips.write_clip(tmp_path / "private.ts", codec="mpeg2video")
    (tmp_path / name).write_text(text)

    with pytest.raises(InputError, match=f"{name}: a playlist or script, which may name any file; give the video"):
        open_source(tmp_path / name)


def test_a_server_that_says_nothing_is_left_after_a_while(monkeypatch):
    monkeypatch.setattr(containers, "_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://me:secret@127.0.0.1:{listener.getsockname()[1]}/a.mp4?key=secret"

        with pytest.raises(InputError, match="no answer for 0 s") as failure:
            open_source(address)

    assert "secret" not in str(failure.value)


@pytest.mark.parametrize("page", ["/missing.mp4", "/page.html"])
def test_a_servers_other_answers_are_told(served, page):
    folder, address = served
    (folder / "page.html").write_text("<html><body>hello</body></html>" * 50)

    with pytest.raises(InputError, match=f"http://127.*{page}: no video comes from there"):
        open_source(address + page)


def test_a_video_that_a_server_stops_sending_ends_with_a_note(served):
    folder, address = served
    path = clips.write_clip(folder / "a.mkv", pts=range(200), crf=10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    frames, source = read(f"{address}/a.mkv")

    assert 0 < len(frames) < 200
    assert source.notes()


def test_an_avis_empty_chunks_are_no_lost_frames(tmp_path):
    path = clips.write_clip(tmp_path / "a.avi", pts=[0, 1, 2, 6, 7], codec="mpeg4")  # the muxer fills the gap
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames > 5

    frames, source = read(path)

    assert len(frames) == 5
    assert source.notes() == ()
    assert source.header_frames == 5


@pytest.fixture
def _no_hardware(monkeypatch):
    """Let FFmpeg be built for hardware that is not there."""
    really_open = av.open

    def without(*arguments, **options):
        if "hwaccel" in options:
            raise PermissionError(1, "Operation not permitted")
        return really_open(*arguments, **options)

    monkeypatch.setattr(av, "open", without)
    monkeypatch.setattr(containers, "hwdevices_available", lambda: ["cuda", "vaapi"])


@pytest.mark.usefixtures("_no_hardware")
def test_where_no_hardware_decodes_the_cpu_does_and_it_is_remarked_once(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4")

    with open_source(path, ReadConfig(hwaccel="cuda")) as source, open_source(path) as usual:
        pictures = [frame.image for frame in source]
        assert all(torch.equal(one, frame.image) for one, frame in zip(pictures, usual, strict=True))
        remarks = source.remarks()

    assert remarks == ("decoded on the CPU: --hwaccel cuda cannot decode h264 here",)
    assert not usual.remarks()


@pytest.mark.usefixtures("_no_hardware")
def test_hardware_that_ffmpeg_does_not_know_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--hwaccel nvdec: this FFmpeg was built for cuda, vaapi"):
        open_source(clips.write_clip(tmp_path / "a.mp4"), ReadConfig(hwaccel="nvdec"))


def test_a_damaged_file_is_damaged_with_hardware_too(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "hwdevices_available", lambda: ["cuda"])
    path = tmp_path / "a.mp4"
    path.write_text("hello " * 100)

    with pytest.raises(InputError, match="not a video or image"):
        containers.open_container(path, hwaccel="cuda")
