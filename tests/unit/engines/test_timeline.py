import json

import pytest

from posecli.config import TimelineConfig
from posecli.engines.timeline import Timeline
from posecli.media.coco import people_entries
from walkers import person, poses


def entries(count=20, *, timed=True):
    for index in range(count):
        time_s = index / 25
        people = poses([person(100 + 40 * time_s, 200, time_s, noise=1), person(300, 200, time_s, noise=1)])
        time = round(time_s, 6) if timed else None
        yield {"frame_index": index, "time": time, "people": people_entries(people)}


def run(config, frames):
    timeline = Timeline(config)
    return [timeline(entry) for entry in frames]


def test_nothing_is_made_of_frames_unless_asked():
    frames = list(entries())

    assert run(TimelineConfig(), frames) == frames


def test_pictures_have_no_time_and_no_numbers():
    frames = list(entries(timed=False))

    assert run(TimelineConfig(track=True, smooth=True), frames) == frames


def test_tracking_adds_numbers_and_changes_nothing_else():
    frames = list(entries())

    after = run(TimelineConfig(track=True), frames)

    assert {tuple(person.pop("track_id") for person in entry["people"]) for entry in after} == {(1, 2)}
    assert after == frames


def test_smoothing_numbers_people_and_keeps_what_was_found():
    frames = list(entries())

    after = run(TimelineConfig(smooth=True), frames)

    for before, entry in zip(frames, after, strict=True):
        for found, person_ in zip(before["people"], entry["people"], strict=True):
            del found["keypoints"][2::3]
            assert person_["raw_keypoints"] == found["keypoints"]
            assert person_["track_id"] in {1, 2}
    assert after[5]["people"][0]["keypoints"][0] != after[5]["people"][0]["raw_keypoints"][0]


@pytest.mark.parametrize("config", [TimelineConfig(track=True), TimelineConfig(smooth=True)])
def test_entries_from_a_file_give_the_same(config):
    """Entries are rounded before they are tracked, so it does not matter whether they come from networks or a file."""
    frames = list(entries())
    assert run(config, json.loads(json.dumps(frames))) == run(config, frames)
