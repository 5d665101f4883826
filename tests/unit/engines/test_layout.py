import os
from pathlib import Path

import pytest

from posecli.config import RunOptions
from posecli.engines.layout import journal_path, output_folder, plan, run_path, shard_of
from posecli.errors import ConfigError
from posecli.media.journal import Journal

HEADER = {"input": {}, "settings": {}, "info": {}}


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return str(path)


def leave_journal(path, frames=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    journal = Journal(path, HEADER)
    for index in range(frames):
        journal.append({"frame_index": index, "people": []})
    journal.close()


def refusal(paths, **options):
    with pytest.raises(ConfigError) as error:
        plan(paths, RunOptions(**options))
    return str(error.value)


def test_good_sources_stay_in_their_order(tmp_path):
    paths = [touch(tmp_path / name) for name in ("b.mp4", "a.mp4", "c.png")]

    assert plan(paths, RunOptions(directory=tmp_path / "new/out")) == paths
    assert (tmp_path / "new/out").is_dir()
    assert list((tmp_path / "new/out").iterdir()) == []


def test_one_stem_twice_is_refused_with_the_way_out(tmp_path):
    one, two = touch(tmp_path / "cam1/clip.mp4"), touch(tmp_path / "cam2/clip.mp4")
    other = touch(tmp_path / "cam1/clip.mov")
    out = tmp_path / "out"

    assert (
        refusal([one, two], directory=out)
        == f"{two}: writes the same files as {one}; --keep-tree gives each its own folder"
    )
    assert "annotate them with an -o each" in refusal([one, other], directory=out)
    assert "annotate them with an -o each" in refusal([one, other], directory=out, keep_tree=True)
    assert not out.exists()
    assert plan([one, two], RunOptions(directory=out, keep_tree=True)) == [one, two]


def test_the_tree_is_that_of_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    options = RunOptions(directory=Path("out"), keep_tree=True)

    assert output_folder("cam1/clip.mp4", options) == Path("out/cam1")
    assert output_folder("clip.mp4", options) == Path("out")
    assert output_folder(str(tmp_path / "here/x/../cam1/clip.mp4"), options) == Path("out/cam1")
    assert output_folder("../clip.mp4", options) == Path("out") / tmp_path.relative_to("/")
    assert output_folder("http://server/a/clip.mp4", options) == Path("out")
    assert journal_path("cam1/clip.mp4", options) == Path("out/cam1/clip.jsonl")
    assert output_folder("cam1/clip.mp4", RunOptions(directory=Path("out"))) == Path("out")


@pytest.mark.parametrize("link", [False, True])
def test_an_overlay_never_goes_over_a_source(tmp_path, link):
    clip, drawn = touch(tmp_path / "in/a.mp4"), touch(tmp_path / "in/a.overlay.mp4")
    out = tmp_path / "in"
    if link:
        out = tmp_path / "link"
        out.symlink_to(tmp_path / "in")

    assert refusal([clip, drawn], directory=out) == (
        f"{drawn}: the overlay of {clip} would be written over it; choose another -o"
    )
    assert plan([clip, drawn], RunOptions(directory=out, overlay=False))
    assert plan([clip, drawn], RunOptions(directory=tmp_path / "out"))


def test_a_folder_of_pictures_is_not_drawn_over_either(tmp_path):
    pictures, drawn = tmp_path / "in", tmp_path / "in.overlay"
    touch(pictures / "a.png")
    touch(drawn / "a.png")

    assert "would be written over" in refusal([str(pictures), str(drawn)], directory=tmp_path)


def test_an_output_folder_that_cannot_be_one_is_refused(tmp_path):
    source = touch(tmp_path / "a.mp4")

    assert "a.mp4: cannot be the output folder (File exists)" in refusal([source], directory=Path(source))
    assert "(Not a directory)" in refusal([source], directory=Path(source) / "out")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write to, not even root")
def test_an_output_folder_that_cannot_be_written_to_is_refused(tmp_path):
    assert "cannot be the output folder" in refusal([touch(tmp_path / "a.mp4")], directory=Path("/proc/self"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_output_folder_is_refused(tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)

    assert "Permission denied" in refusal([touch(tmp_path / "a.mp4")], directory=tmp_path / "out")


def test_nobodys_frames_are_lost_without_being_asked(tmp_path):
    paths = [touch(tmp_path / f"{name}.mp4") for name in "abc"]
    for name in "ac":
        leave_journal(tmp_path / f"out/{name}.jsonl")
    before = (tmp_path / "out/a.jsonl").read_bytes()

    assert refusal(paths, directory=tmp_path / "out") == (
        f"{tmp_path / 'out/a.jsonl'} (and 1 more): 3 finished frames of an interrupted run; "
        "--resume goes on, --restart starts over"
    )
    for options in ({"resume": True}, {"restart": True}):
        assert plan(paths, RunOptions(directory=tmp_path / "out", **options)) == paths
    assert plan(paths[1:2], RunOptions(directory=tmp_path / "out")) == paths[1:2]
    assert (tmp_path / "out/a.jsonl").read_bytes() == before


def test_shards_share_out_every_source_once_whatever_else_there_is(tmp_path):
    paths = [f"videos/{index}.mp4" for index in range(90)]
    shards = [plan(paths, RunOptions(directory=tmp_path / "out", shard=(index, 3))) for index in (1, 2, 3)]

    assert sorted(path for shard in shards for path in shard) == sorted(paths)
    assert min(map(len, shards)) > 15
    fewer = plan(paths[::2], RunOptions(directory=tmp_path / "out", shard=(2, 3)))
    assert fewer == [path for path in shards[1] if path in paths[::2]]
    assert shard_of("videos/a.mp4", 5) == 2  # for good: machines of one batch may run other versions


def test_shards_refuse_what_the_whole_would(tmp_path):
    one, two = touch(tmp_path / "cam1/clip.mp4"), touch(tmp_path / "cam2/clip.mp4")

    for index in (1, 2):
        assert "--keep-tree" in refusal([one, two], directory=tmp_path / "out", shard=(index, 2))


def test_every_shard_has_a_run_file_of_its_own():
    assert run_path(RunOptions(directory=Path("out"))) == Path("out/run.json")
    assert run_path(RunOptions(directory=Path("out"), shard=(2, 12))) == Path("out/run.2-of-12.json")


@pytest.mark.parametrize("shard", [(0, 3), (4, 3)])
def test_there_is_no_such_shard(shard):
    with pytest.raises(ConfigError, match="shard must be i/n"):
        RunOptions(shard=shard)


def test_going_on_and_starting_over_exclude_each_other():
    with pytest.raises(ConfigError, match="choose one"):
        RunOptions(resume=True, restart=True)
