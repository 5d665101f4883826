import io

import pytest

from posecli.errors import InputError
from posecli.media.arguments import expand_sources, images_in, natural_key
from posecli.media.locations import output_stem


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b/img10.jpg", "b/img2.jpg", "b/.hidden.jpg", "b/clip.mp4", "b/notes.txt", "b/in/deep.mov", "a.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.touch()
    return tmp_path


def test_names_sort_as_people_count():
    names = ["img10.jpg", "Img2.jpg", "img1.jpg", "2.jpg", "a٣.jpg", "10.jpg"]

    assert sorted(names, key=natural_key) == ["2.jpg", "10.jpg", "a٣.jpg", "img1.jpg", "Img2.jpg", "img10.jpg"]


def test_a_folder_is_a_source_and_so_is_each_video_in_it(tree):
    assert expand_sources(["b"]) == ["b", "b/clip.mp4"]
    assert expand_sources(["b"], recursive=True) == ["b", "b/clip.mp4", "b/in/deep.mov"]


def test_images_in_leaves_out_hidden_files_and_earlier_overlays(tree):
    (tree / "b/img2.overlay.jpg").touch()
    (tree / "b/b.overlay").mkdir()
    (tree / "b/b.overlay/img2.jpg").touch()
    (tree / "b/in/img1.png").touch()

    assert [path.name for path in images_in(tree / "b")] == ["img2.jpg", "img10.jpg"]
    assert [path.name for path in images_in(tree / "b", recursive=True)] == ["img2.jpg", "img10.jpg", "img1.png"]


def test_globs_are_spelled_out_and_nothing_comes_twice(tree):
    assert expand_sources(["b/*.jpg", "b/img2.jpg", "./b/img10.jpg"]) == ["b/img2.jpg", "b/img10.jpg"]


def test_a_file_that_looks_like_a_glob_is_itself(tree):
    (tree / "clip[1].mp4").touch()

    assert expand_sources(["clip[1].mp4"]) == ["clip[1].mp4"]


def test_lists_have_one_path_a_line(tree):
    (tree / "list.txt").write_text("\ufeff# mine\n\n a.mp4 \nb/*.jpg\nmissing.mp4\n", "utf-8")

    assert expand_sources(["@list.txt"]) == ["a.mp4", "b/img2.jpg", "b/img10.jpg", "missing.mp4"]


@pytest.mark.parametrize("text", ["a.mp4\nb/clip.mp4\n", "a.mp4\0b/clip.mp4\0"])
def test_a_dash_reads_paths_from_stdin(tree, monkeypatch, text):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))

    assert expand_sources(["-"]) == ["a.mp4", "b/clip.mp4"]


def test_a_missing_source_stays_so_that_it_fails_alone(tree):
    assert expand_sources(["missing.mp4", "a.mp4"]) == ["missing.mp4", "a.mp4"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("*.avi", r"\*.avi: no file matches"),
        ("@no.txt", r"@no.txt: the list cannot be read \(No such file or directory\)"),
        ("@empty.txt", r"empty.txt: no paths in this list"),
        ("@bytes.txt", r"@bytes.txt: not text in UTF-8"),
        ("-", r"-: stdin has no paths"),
    ],
)
def test_what_names_nothing_is_refused(tree, monkeypatch, argument, message):
    (tree / "empty.txt").write_text("# nothing\n")
    (tree / "bytes.txt").write_bytes(b"\xff\xfe\xfa")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))

    with pytest.raises(InputError, match=message):
        expand_sources([argument])


def test_outputs_of_a_folder_bear_its_whole_name(tree):
    (tree / "run.1").mkdir()

    assert [output_stem(name) for name in ("a.mp4", "run.1", "b/", "missing.mp4")] == ["a", "run.1", "b", "missing"]
