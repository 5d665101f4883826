import json

import pytest

from posecli.errors import InputError
from posecli.media.journal import Journal, compact, read_journal

FRAME = {"frame_index": 0, "file_name": "Über 写真.png", "people": []}


def write_one(path):
    journal = Journal(path, {"info": {}})
    journal.append(FRAME)
    journal.close()
    return path


def test_a_journal_is_read_as_it_was_written(tmp_path):
    header, frames = read_journal(write_one(tmp_path / "a.jsonl"))

    assert header == {"info": {}}
    assert list(frames) == [FRAME]


def test_a_line_torn_inside_of_a_letter_is_left_out(tmp_path):
    path = write_one(tmp_path / "a.jsonl")
    before, _, _ = compact(FRAME).encode().partition("写".encode())
    with path.open("ab") as file:
        file.write(before + "写".encode()[:2])

    assert list(read_journal(path)[1]) == [FRAME]


def test_names_that_are_not_utf8_survive_json():
    name = b"caf\xe9.png".decode(errors="surrogateescape")

    text = compact({"file_name": name})

    assert text == '{"file_name":"caf\\udce9.png"}'
    assert json.loads(text.encode())["file_name"] == name


def test_nan_is_no_json():
    with pytest.raises(ValueError, match="not JSON compliant"):
        compact([float("nan")])


@pytest.mark.parametrize("text", ["", "3\n", '{"frame_index":0}\n', "[1]\n"])
def test_other_files_are_no_journals(tmp_path, text):
    (tmp_path / "a.jsonl").write_text(text)

    with pytest.raises(InputError, match=r"a\.jsonl: not a journal"):
        read_journal(tmp_path / "a.jsonl")
