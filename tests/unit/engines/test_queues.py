import threading

import pytest

from posecli.engines.queues import Ahead, Behind, Stopped
from posecli.errors import InputError


class Collect:
    def __init__(self, error_at=-1):
        self.taken, self.error_at = [], error_at

    def __call__(self, item):
        if len(self.taken) == self.error_at:
            raise OSError(28, "No space left on device")
        self.taken.append(item)


def threads(name):
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_ahead_keeps_the_order():
    with Ahead(range(50), 3) as items:
        assert list(items) == list(range(50))


def test_ahead_raises_the_error_after_what_came_before_it():
    def broken():
        yield 1
        raise InputError("the end")

    seen = []
    with Ahead(broken(), 3) as items, pytest.raises(InputError, match="the end"):
        seen.extend(items)
    assert seen == [1]


def test_ahead_reads_no_further_than_it_may():
    read, enough = [], threading.Event()

    def counted():
        for index in range(1000):
            read.append(index)
            if index == 4:
                enough.set()
            yield index

    with Ahead(counted(), 3) as items:
        assert next(items) == 0
        assert enough.wait(10)  # one taken, three wait, one is in the thread's hand
        assert len(read) == 5


def test_leaving_ahead_early_stops_its_thread():
    endless = iter(int, 1)

    with Ahead(endless, 2) as items:
        next(items)

    assert not threads("posecli-read")


def test_waiting_for_what_does_not_come_can_be_stopped():
    comes = threading.Event()

    def slow():
        yield 1
        comes.wait(10)
        yield 2

    with Ahead(slow(), 2, stop=lambda: True) as items:
        assert next(items) == 1
        with pytest.raises(Stopped):
            next(items)
        comes.set()


def test_behind_writes_everything_in_order():
    collect = Collect()

    with Behind(collect, 2) as writer:
        for item in range(40):
            writer.put(item)

    assert collect.taken == list(range(40))
    assert not threads("posecli-write")


def test_behind_raises_an_error_of_writing_and_blocks_nobody():
    with Behind(Collect(error_at=3), 2) as writer, pytest.raises(OSError, match="No space left"):
        list(map(writer.put, range(100)))
    with pytest.raises(OSError, match="No space left"):
        writer.check()
