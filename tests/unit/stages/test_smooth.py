from dataclasses import replace

import pytest
import torch

from posecli.stages.smooth import Smoother
from walkers import person, poses

FPS = 30


def smoothed(frames, *, numbers=(1,), max_gap=1.5):
    """Smooth (time, keypoints (17, 2)) of one person; return (T, 17, 2)."""
    smoother = Smoother(max_gap=max_gap)
    _, scores, box = person(0, 0, 0)
    done = []
    for time_s, points, *score in frames:
        scores = torch.full((17,), score[0] if score else 0.9)
        done.append(smoother(replace(poses([(points, scores, box)]), track_ids=numbers), time_s).keypoints[0])
    return torch.stack(done)


def at_rest(count, noise, times=None):
    points, _, _ = person(300, 200, 0)
    times = times or [index / FPS for index in range(count)]
    return [(time_s, points + torch.randn(17, 2) * noise) for time_s in times], points


def test_jitter_at_rest_gets_much_smaller():
    frames, truth = at_rest(300, 2.0)

    after = smoothed(frames)[30:]

    raw = torch.stack([points for _, points in frames])[30:]
    assert (after - truth).square().mean() < 0.35 * (raw - truth).square().mean()
    assert (after[1:] - after[:-1]).square().mean() < 0.1 * (raw[1:] - raw[:-1]).square().mean()


@pytest.mark.parametrize("speed", [50.0, 200.0, 800.0])
def test_lag_in_motion_is_bounded(speed):
    points, _, box = person(0, 0, 0)
    size = float(((box[2] - box[0]) * (box[3] - box[1])).sqrt())
    frames = [(index / FPS, points + torch.tensor([speed * index / FPS, 0.0])) for index in range(60)]

    lag = (torch.stack([raw for _, raw in frames]) - smoothed(frames))[30:, :, 0]

    assert lag.min() > 0
    assert lag.max() < 0.08 * size


def test_uneven_time_stamps_give_the_same_speed():
    """A filter that counts frames would take a pause for rest, and a burst for a jump."""
    points, _, _ = person(0, 0, 0)
    times = [0.0, 0.033, 0.066, 0.1, 0.5, 0.51, 0.52, 0.53, 0.9, 1.0, 1.033, 1.066, 1.4, 1.41, 1.42]

    after = smoothed([(t, points + torch.tensor([120.0 * t, 0.0])) for t in times])

    lag = points[0, 0] + 120 * torch.tensor(times) - after[:, 0, 0]
    assert lag.min() >= 0
    assert lag.max() < 6.5


def test_twice_the_frames_smooth_alike():
    torch.manual_seed(1)
    frames, _ = at_rest(0, 0.0, [index / 60 for index in range(120)])
    wobble = [(t, points + 3 * torch.sin(torch.tensor(2 * torch.pi * 0.5 * t))) for t, points in frames]

    full, half = smoothed(wobble), smoothed(wobble[::2])

    assert (full[::2] - half).abs().max() < 0.25


def test_the_first_frame_and_a_return_are_as_found():
    frames, _ = at_rest(2, 2.0, [0.0, 5.0])

    after = smoothed(frames)

    torch.testing.assert_close(after, torch.stack([points for _, points in frames]), rtol=0, atol=0)


def test_unsure_keypoints_stay_and_tell_nothing_of_the_next():
    points, _, _ = person(300, 200, 0)
    frames = [(0.0, points), (0.1, points + 90, 0.05), (0.2, points)]

    after = smoothed(frames)

    torch.testing.assert_close(after[1], points + 90, rtol=0, atol=0)
    torch.testing.assert_close(after[2], points, rtol=0, atol=1e-4)


def test_two_frames_at_one_time_do_no_harm():
    frames, _ = at_rest(3, 1.0, [0.0, 0.0, 0.04])

    assert torch.isfinite(smoothed(frames)).all()


def test_people_do_not_mix_and_raw_keypoints_are_kept():
    smoother = Smoother(max_gap=1)
    first = poses([person(100, 200, 0), person(400, 200, 0)])
    second = poses([person(400, 200, 0), person(100, 200, 0)])

    smoother(replace(first, track_ids=(1, 2)), 0.0)
    after = smoother(replace(second, track_ids=(2, 1)), 0.04)

    torch.testing.assert_close(after.keypoints, second.keypoints, rtol=0, atol=1e-4)
    torch.testing.assert_close(after.raw_keypoints, second.keypoints, rtol=0, atol=0)


def test_memory_does_not_grow_with_people_who_left():
    smoother = Smoother(max_gap=0.5)
    for index in range(100):
        smoother(replace(poses([person(100, 200, 0)]), track_ids=(index + 1,)), index / FPS)

    assert len(smoother._states) <= 16
