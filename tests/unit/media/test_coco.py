import pytest
import torch

from posecli.config import MergeConfig
from posecli.media.coco import annotation_entry, people_entries, people_poses
from posecli.records import Poses


def some_people(count, **extra):
    generator = torch.Generator().manual_seed(0)
    corner, size = torch.rand(count, 2, generator=generator) * 500, torch.rand(count, 2, generator=generator) * 900
    return Poses(
        torch.cat((corner, corner + size), dim=1),
        torch.rand(count, 17, 2, generator=generator) * 4000,
        torch.rand(count, 17, generator=generator),
        torch.rand(count, generator=generator),
        ("proposal",) * count,
        **extra,
    )


def test_entries_and_poses_are_two_sides_of_one_thing():
    raw = torch.rand(4, 17, 2) * 4000
    for poses in (some_people(4), some_people(4, track_ids=(3, 1, 2, 9), raw_keypoints=raw), Poses.empty()):
        entries = people_entries(poses)

        back = people_poses(entries)

        assert people_entries(back) == entries
        assert len(back) == len(poses)
        torch.testing.assert_close(back.keypoints, poses.keypoints, rtol=0, atol=0.051)
        torch.testing.assert_close(back.boxes, poses.boxes, rtol=0, atol=0.11)


def test_a_tracked_and_smoothed_person_says_so_in_its_attributes():
    (plain,) = people_entries(some_people(1))
    (tracked,) = people_entries(some_people(1, track_ids=(7,), raw_keypoints=torch.full((1, 17, 2), 1.26)))

    attributes = annotation_entry(tracked, annotation_id=1, image_id=1)["attributes"]
    assert (attributes["track_id"], attributes["raw_keypoints"]) == (7, [1.3] * 34)
    untracked = annotation_entry(plain, annotation_id=1, image_id=1)["attributes"]
    assert untracked["track_id"] is None
    assert "raw_keypoints" not in untracked


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        (MergeConfig(min_labelled_score=0.4, min_visible_score=0.6), [0, 0, 1, 1, 2, 2]),
        (MergeConfig(min_labelled_score=0.0, min_visible_score=0.5), [1, 1, 1, 2, 2, 2]),
        (MergeConfig(min_labelled_score=0.9, min_visible_score=0.1), [0, 0, 0, 0, 0, 2]),
    ],
)
def test_v_follows_from_the_keypoints_score(merge, expected):
    scores = torch.full((1, 17), 0.95)
    scores[0, :6] = torch.tensor([0.0, 0.399, 0.4, 0.599, 0.6, 0.95])
    poses = Poses(torch.tensor([[0.0, 0.0, 9.0, 9.0]]), torch.full((1, 17, 2), 5.0), scores, torch.ones(1))

    annotation = annotation_entry(people_entries(poses)[0], annotation_id=1, image_id=1, merge=merge)

    v = annotation["keypoints"][2::3]
    assert v[:6] == expected
    assert all(type(value) is int for value in v)
    assert annotation["num_keypoints"] == sum(value > 0 for value in v)
    x = annotation["keypoints"][0::3]
    assert x == [5.0 if value else 0 for value in v]
