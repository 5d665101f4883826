"""SIGINT and SIGTERM while sources are annotated: stop at the next good moment; the second time at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_HINT = b"\nstopping after this batch of frames; once more stops at once\n"


class StopSignals:
    """While it is entered, the first signal is only remembered; ask by calling it.

    Shells start background jobs with SIGINT ignored, and it stays so: it is not meant for them.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        """Whether a signal came."""
        return self.received is not None

    @property
    def exit_code(self) -> int:
        """What shells expect of a command that the signal ended."""
        return 128 + (self.received or 0)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # nobody else may set handlers
            for number in _SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: object) -> None:
        if self.received is not None:
            os._exit(128 + number)  # the journal's lines are flushed, the rest is made anew
        self.received = number
        if sys.stderr.isatty():
            os.write(2, _HINT)  # print is not safe in a handler
