"""Pictures that are sources of their own, several at once on a CPU: a core each, their reports in the sources' order.

One picture is a single batch, whose layers all cores would have to share, each waiting for the slowest at every layer's
end; a core a picture waits for nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePath

from posecli.engines.local import Stop
from posecli.engines.output import Progress
from posecli.engines.reports import SourceReport
from posecli.engines.watcher import Watcher
from posecli.media.images import IMAGE_SUFFIXES
from posecli.media.journal import Entry
from posecli.runtime import Share

Annotate = Callable[[str, Progress], SourceReport]


def is_picture(path: str) -> bool:
    """Say whether a source is a picture by its name; one that is not, after all, is annotated all the same."""
    return PurePath(path).suffix.lower() in IMAGE_SUFFIXES


def annotate_pictures(
    paths: Sequence[str], annotate: Annotate, watcher: Watcher, stop: Stop, share: Share
) -> Iterator[SourceReport]:
    """Annotate pictures side by side; yield their reports in the order of the paths.

    Leaving the iteration waits for the pictures in hand.

    Args:
        paths: files.
        annotate: does it for one, and is called in several threads.
        watcher: is told of one source after the other, in their order, `end` left to who takes the reports.
        stop: once it is true, no other picture is begun.
        share: how many at once, and the cores for each.
    """
    todo, begun = iter(paths), deque[_Task]()
    with ThreadPoolExecutor(share.workers, "posecli-picture", initializer=share.apply) as pool:
        while True:
            while len(begun) <= share.workers and not stop():  # one more than there are workers waits its turn
                if (path := next(todo, None)) is None:
                    break
                task = _Task(path)
                task.report = pool.submit(annotate, path, task.note)
                begun.append(task)
            if not begun:
                return
            yield begun.popleft().tell(watcher)


@dataclass
class _Task:
    """A picture, and what is to be told of it."""

    path: str
    frames: list[tuple[Entry, bool]] = field(default_factory=list)
    report: Future[SourceReport] = field(default_factory=Future)

    def note(self, entry: Entry, is_new: bool) -> None:
        self.frames.append((entry, is_new))

    def tell(self, watcher: Watcher) -> SourceReport:
        """Wait for the picture, and tell the watcher of it."""
        watcher.begin(self.path)
        report = self.report.result()
        for entry, is_new in self.frames:
            watcher.frame(entry, is_new)
        return report
