from random import Random

import pytest
import torch

from posecli.records import Poses
from posecli.stages.track import Tracker
from walkers import person, poses

FPS = 25


def follow(frames, *, max_gap=1.5, shuffled=True):
    """Track frames of {name: person} at (time, people); return each frame's {name: number}."""
    tracker, order, numbers = Tracker(max_gap=max_gap), Random(0), []
    for time_s, people in frames:
        names = list(people)
        if shuffled:  # best score first is no order to rely on
            order.shuffle(names)
        tracked = tracker(poses([people[name] for name in names]), time_s)
        assert len(set(tracked.track_ids)) == len(names)
        numbers.append(dict(zip(names, tracked.track_ids, strict=True)))
    return numbers


def walk(until_s, **paths):
    """Frames of people on their ways: each path gives (x, y), or None while nobody is seen, at a time."""
    for index in range(round(until_s * FPS)):
        time_s = index / FPS
        places = {name: path(time_s) for name, path in paths.items()}
        yield time_s, {name: person(*place, time_s, noise=1.5) for name, place in places.items() if place is not None}


def numbers_of(name, numbers):
    return {frame[name] for frame in numbers if name in frame}


def test_numbers_count_from_one_and_stay():
    numbers = follow(walk(2, a=lambda t: (100 + 60 * t, 200), b=lambda t: (400, 200 - 20 * t)))

    assert set(numbers[0].values()) == {1, 2}
    assert numbers == [numbers[0]] * 50


@pytest.mark.parametrize("speed", [60, 120, 240])
@pytest.mark.parametrize("apart", [0, 12])
def test_people_who_cross_keep_their_numbers(speed, apart):
    width = 4 * speed
    numbers = follow(walk(4, a=lambda t: (100 + speed * t, 200), b=lambda t: (100 + width - speed * t, 200 + apart)))

    assert len(numbers_of("a", numbers)) == len(numbers_of("b", numbers)) == 1


def test_who_crosses_behind_somebody_keeps_the_number():
    def behind(t):
        return None if 1.5 < t < 2.5 else (300 - 50 * t, 204)

    numbers = follow(walk(4, front=lambda t: (100 + 50 * t, 200), behind=behind))

    assert len(numbers_of("front", numbers)) == len(numbers_of("behind", numbers)) == 1


@pytest.mark.parametrize("speed", [0, 40, 160])
def test_a_second_out_of_sight_is_survived(speed):
    numbers = follow(walk(4, a=lambda t: None if 1.5 <= t < 2.5 else (100 + speed * t, 200)))

    assert numbers_of("a", numbers) == {1}


def test_who_comes_back_late_is_somebody_new():
    frames = list(walk(4, a=lambda t: None if 1 <= t < 2.8 else (200, 200)))

    assert numbers_of("a", follow(frames)) == {1, 2}
    assert numbers_of("a", follow(frames, max_gap=3)) == {1}


def test_a_new_person_elsewhere_is_new_while_another_is_out_of_sight():
    numbers = follow(
        walk(3, a=lambda t: (100, 200) if t < 1 else None, b=lambda t: (420 - 20 * t, 200) if t >= 1.2 else None)
    )

    assert (numbers_of("a", numbers), numbers_of("b", numbers)) == ({1}, {2})


def test_a_neighbour_in_sight_is_not_taken_for_who_is_hidden():
    numbers = follow(walk(3, a=lambda t: (100 + 30 * t, 200), b=lambda t: (150 + 30 * t, 200) if t < 1 else None))

    assert numbers_of("a", numbers) == {numbers[0]["a"]}


def test_uneven_time_stamps_are_no_obstacle():
    times = [0.0, 0.04, 0.08, 0.5, 0.54, 0.54, 1.2, 1.21, 1.22, 2.0]
    frames = [(t, {"a": person(100 + 80 * t, 200, t), "b": person(300 - 80 * t, 230, t)}) for t in times]

    numbers = follow(frames)

    assert numbers == [numbers[0]] * len(times)


def test_people_of_other_sizes_at_one_place_are_two():
    numbers = follow([(t / FPS, {"a": person(100, 200, 0), "b": person(104, 200, 0, tall=45)}) for t in range(20)])

    assert numbers == [numbers[0]] * 20


def test_memory_does_not_grow_with_people_who_left():
    tracker = Tracker(max_gap=0.5)
    for index in range(200):
        tracker(poses([person(500.0 * index, 200, 0)]), index / FPS)

    assert len(tracker._tracks) <= 14


def test_nobody_has_no_number_and_nothing_else_changes():
    tracker = Tracker(max_gap=1)
    people = poses([person(100, 200, 0)])

    assert tracker(Poses.empty(), 0.0).track_ids == ()
    tracked = tracker(people, 0.04)

    assert tracked.track_ids == (1,)
    torch.testing.assert_close(tracked.keypoints, people.keypoints, rtol=0, atol=0)
    assert tracked.origins == people.origins
