"""Several batches of frames at once, a thread each: small networks use a CPU's cores better side by side than together.

A network that splits each of its layers over all cores waits for the slowest of them at every layer's end, most of all
while reading and drawing want those cores, too. Threads that each work on a batch of their own never wait.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice

from posecli.pipeline import Pipeline
from posecli.records import Annotated, Frame
from posecli.runtime import Share, has_own_memory, keep_freed_memory, share_cores

_THREADS_A_DEVICE = 2  # where there are several: one of them filters and merges while the device works for the other
_WAITING = 1  # finished batches beyond one a thread that wait to be taken; memory stays flat


def share_of(pipeline: Pipeline, frames: int | None) -> Share:
    """Return how the batches of about so many frames share the pipeline's device; None where nobody knows."""
    batches = None if frames is None else math.ceil(frames / pipeline.config.batch_frames)
    return share_cores(pipeline.device, batches=batches)


class Crew:
    """Annotates frames as `Pipeline.run` does, in the same batches and the same order.

    What a batch raises, or the reading of its frames, is raised where its frames are taken. Leaving the context stops
    the threads after the batches that they have in hand.
    """

    def __init__(self, pipeline: Pipeline, *, frames: int | None = None) -> None:
        """See the class.

        Args:
            pipeline: is called from several threads at once; its replicas on other devices take their part of the work.
            frames: about how many there are, where that is known: a single batch is not worth a thread of its own.
        """
        self._pipeline, self._share = pipeline, share_of(pipeline, frames)
        self._pipelines = (pipeline, *pipeline.replicas)
        least = _THREADS_A_DEVICE * len(self._pipelines) if pipeline.replicas else 1
        self._workers = max(self._share.workers, least)
        self._reading, self._room = threading.Lock(), threading.Semaphore(self._workers + _WAITING)
        self._order: queue.SimpleQueue[Future[_Batch]] = queue.SimpleQueue()
        self._ended = False
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Crew:
        """Threads start when there is work."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, whether or not everything was taken."""
        self._ended = True
        self._room.release(len(self._threads) + 1)  # whoever waits for room leaves
        for thread in self._threads:
            thread.join()

    def run(self, frames: Iterable[Frame]) -> Iterator[Annotated]:
        """Yield each frame with its people, in the order the frames came; works once."""
        if not has_own_memory(self._pipeline.device):
            keep_freed_memory()
        if self._workers == 1:
            yield from self._pipeline.run(frames)
            return
        source = iter(frames)
        for number in range(self._workers):
            work = (source, self._pipelines[number % len(self._pipelines)])
            thread = threading.Thread(target=self._work, args=work, name=f"posecli-annotate-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        while (batch := self._order.get().result()).annotated or batch.error:
            yield from batch.annotated
            if batch.error is not None:
                raise batch.error
            self._room.release()

    def _work(self, source: Iterator[Frame], pipeline: Pipeline) -> None:
        self._share.apply()
        while not self._ended:
            self._room.acquire()
            done: Future[_Batch] = Future()
            frames = self._take(source, done)
            if frames is None:
                return
            batch = _Batch()
            try:
                batch.annotated.extend(pipeline.run(frames))  # in case of an error, with what came before it
            except BaseException as error:
                batch.error = error  # raised in the thread that takes the frames
            done.set_result(batch)

    def _take(self, source: Iterator[Frame], done: Future[_Batch]) -> list[Frame] | None:
        """Read the next batch, one thread at a time; None where there is none, and then nobody reads on."""
        with self._reading:
            if self._ended:
                return None
            self._order.put(done)  # before another thread reads: batches come out as they are read
            try:
                frames = list(islice(source, self._pipeline.config.batch_frames))
            except BaseException as error:
                self._ended = True
                done.set_result(_Batch(error=error))
                return None
            if not frames:
                self._ended = True
                done.set_result(_Batch())
                return None
            return frames


@dataclass
class _Batch:
    """What became of a batch of frames; the one after the last is empty."""

    annotated: list[Annotated] = field(default_factory=list)
    error: BaseException | None = None
