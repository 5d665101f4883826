from __future__ import annotations

import pytest
import torch

from posecli.training.samples import Canvases, mapped_canvases


def test_a_repeated_canvas_is_held_once():
    image = torch.zeros(3, 4, 5, dtype=torch.uint8)
    canvases = Canvases.of([image, image])
    image.fill_(7)

    assert (len(canvases), len(canvases.images)) == (2, 1)
    assert canvases[torch.tensor([1, 0])].flatten().unique().tolist() == [7]


def test_an_index_takes_the_same_pictures_from_a_list_and_from_a_tensor():
    images = torch.arange(3 * 3 * 2 * 2, dtype=torch.uint8).view(3, 3, 2, 2)
    index = torch.tensor([2, 0, 2])

    assert torch.equal(Canvases(list(images))[index], Canvases(images)[index])
    assert torch.equal(Canvases(images).to(torch.device("cpu"))[index], images[index])


def test_joined_canvases_follow_one_another():
    images = torch.arange(4 * 3, dtype=torch.uint8).view(4, 3, 1, 1)
    parts = [Canvases(list(images[:2]), torch.tensor([1, 0, 1])), Canvases(images[2:])]
    shown = Canvases.joined(parts)[torch.arange(5)]

    assert shown[:, 0, 0, 0].tolist() == [3, 0, 3, 6, 9]


def test_joined_canvases_stay_loose_while_all_of_them_are():
    images = [torch.full((3, 1, 1), value, dtype=torch.uint8) for value in (1, 2, 3)]
    whole = Canvases.joined([Canvases(images[:1]), Canvases(images[1:], torch.tensor([1, 0]))])

    assert whole.images[2] is images[2]
    assert whole[torch.arange(3)].flatten(1)[:, 0].tolist() == [1, 3, 2]


def test_canvases_of_a_file_stay_there(tmp_path):
    images = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5)
    (tmp_path / "a.u8").write_bytes(images.numpy().tobytes())
    canvases = mapped_canvases(tmp_path / "a.u8", (2, 3, 4, 5), torch.tensor([1, 1, 0]))

    moved = canvases.to(torch.device("meta"))

    assert torch.equal(canvases[torch.tensor([0, 2])], images[[1, 0]])
    assert moved.images is canvases.images
    assert moved[torch.tensor([0])].device.type == "meta"
    with pytest.raises(ValueError, match="has 120 bytes, wanted 180"):
        mapped_canvases(tmp_path / "a.u8", (3, 3, 4, 5), torch.tensor([0]))
