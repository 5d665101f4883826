import json
from contextlib import closing

import pytest

from posecli.errors import InputError
from posecli.media.files import compact
from posecli.media.journal import Journal, num_finished, read_journal

HEADER = {"input": {"bytes": 9, "sha256": "aa"}, "settings": {"config": {"merge": {"min_score": 0.1}}}, "info": {}}


def entry(index):
    size = {"width": 64, "height": 48, "time": None, "pts": None, "status": "ok", "refiner_runs": 0}
    return {"frame_index": index, "file_name": f"Über 写真 {index}.png", **size, "people": []}


def write_journal(path, count=3, *, end=False, header=HEADER):
    journal = Journal(path, header)
    for index in range(count):
        journal.append(entry(index))
    if end:
        journal.end({"decoded_frames": count, "people": 3})
    journal.close()
    return path


def test_a_journal_is_read_as_it_was_written(tmp_path):
    header, frames = read_journal(write_journal(tmp_path / "a.jsonl", end=True))

    assert {**HEADER, "journal": header["journal"]} == header
    assert list(frames) == [entry(0), entry(1), entry(2)]


def test_every_line_is_out_of_hands_at_once(tmp_path):
    journal = Journal(tmp_path / "a.jsonl", HEADER)
    journal.append(entry(0))

    assert list(read_journal(tmp_path / "a.jsonl")[1]) == [entry(0)] == list(journal.entries())
    journal.close()


def test_a_torn_line_is_left_out_and_cut_off_when_going_on(tmp_path):
    whole = write_journal(tmp_path / "whole.jsonl", 4).read_bytes()
    path = tmp_path / "a.jsonl"
    torn_at = range(whole.index(compact(entry(2)).encode()), whole.index(compact(entry(3)).encode()))

    for size in torn_at:  # also inside of a letter
        path.write_bytes(whole[:size])
        assert list(read_journal(path)[1]) == [entry(0), entry(1)]
        journal = Journal(path, HEADER, resume=True)
        assert journal.finished == 2
        journal.append(entry(2))
        journal.append(entry(3))
        journal.close()
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "rubbish", [b"\0" * 50, b"\0" * 50 + b"\n", b"{}\n", b'{"frame\n{"people":[]}\n', b'{"people":[]}\n', b"\xff\n"]
)
def test_what_a_crash_of_the_machine_left_is_cut_off(tmp_path, rubbish):
    path = write_journal(tmp_path / "a.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole + rubbish)

    with closing(Journal(path, HEADER, resume=True)) as journal:
        assert journal.finished == 3

    assert path.read_bytes() == whole


@pytest.mark.parametrize("before", [b"", b'{"journal":2,"inp'])
def test_going_on_with_nothing_is_starting(tmp_path, before):
    (tmp_path / "a.jsonl").write_bytes(before)

    with closing(Journal(tmp_path / "a.jsonl", HEADER, resume=True)) as journal:
        journal.append(entry(0))

        assert list(journal.entries()) == [entry(0)]


def test_starting_over_forgets_what_was_there(tmp_path):
    with closing(Journal(write_journal(tmp_path / "a.jsonl"), HEADER)) as journal:
        assert journal.finished == 0
        assert list(journal.entries()) == []


def test_another_runs_journal_is_refused_and_left_alone(tmp_path):
    path = write_journal(tmp_path / "a.jsonl")
    before = path.read_bytes()
    other = {**HEADER, "settings": {"config": {"merge": {"min_score": 0.2}}}, "input": {"bytes": 10, "sha256": "aa"}}

    with pytest.raises(InputError, match="another run") as refusal:
        Journal(path, other, resume=True)

    assert "input.bytes was 9, now 10" in str(refusal.value)
    assert "config.merge.min_score was 0.1, now 0.2" in str(refusal.value)
    assert "sha256" not in str(refusal.value)
    assert "--restart" in str(refusal.value)
    assert path.read_bytes() == before


def test_other_information_is_no_other_run(tmp_path):
    path = write_journal(tmp_path / "a.jsonl")

    with closing(Journal(path, {**HEADER, "info": {"timeline": 1}}, resume=True)) as journal:
        assert journal.finished == 3


def test_a_journal_has_one_writer(tmp_path):
    pytest.importorskip("fcntl")
    path = tmp_path / "a.jsonl"
    first = Journal(path, HEADER)
    first.append(entry(0))

    for resume in (True, False):
        with pytest.raises(InputError, match="another posecli is writing"):
            Journal(path, HEADER, resume=resume)

    assert list(first.entries()) == [entry(0)]
    first.close()
    with closing(Journal(path, HEADER, resume=True)) as second:
        assert second.finished == 1


def test_a_full_disk_leaves_whole_lines_only(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "a.jsonl", HEADER)
    journal.append(entry(0))
    whole = journal.path.read_bytes()

    class FullSoon:
        def __init__(self, file):
            self.file, self.left = file, 10

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            if not self.left:
                raise OSError(28, "No space left on device")
            count, self.left = self.file.write(data[: self.left]), 0
            return count

    monkeypatch.setattr(journal, "_file", FullSoon(journal._file))
    with pytest.raises(OSError, match="No space"):
        journal.append(entry(1))

    assert journal.path.read_bytes() == whole
    assert journal.finished == 1
    journal.close()


def test_only_an_interrupted_runs_frames_are_counted(tmp_path):
    path = write_journal(tmp_path / "a.jsonl")
    with path.open("ab") as file:
        file.write(b'{"torn')

    assert num_finished(path) == 3
    assert num_finished(write_journal(tmp_path / "b.jsonl", end=True)) is None
    assert num_finished(write_journal(tmp_path / "c.jsonl", 0)) is None
    assert num_finished(tmp_path / "missing.jsonl") is None
    (tmp_path / "d.jsonl").write_text(json.dumps({"some": "table"}) + "\n" + json.dumps({"people": []}) + "\n")
    assert num_finished(tmp_path / "d.jsonl") is None


@pytest.mark.parametrize("text", ["", "3\n", '{"frame_index":0}\n', "[1]\n", "\n", '{"info":{}'])
def test_other_files_are_no_journals(tmp_path, text):
    (tmp_path / "a.jsonl").write_text(text)

    with pytest.raises(InputError, match=r"a\.jsonl: "):
        read_journal(tmp_path / "a.jsonl")


def test_other_files_are_not_gone_on_with(tmp_path):
    (tmp_path / "a.jsonl").write_text("a table of mine\n")

    with pytest.raises(InputError, match="not a journal"):
        Journal(tmp_path / "a.jsonl", HEADER, resume=True)

    assert (tmp_path / "a.jsonl").read_text() == "a table of mine\n"


def test_a_damaged_journal_names_its_line(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"info": {}}\n{"frame\n{"frame_index": 1}\n')

    with pytest.raises(InputError, match=r"a\.jsonl: line 2 is not a JSON object"):
        list(read_journal(tmp_path / "a.jsonl")[1])
