import threading

import pytest
import torch

from fakes import OnePersonPerFrame
from posecli.config import PipelineConfig
from posecli.engines import crew
from posecli.engines.crew import Crew
from posecli.engines.queues import Ahead
from posecli.errors import InputError
from posecli.records import Frame
from posecli.runtime import Share, share_cores

THREADS = 3


def frames(count):
    for index in range(count):
        yield Frame(index, torch.zeros(8, 8, 3, dtype=torch.uint8), 8, 8, f"{index}.png")


class OnlyTogether(OnePersonPerFrame):
    """Finishes no batch before all threads have one: the last batch taken is done first."""

    gate = threading.Barrier(THREADS, timeout=20)

    def run(self, frames):
        self.gate.wait()
        yield from super().run(frames)


@pytest.fixture
def three_threads(monkeypatch):
    monkeypatch.setattr(crew, "share_cores", lambda device, batches: Share(THREADS, 1))


def running():
    return [thread for thread in threading.enumerate() if thread.name.startswith("posecli-annotate")]


def test_frames_keep_their_order_and_their_batches(three_threads):
    pipeline = OnlyTogether(PipelineConfig(batch_frames=2))

    with Crew(pipeline) as several:
        done = [annotated.frame.index for annotated in several.run(frames(2 * 4 * THREADS))]

    assert done == list(range(24))
    assert sorted(pipeline.batches) == [[index, index + 1] for index in range(0, 24, 2)]
    assert not running()


def test_one_thread_is_the_calling_one():
    pipeline = OnePersonPerFrame()

    with Crew(pipeline, frames=3) as alone:
        for annotated in alone.run(frames(3)):
            assert annotated.frame.index in range(3)
            assert not running()

    assert pipeline.batches == [[0, 1, 2]]


def test_what_a_batch_raises_comes_after_the_frames_before_it(three_threads):
    pipeline, seen = OnePersonPerFrame(PipelineConfig(batch_frames=2), fails_at=5), []  # the second of its batch

    with Crew(pipeline) as several, pytest.raises(ZeroDivisionError):
        seen.extend(annotated.frame.index for annotated in several.run(frames(100)))

    assert seen == [0, 1, 2, 3, 4]
    assert not running()


def test_what_reading_raises_comes_after_the_batches_before_it(three_threads):
    def broken():
        yield from frames(6)
        raise InputError("the end")

    pipeline, seen = OnePersonPerFrame(PipelineConfig(batch_frames=2)), []
    with Crew(pipeline) as several, pytest.raises(InputError, match="the end"):
        seen.extend(annotated.frame.index for annotated in several.run(broken()))

    assert seen == list(range(6))


def test_no_more_frames_are_held_than_there_is_room_for(three_threads):
    taken, enough = [], threading.Semaphore(0)

    def counted():
        for frame in frames(1000):
            taken.append(frame.index)
            enough.release()
            yield frame

    with Crew(OnePersonPerFrame(PipelineConfig(batch_frames=2))) as several:
        next(several.run(counted()))
        for _ in range(2 * (THREADS + 1)):
            assert enough.acquire(timeout=20)
        assert not enough.acquire(timeout=0.2)  # a batch in each hand and one that waits

    assert len(taken) == 2 * (THREADS + 1)


def test_leaving_does_not_wait_for_frames_that_never_come(three_threads):
    asked = threading.Event()

    def endless():
        yield from frames(2)
        asked.wait(20)
        yield from ()

    with Crew(OnePersonPerFrame(PipelineConfig(batch_frames=1))) as several:
        ahead = Ahead(endless(), 4)
        items = several.run(ahead.__enter__())
        assert next(items).frame.index == 0
        asked.set()
        ahead.__exit__(None, None, None)

    assert not running()


def test_cores_are_shared_among_batches():
    cores = torch.get_num_threads()
    cpu = torch.device("cpu")

    assert share_cores(cpu, batches=1) == Share(1, cores)
    assert share_cores(cpu, batches=0) == Share(1, cores)  # a header that lies
    assert share_cores(torch.device("cuda")) == Share(1, cores)
    many = share_cores(cpu)
    assert many.workers * many.cores <= cores
    assert many.workers == min(cores, 8)


def test_replicas_on_other_devices_take_their_part_and_the_order_stays():
    begun = {"first": threading.Event(), "other": threading.Event()}

    class Together(OnePersonPerFrame):
        def run(self, frames):
            own, others = ("first", "other") if self.replicas else ("other", "first")
            begun[own].set()
            assert begun[others].wait(20)
            yield from super().run(frames)

    config = PipelineConfig(batch_frames=2)
    other = Together(config)
    first = Together(config, replicas=(other,))

    with Crew(first) as several:
        done = [annotated.frame.index for annotated in several.run(frames(24))]

    assert done == list(range(24))
    assert first.batches
    assert other.batches
    assert sorted(first.batches + other.batches) == [[index, index + 1] for index in range(0, 24, 2)]
