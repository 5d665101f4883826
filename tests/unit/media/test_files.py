import json

import pytest

from posecli.media.files import compact, replacing, sha256, write_json_atomically


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "run.json"
    write_json_atomically(path, {"name": "写"})

    with pytest.raises(ValueError, match="JSON"):
        write_json_atomically(path, {"score": float("nan")})

    assert json.loads(path.read_text("utf-8")) == {"name": "写"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_body_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_names_that_are_not_utf8_survive_json():
    name = b"caf\xe9.png".decode(errors="surrogateescape")

    text = compact({"file_name": name})

    assert text == '{"file_name":"caf\\udce9.png"}'
    assert json.loads(text.encode())["file_name"] == name


def test_nan_is_no_json():
    with pytest.raises(ValueError, match="not JSON compliant"):
        compact([float("nan")])


def test_sha256_is_the_usual_one(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")

    assert sha256(path).startswith("ba7816bf")
