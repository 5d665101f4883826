import pytest

from posecli.media.locations import camera_number, is_live, is_url, output_stem, shown


@pytest.mark.parametrize(
    ("source", "stem", "name"),
    [
        ("https://me:secret@host:8443/videos/walk.mp4?token=key#t", "walk", "https://host:8443/videos/walk.mp4"),
        ("rtsp://10.0.0.7:554/", "10.0.0.7_554", "rtsp://10.0.0.7:554/"),
        ("HTTP://host/%2e%2e/..", "stream", "http://host/%2e%2e/.."),
    ],
)
def test_a_url_is_shown_without_its_secrets_and_named_safely(source, stem, name):
    assert is_url(source)
    assert output_stem(source) == stem
    assert shown(source) == name


@pytest.mark.parametrize(
    "source", ["walk.mp4", "file:///etc/passwd", "concat:a|b", "http:/a", "data:,x", "subfile,,:a"]
)
def test_nothing_else_is_a_url(source):
    assert not is_url(source)


def test_numbers_are_cameras_unless_files_are_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1").touch()

    assert camera_number("0") == 0
    assert camera_number("/dev/video12") == 12
    assert camera_number("1") is None
    assert camera_number("1.mp4") is None
    assert output_stem("0") == "camera0"
    assert is_live("0")
    assert is_live("rtsp://host/a")
    assert not is_live("https://host/a.mp4")
