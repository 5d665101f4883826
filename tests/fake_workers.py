"""Worker processes without networks: the first letters of a path's name say what becomes of it."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass, field

from posecli.config import RunOptions
from posecli.engines.messages import Broken, FrameDone, SourceDone
from posecli.engines.reports import SourceReport
from posecli.errors import DeviceError


@dataclass(frozen=True)
class Order:
    """As much of one as a team looks at."""

    options: RunOptions
    device: str = "cpu"
    notes: tuple = field(default_factory=tuple)


def work(connection, order):
    assert "torch" not in sys.modules  # or these tests would take as long as real workers
    try:
        while (path := connection.recv()) is not None:
            connection.send(_annotated(path, connection, order))
    except EOFError:
        return


def _annotated(path, connection, order):
    name = os.path.basename(path)
    if name.startswith("slow"):
        time.sleep(0.5)
    if name.startswith("dies"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("device"):
        return Broken(DeviceError("out of memory on cuda:1 with a batch of one"))
    if name.startswith("bug"):
        return Broken(None, "Traceback: ZeroDivisionError")
    if name.startswith("signals"):
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
    for number in range(3):
        connection.send(FrameDone(number, is_new=number > 0))
    status = "ok"
    if name.startswith("endless"):
        connection.poll(60)  # until it shall stop
        status = "interrupted"
    if name.startswith("bad"):
        status = "failed"
    return SourceDone(SourceReport(source=path, status=status, frames=3), order.notes)
