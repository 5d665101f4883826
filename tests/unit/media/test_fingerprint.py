import os

from posecli.media import fingerprint as module
from posecli.media.fingerprint import digest, fingerprint


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_name_place_and_time_do_not_count(tmp_path):
    one, two = write(tmp_path / "a.mp4", b"film"), write(tmp_path / "b/c.mp4", b"film")
    os.utime(two, (1, 1))

    assert fingerprint(one) == fingerprint(two)


def test_every_byte_of_a_small_file_counts(tmp_path):
    data = bytearray(100)
    seen = {fingerprint(write(tmp_path / "a.mp4", data))["sha256"]}
    for position in range(100):
        data[position] = 1
        seen.add(fingerprint(write(tmp_path / "a.mp4", data))["sha256"])

    assert len(seen) == 101


def test_a_large_file_counts_by_its_size_and_blocks_from_both_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 4)
    data = bytearray(1000)
    first = fingerprint(write(tmp_path / "a.mp4", data))

    for position in (0, 3, 996, 999):
        changed = bytearray(data)
        changed[position] = 1
        assert fingerprint(write(tmp_path / "a.mp4", changed)) != first
    assert fingerprint(write(tmp_path / "a.mp4", data + b"\0")) != first
    assert fingerprint(write(tmp_path / "a.mp4", data)) == first


def test_a_folder_counts_by_the_names_and_contents_of_its_images(tmp_path):
    images = [write(tmp_path / "in" / name, name.encode()) for name in ("a.png", "b.png")]
    first = fingerprint(tmp_path / "in", images)

    write(tmp_path / "in/notes.txt", b"text")
    assert fingerprint(tmp_path / "in", images) == first
    assert fingerprint(tmp_path / "in", images[:1]) != first
    images[0] = images[0].rename(tmp_path / "in/c.png")
    assert fingerprint(tmp_path / "in", images) != first


def test_addresses_differ_by_what_is_not_shown_of_them():
    one, two = (fingerprint(f"http://me:secret@server/clip.mp4?id={index}") for index in (1, 2))

    assert one["address"] == two["address"] == "http://server/clip.mp4"
    assert one != two
    assert "secret" not in str(one)


def test_the_order_of_keys_is_nothing():
    assert digest({"a": {"x": 1, "y": (2, 3)}, "b": None}) == digest({"b": None, "a": {"y": [2, 3], "x": 1}})
    assert digest({"a": 1}) != digest({"a": 2})
