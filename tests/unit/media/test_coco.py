import torch

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
