"""One of several processes that annotate sources: gets paths through a pipe, and tells what becomes of them.

Whatever comes while a source is annotated means that it shall stop, the end of the pipe, too: so no worker outlives the
process that started it by more than a batch.
"""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection

from posecli.engines.local import annotate_source
from posecli.engines.messages import Broken, FrameDone, Message, Order, SourceDone
from posecli.errors import PosecliError
from posecli.media.journal import Entry
from posecli.pipeline import load_pipeline
from posecli.runtime import use_cores


def work(connection: Connection, order: Order) -> None:
    """Annotate the sources whose paths come through a pipe, until it ends or None comes."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach all processes of a terminal; the first one decides
        signal.signal(number, signal.SIG_IGN)
    with suppress(ConnectionError):  # nobody listens any more
        _work(connection, order)


def _work(connection: Connection, order: Order) -> None:
    try:
        use_cores(order.cores)
        pipeline = load_pipeline(
            order.config, device=order.device, weights=order.weights, allow_random=order.allow_random
        )
        tell = _Teller(connection)
        for path in _paths(connection):
            report = annotate_source(path, pipeline, order.options, tell.frame, connection.poll)
            tell(SourceDone(report, pipeline.notes()))
    except PosecliError as error:
        connection.send(Broken(error))
    except Exception:
        connection.send(Broken(None, traceback.format_exc()))


def _paths(connection: Connection) -> Iterator[str]:
    while True:
        try:
            path = connection.recv()
        except EOFError:  # here alone: PyAV's is one, too
            return
        if path is None:
            return
        yield path


class _Teller:
    """Sends messages from several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._one_at_a_time = connection, threading.Lock()

    def __call__(self, message: Message) -> None:
        with self._one_at_a_time:
            self._connection.send(message)

    def frame(self, entry: Entry, is_new: bool) -> None:
        """Tell of a frame."""
        self(FrameDone(len(entry["people"]), is_new))
