"""Threads around the networks: one reads ahead, one writes behind, both a bounded number of items."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

_PATIENCE_S = 0.2  # how often a waiting taker looks whether it shall stop

Item = TypeVar("Item")


class Stopped(Exception):
    """Somebody asked to stop while nothing came."""


class _End:
    """The last thing in a queue: nothing more comes, because of `error` if there is one."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Ahead(Generic[Item]):
    """Iterate something in a thread of its own, a bounded number of items ahead.

    An error of the iterated thing is raised where the items are taken. Leaving the context stops the thread.
    """

    def __init__(self, items: Iterable[Item], depth: int, stop: Callable[[], bool] = lambda: False) -> None:
        """See the class.

        Args:
            items: what to iterate.
            depth: most items that wait to be taken.
            stop: asked while nothing comes; once it is true, the taker gets `Stopped`.
        """
        self._items, self._should_stop = items, stop
        self.waited_s = 0.0  # for items that were not there yet
        self._queue: queue.Queue[Item | _End] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="posecli-read", daemon=True)

    def __enter__(self) -> Iterator[Item]:
        """Start reading."""
        self._thread.start()
        return self._take()

    def __exit__(self, *_: object) -> None:
        """Stop reading, whether or not everything was taken."""
        self._stop.set()
        while self._thread.is_alive():
            _drain(self._queue)
            self._thread.join(timeout=0.05)

    def _work(self) -> None:
        try:
            for item in self._items:
                if self._stop.is_set():
                    return
                self._queue.put(item)
        except BaseException as error:
            self._queue.put(_End(error))  # raised in the thread that takes the items
        else:
            self._queue.put(_End())

    def _take(self) -> Iterator[Item]:
        while not isinstance(item := self._next(), _End):
            yield item
        if item.error is not None:
            raise item.error

    def _next(self) -> Item | _End:
        started = time.perf_counter()
        try:
            return self._waited_for()
        finally:
            self.waited_s += time.perf_counter() - started

    def _waited_for(self) -> Item | _End:
        while True:
            try:
                return self._queue.get(timeout=_PATIENCE_S)
            except queue.Empty:
                if self._should_stop():
                    return _End(Stopped())
                if self._stop.is_set():
                    return _End()  # taken in another thread than the one that leaves the context


class Behind(Generic[Item]):
    """Call `write` with items in a thread of its own; an error there is raised at the next `put` or `check`."""

    def __init__(self, write: Callable[[Item], None], depth: int) -> None:
        self._write = write
        self.waited_s = 0.0  # for room
        self._queue: queue.Queue[Item | _End] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="posecli-write", daemon=True)

    def __enter__(self) -> Behind[Item]:
        """Start writing."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is waiting, then stop."""
        self._queue.put(_End())
        self._thread.join()

    def put(self, item: Item) -> None:
        """Hand over one item; blocks while too many wait."""
        self.check()
        started = time.perf_counter()
        self._queue.put(item)
        self.waited_s += time.perf_counter() - started

    def check(self) -> None:
        """Raise what went wrong in the thread."""
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while not isinstance(item := self._queue.get(), _End):
            if self._error is not None:
                continue  # keep taking, so that nobody blocks
            try:
                self._write(item)
            except BaseException as error:
                self._error = error


def _drain(waiting: queue.Queue[Any]) -> None:
    try:
        while True:
            waiting.get_nowait()
    except queue.Empty:
        return
