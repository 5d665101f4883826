"""Many sources in several processes, one a device: a queue of sources, and their reports in the sources' order.

Processes, because two GPUs are more than one Python thread can keep busy, and because what kills one of them, a codec's
fault or the system's want of memory, ends one source and not the run.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import TYPE_CHECKING

from posecli.engines.layout import journal_path
from posecli.engines.local import Stop
from posecli.engines.messages import Broken, FrameDone, Message, Order, entry_of
from posecli.engines.reports import SourceReport
from posecli.engines.watcher import Watcher
from posecli.engines.worker import work
from posecli.media.journal import num_finished
from posecli.media.locations import shown

if TYPE_CHECKING:
    from typing_extensions import Self

_PATIENCE_S = 0.2  # how often somebody looks whether to stop while nothing comes
_FAREWELL_S = 60.0  # for the batch that a worker has in hand when it shall stop


class Team:
    """Worker processes; a context manager, which leaves none of them behind.

    Args:
        orders: one a worker.
    """

    def __init__(self, orders: Sequence[Order]) -> None:
        self._orders = orders
        self._workers: list[_Worker] = []
        self._notes: dict[str, None] = {}  # in the order in which they came

    def __enter__(self) -> Self:
        self._workers = [_Worker(order) for order in self._orders]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.connection.close()  # whoever is at work stops after its batch, and keeps its journal
        for worker in self._workers:
            worker.end()

    def notes(self) -> tuple[str, ...]:
        """Return what the workers' pipelines had to say, a line each."""
        return tuple(self._notes)

    def annotate(
        self, paths: Sequence[str], watcher: Watcher, stop: Stop, *, fail_fast: bool
    ) -> Iterator[SourceReport]:
        """Annotate sources; yield their reports in the sources' order, as soon as all before them are there.

        Args:
            paths: files and folders.
            watcher: is told of one source after the other, in their order, `end` left to who takes the reports.
            stop: asked again and again; once it is true, all leave their sources.
            fail_fast: stop when one source has failed.

        Raises:
            PosecliError: a worker's device failed, as it would in a single process.
            RuntimeError: a worker met a bug.
        """
        todo = deque(_Task(path) for path in paths)
        begun: deque[_Task] = deque()  # in order; those at the front that are done have left
        stopping = False
        while todo or begun:
            failed = any(task.report is not None and task.report.status == "failed" for task in begun)
            if not stopping and (stop() or (fail_fast and failed)):
                stopping = True
                todo.clear()
                self._stop()
            while todo and (idle := next((worker for worker in self._workers if worker.task is None), None)):
                begun.append(todo.popleft())
                self._living(idle).give(begun[-1])
            yield from _tell(begun, watcher)
            if begun:
                self._listen()

    def _listen(self) -> None:
        """Take what workers have to say, for a while."""
        by_connection = {worker.connection: worker for worker in self._workers if worker.task is not None}
        for ready in wait(list(by_connection), timeout=_PATIENCE_S):
            worker = by_connection[ready]  # type: ignore[index]
            try:
                self._take(worker, worker.connection.recv())
            except (EOFError, ConnectionError):
                worker.die()

    def _take(self, worker: _Worker, message: Message) -> None:
        if isinstance(message, Broken):
            if message.error is not None:
                raise message.error
            raise RuntimeError(f"a bug in a worker process\n{message.trace}")
        if worker.task is None:
            raise ValueError("a worker without a source cannot tell of one")
        if isinstance(message, FrameDone):
            worker.task.frames.append(message)
            return
        worker.task.report, worker.task = message.report, None
        self._notes.update(dict.fromkeys(message.notes))

    def _living(self, worker: _Worker) -> _Worker:
        """Return the worker, or a new one in the place of one that died."""
        if not worker.is_dead:
            return worker
        number = self._workers.index(worker)
        self._workers[number] = _Worker(self._orders[number])
        return self._workers[number]

    def _stop(self) -> None:
        for worker in self._workers:
            if worker.task is not None:
                worker.stop()


@dataclass
class _Task:
    """A source, and what was told of it."""

    path: str
    frames: deque[FrameDone] = field(default_factory=deque)  # not told to the watcher yet
    report: SourceReport | None = None
    is_told: bool = False  # whether the watcher knows that it began


def _tell(begun: deque[_Task], watcher: Watcher) -> Iterator[SourceReport]:
    """Tell the watcher of the first source; yield its report when it is done, and go on with the next."""
    while begun:
        first = begun[0]
        if not first.is_told:
            watcher.begin(first.path)
            first.is_told = True
        while first.frames:
            done = first.frames.popleft()
            watcher.frame(entry_of(done), done.is_new)
        if first.report is None:
            return
        yield begun.popleft().report or first.report


class _Worker:
    """A process, and the pipe to it."""

    def __init__(self, order: Order) -> None:
        context = multiprocessing.get_context("spawn")  # neither threads nor CUDA survive a fork
        self.connection, theirs = context.Pipe()
        self.task: _Task | None = None
        self.is_dead = False
        self._order = order
        self._process: BaseProcess = context.Process(target=work, args=(theirs, order), daemon=True)
        with _signals_held():
            self._process.start()
        theirs.close()  # so that the pipe ends with the process

    def give(self, task: _Task) -> None:
        """Hand over a source."""
        self.task = task
        self._send(task.path)

    def stop(self) -> None:
        """Let it leave its source."""
        self._send(None)

    def _send(self, message: str | None) -> None:
        try:
            self.connection.send(message)
        except ConnectionError:
            return  # it is dead, which shows where it is listened to

    def die(self) -> None:
        """Take note of its death, which its source is reported with."""
        self.end()
        self.is_dead = True
        if self.task is not None:
            self.task.report, self.task = self._obituary(self.task.path), None

    def _obituary(self, path: str) -> SourceReport:
        code = self._process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        done = num_finished(journal_path(path, self._order.options)) or 0
        way_out = f"; {done} frames are done, --resume goes on" if done else ""
        name = shown(path)
        error = f"{name}: its worker process on {self._order.device} {how}{way_out}"
        return SourceReport(source=name, status="failed", error=error, frames=done)

    def end(self) -> None:
        """Wait for its end, not for ever."""
        self.connection.close()
        self._process.join(_FAREWELL_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Start a process that SIGINT and SIGTERM do not reach, from its first moment on; those that come here wait."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
