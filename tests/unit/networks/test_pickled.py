"""Public checkpoints are read without running them; what is no checkpoint is refused in words."""

from __future__ import annotations

import io
import pickle
import sys
import tarfile
import types
import zipfile
from random import Random

import numpy as np
import pytest
import torch

from posecli.errors import WeightsError
from posecli.networks._pickled import read_pickled

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


def same(tensors):
    return tensors.keys() == STATE.keys() and all(torch.equal(tensors[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "content",
    [STATE, {"state_dict": STATE, "meta": {"epoch": 210}}, {"model": STATE, "optimizer": {"lr": 0.1}}],
    ids=["flat", "state_dict", "model"],
)
def test_tensors_come_out_of_every_nesting_and_both_formats(tmp_path, content, zipped):
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)

    assert same(read_pickled(tmp_path / "w.pth"))


def test_statistics_beside_the_weights_become_nothing(tmp_path, monkeypatch):
    module = types.ModuleType("mmengine.logging.history_buffer")
    module.HistoryBuffer = type("HistoryBuffer", (), {"__module__": module.__name__, "__qualname__": "HistoryBuffer"})
    for name in ("mmengine", "mmengine.logging", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    buffer = module.HistoryBuffer()
    buffer.history = np.zeros(3)
    torch.save(
        {"state_dict": STATE, "meta": {"sigmas": np.arange(17.0), "ap": np.float64(0.7), "loss": buffer}},
        tmp_path / "w.pth",
    )

    assert same(read_pickled(tmp_path / "w.pth"))


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_by_name_and_not_run(tmp_path, zipped):
    trap = tmp_path / "trap"
    torch.save({"state_dict": STATE, "hook": Touch(trap)}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)

    with pytest.raises(
        WeightsError, match=r"w\.pth: asks for \S*open, which would run code.*save its state_dict alone"
    ):
        read_pickled(tmp_path / "w.pth")
    assert not trap.exists()


def test_what_becomes_nothing_cannot_be_made_to_act(tmp_path):
    trap = tmp_path / "trap"
    call = b"cbuiltins\ngetattr\n(cnumpy\nndarray\nVtofile\ntR(V" + str(trap).encode() + b"\ntR."
    (tmp_path / "w.pth").write_bytes(legacy_file(call))

    with pytest.raises(WeightsError):
        read_pickled(tmp_path / "w.pth")
    assert not trap.exists()


def legacy_file(stream):
    """Return a file of torch's old format with `stream` as its content."""
    head = [pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join(head) + b"\x80\x02" + stream + pickle.dumps([], protocol=2)


def torn(path, content, share):
    path.write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("zipped", [True, False])
def test_torn_files_are_refused(tmp_path, zipped, share):
    whole = io.BytesIO()
    torch.save({"w": torch.rand(3000)}, whole, _use_new_zipfile_serialization=zipped)
    torn(tmp_path / "w.pth", whole.getvalue(), share)

    with pytest.raises(WeightsError, match=r"w\.pth: (not a whole|asks for more|is neither)"):
        read_pickled(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html>Quota exceeded</html>", "is a web page, not weights"),
        (b"<html><body>404</body></html>", "is a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is neither safetensors nor a PyTorch checkpoint"),
        (b"PK\x03\x04" + b"\0" * 40, "not a whole PyTorch checkpoint"),
        (b"\x80\x02" + b"]" * 5000, "not a whole PyTorch checkpoint"),
        (b"\x80\x02(" * 3000, "not a whole PyTorch checkpoint|more than weights"),
        (legacy_file(b"}."), "holds no weights by name, but an empty dictionary"),
        (legacy_file(b"]."), "holds no weights by name, but a list"),
        (legacy_file(b"K\x01."), "holds no weights by name, but a int"),
    ],
)
def test_other_files_are_told_apart(tmp_path, content, message):
    (tmp_path / "w.pth").write_bytes(content)

    with pytest.raises(WeightsError, match=message):
        read_pickled(tmp_path / "w.pth")


def test_a_tar_archive_is_refused_with_a_way_out(tmp_path):
    torch.save(STATE, tmp_path / "inner.pth")
    with tarfile.open(tmp_path / "w.pth", "w") as archive:
        archive.add(tmp_path / "inner.pth", "inner.pth")

    with pytest.raises(WeightsError, match="is a tar archive; unpack it"):
        read_pickled(tmp_path / "w.pth")


def test_a_zip_that_would_swell_is_refused(tmp_path):
    torch.save({"w": torch.zeros(500_000)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))

    with pytest.raises(WeightsError, match=r"bytes unpack to 2\d{6}; checkpoints are stored as they are"):
        read_pickled(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"w": 3}, "'w' is a int, wanted a tensor"),
        ({3: torch.ones(1)}, "3 is a float32 tensor"),
        ({"w": {"v": torch.ones(1)}}, "'w' is a dictionary of 'v', wanted a tensor"),
        ({"w": torch.ones(2, 2).to_sparse()}, "sparse_coo, cpu., wanted a plain dense tensor"),
        ({"w": torch.ones(2, dtype=torch.complex64)}, "complex64 tensor"),
        ({}, "an empty dictionary"),
    ],
)
def test_dictionaries_of_other_things_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "w.pth")

    with pytest.raises(WeightsError, match=message):
        read_pickled(tmp_path / "w.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_bytes_never_break_more_than_the_file(tmp_path, zipped):
    whole = io.BytesIO()
    torch.save({"state_dict": STATE}, whole, _use_new_zipfile_serialization=zipped)
    random, refused = Random(0), 0
    for _ in range(300):
        content = bytearray(whole.getvalue())
        for _ in range(random.randint(1, 4)):
            content[random.randrange(len(content))] = random.randrange(256)
        (tmp_path / "w.pth").write_bytes(content)
        try:
            read_pickled(tmp_path / "w.pth")
        except WeightsError:
            refused += 1

    assert refused > 50
