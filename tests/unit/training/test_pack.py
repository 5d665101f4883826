from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from posecli.config import DatasetConfig, TrainConfig
from posecli.errors import ConfigError, InputError
from posecli.training.pack import read_pack, write_pack
from posecli.training.samples import Canvases, Crops, Pictures

CPU = torch.device("cpu")
CONFIG = TrainConfig(
    network="prs-tiny", datasets=(DatasetConfig(images="photos", annotations="a.json"),), small_hw=(128, 96), steps=7
)


def crops(count=3, size=48):
    ramp = torch.linspace(0, 255, size)
    canvas = torch.stack((ramp.expand(size, size), ramp.expand(size, size).T, ramp.expand(size, size) / 2))
    canvases = [(canvas * (index + 1) / count).to(torch.uint8) for index in range(count)]
    shown = [*canvases, canvases[0]]  # one sample twice
    people = len(shown)
    return Crops(
        Canvases.of(shown),
        torch.rand(people, 4),
        torch.rand(people, 17, 2) * size,
        torch.rand(people, 17),
        torch.rand(people, 17) > 0.5,
        torch.rand(people, 17, 2) * size,
        torch.rand(people, 17) > 0.5,
        torch.arange(people) % 2,
    )


def test_a_pack_gives_back_what_was_packed(tmp_path):
    samples, start = crops(), {"head.weight": torch.randn(2, 3)}
    write_pack(tmp_path / "a.npz", CONFIG, samples, start, quality=95)
    pack = read_pack([tmp_path / "a.npz"], device=CPU)

    assert pack.config == CONFIG
    assert isinstance(pack.samples, Crops)
    for name in ("boxes", "points", "weights", "present", "datasets"):
        assert torch.equal(getattr(pack.samples, name), getattr(samples, name))
    assert torch.allclose(pack.start["head.weight"], start["head.weight"], rtol=1e-3)  # stored as float16
    index = torch.arange(4)
    shown, wanted = pack.samples.canvases[index].float(), samples.canvases[index].float()
    assert float((shown - wanted).abs().mean()) < 1.5
    assert len(pack.samples.canvases.images) == 3


def test_packs_of_pictures_are_pictures(tmp_path):
    canvases = Canvases.of([torch.full((3, 32, 32), 90, dtype=torch.uint8)])
    samples = Pictures(
        canvases,
        torch.rand(1, 2),
        torch.rand(1, 5, 4),
        torch.ones(1, 5) > 0,
        torch.ones(1, 5) < 0,
        torch.rand(1, 5, 17, 2),
        torch.rand(1, 5, 17),
        torch.ones(1) > 0,
        torch.zeros(1, dtype=torch.int64),
    )
    write_pack(tmp_path / "a.npz", CONFIG, samples, {})
    pack = read_pack([tmp_path / "a.npz"], device=CPU)
    assert isinstance(pack.samples, Pictures)
    assert torch.equal(pack.samples.boxes, samples.boxes)


def test_several_packs_are_one_training_set(tmp_path):
    parts = [crops(2), crops(3)]
    for name, part in zip("ab", parts, strict=True):
        write_pack(tmp_path / f"{name}.npz", CONFIG, part, {"w": torch.ones(1) * ord(name)})
    pack = read_pack([tmp_path / "a.npz", tmp_path / "b.npz"], device=CPU)

    assert len(pack.samples.boxes) == len(pack.samples.canvases) == 7
    assert torch.equal(pack.samples.points, torch.cat([part.points for part in parts]))
    assert pack.start["w"] == ord("a")
    last = pack.samples.canvases[torch.tensor([6])].float() - parts[1].canvases[torch.tensor([3])].float()
    assert float(last.abs().mean()) < 4


def noise(count=8):
    canvases = Canvases.of([torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in range(count)])
    nothing = torch.zeros(count, 17)
    places = torch.zeros(count, 17, 2)
    return Crops(
        canvases, torch.zeros(count, 4), places, nothing, nothing > 0, places, nothing > 0, nothing[:, 0].long()
    )


def test_a_limit_lowers_the_quality_until_the_file_fits(tmp_path):
    write_pack(tmp_path / "free.npz", CONFIG, noise(), {})
    free = (tmp_path / "free.npz").stat().st_size
    used = write_pack(tmp_path / "tight.npz", CONFIG, noise(), {}, limit=int(0.7 * free))

    assert used < 75
    assert (tmp_path / "tight.npz").stat().st_size <= 0.7 * free


def test_a_limit_that_cannot_be_met_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="--max-mib"):
        write_pack(tmp_path / "a.npz", CONFIG, noise(), {}, limit=9_000)
    assert list(tmp_path.iterdir()) == []


def test_packs_of_different_networks_do_not_mix(tmp_path):
    write_pack(tmp_path / "a.npz", CONFIG, crops(), {})
    write_pack(tmp_path / "b.npz", TrainConfig(network="other", datasets=CONFIG.datasets), crops(), {})
    with pytest.raises(ConfigError, match="other"):
        read_pack([tmp_path / "a.npz", tmp_path / "b.npz"], device=CPU)


def damage(path, **changed):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    for name, value in changed.items():
        if value is None:
            del arrays[name]
        else:
            arrays[name] = value
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    "changed",
    [
        {"boxes": None},
        {"canvas": np.array([0, 1, 2, 99], np.int32)},
        {"weights": np.zeros((2, 17), np.float32)},
        {"header": np.frombuffer(b"{}", np.uint8)},
        {"header": np.frombuffer(json.dumps({"format": 9}).encode(), np.uint8)},
        {"chunks": np.zeros(10, np.uint8)},
        {"boxes": np.array([{"pickled": 1}], dtype=object)},
    ],
)
def test_a_damaged_or_hostile_pack_is_refused(tmp_path, changed):
    write_pack(tmp_path / "a.npz", CONFIG, crops(), {})
    damage(tmp_path / "a.npz", **changed)
    with pytest.raises(InputError, match=r"a\.npz"):
        read_pack([tmp_path / "a.npz"], device=CPU)


def test_what_is_no_pack_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"not a zip file")
    with pytest.raises(InputError, match=r"a\.npz"):
        read_pack([tmp_path / "a.npz"], device=CPU)
    with pytest.raises(InputError, match="No such file"):
        read_pack([tmp_path / "b.npz"], device=CPU)
