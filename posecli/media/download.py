"""One file over HTTP: resumed where it was cut, checked against its hash, in place only when whole."""

from __future__ import annotations

import errno
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from http.client import HTTPResponse
from pathlib import Path
from urllib.request import Request

from posecli import __version__
from posecli.errors import WeightsError
from posecli.media.files import part_path, put_in_place, sha256
from posecli.media.web import CutError, RangeError, blocks, check_address, opened

Progress = Callable[[int, "int | None"], None]  # bytes so far, bytes in all where the server says


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long and how often to try, and how much to take."""

    timeout_s: float = 30.0  # of silence
    attempts: int = 5  # in a row that bring nothing new
    pause_s: float = 1.0  # before the second attempt; doubles
    max_bytes: int = 4 << 30


@dataclass(frozen=True)
class _Origin:
    """What a half-fetched file is half of."""

    url: str
    validator: str | None  # ETag or Last-Modified
    total: int | None  # bytes


def download(
    url: str,
    target: Path,
    *,
    sha256_prefix: str = "",
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> str:
    """Fetch a file; a cut transfer goes on where it stopped, in this call and in the next one.

    Proxies come from the environment (`https_proxy`, `no_proxy`), as urllib has them.

    Args:
        url: http or https, also after redirects.
        target: where the file goes; what has come of it waits beside it as `.NAME.part`.
        sha256_prefix: hex digits that the file's SHA-256 starts with; not checked if empty.
        patience: time-outs, attempts and the size limit.
        progress: called with the bytes so far and in all.

    Returns:
        The file's SHA-256 in hex.

    Raises:
        ConfigError: the address is not http or https, or is none.
        WeightsError: the server, the network, the disk or the hash says no; the message names the way out.
    """
    check_address(url)
    part = _Part(target)
    with _disk_errors(part), _only_one(part):
        fetch = _Fetch(url, part, patience or Patience(), progress)
        resumed = part.size > 0
        fetch.run()
        digest = sha256(part.path)
        if resumed and not digest.startswith(sha256_prefix):  # the first half may have been of another file
            part.discard()
            fetch.run()
            digest = sha256(part.path)
        if not digest.startswith(sha256_prefix):
            page = part.looks_like_a_page()
            part.discard()
            found = "it is a web page" if page else f"SHA-256 starts {digest[:8]}"
            raise WeightsError(f"{url}: {found}, expected {sha256_prefix}; name a mirror with --url")
        put_in_place(part.path, target)
        part.discard()
    return digest


class _Part:
    """The half-fetched file, and beside it a note of what it is half of."""

    def __init__(self, target: Path) -> None:
        self.path = part_path(target)
        self.note = target.with_name(f".{target.name}.part.json")
        self.lock = target.with_name(f".{target.name}.lock")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def origin(self) -> _Origin | None:
        """Return what the note says, if it can be read."""
        try:
            origin = _Origin(**json.loads(self.note.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        fields_fit = isinstance(origin.validator, str | None) and isinstance(origin.total, int | None)
        return origin if fields_fit else None

    def remember(self, origin: _Origin) -> None:
        self.note.write_text(json.dumps(asdict(origin)), "utf-8")

    def discard(self) -> None:
        for path in (self.path, self.note):
            path.unlink(missing_ok=True)

    def looks_like_a_page(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(512).lstrip().lower().startswith((b"<!doctype html", b"<html"))


@dataclass(frozen=True)
class _Fetch:
    """One address, one part, and how hard to try."""

    url: str
    part: _Part
    patience: Patience
    progress: Progress | None

    def run(self) -> None:
        """Bring the part to its full length, going on after cuts."""
        origin = self.part.origin()
        if origin is not None and origin.url == self.url and origin.total == self.part.size:
            return  # all came the last time, and only the checks did not end
        failures = 0
        while True:
            before = self.part.size
            try:
                self._transfer()
                return
            except CutError as cut:
                if isinstance(cut, RangeError):  # the part does not fit the file any more
                    self.part.discard()
                failures = 1 if self.part.size > before else failures + 1
                if failures >= self.patience.attempts:
                    size = self.part.size
                    kept = f"; {size} bytes are kept, the same command goes on from there" if size else ""
                    raise WeightsError(f"{self.url}: {cut}{kept}") from cut
            time.sleep(self.patience.pause_s * 2 ** (failures - 1))

    def _transfer(self) -> None:
        """Ask once, from where the part ends."""
        origin = self.part.origin()
        if origin is None or origin.url != self.url:
            self.part.discard()
            origin = None
        request = Request(self.url, headers={"User-Agent": f"posecli/{__version__}", "Accept-Encoding": "identity"})
        if origin is not None and self.part.size:
            request.add_header("Range", f"bytes={self.part.size}-")
            if origin.validator:
                request.add_header("If-Range", origin.validator)
        with opened(request, timeout_s=self.patience.timeout_s) as response:
            if (encoding := response.headers.get("Content-Encoding", "identity")) != "identity":
                raise WeightsError(f"{self.url}: the server sends it {encoding}-encoded; name a mirror with --url")
            start = _start_of(response, self.part, origin)
            total = _total_of(response, start)
            self._check_room(total or 0)
            self.part.remember(_Origin(self.url, _validator_of(response), total))
            self._receive(response, start, total)

    def _check_room(self, total: int) -> None:
        if total > self.patience.max_bytes:
            raise WeightsError(f"{self.url}: {total} bytes, more than the {self.patience.max_bytes} that posecli takes")
        coming = total - self.part.size
        if coming > (free := shutil.disk_usage(self.part.path.parent).free):
            raise OSError(errno.ENOSPC, f"{coming} bytes are to come, {free} are free")

    def _receive(self, response: HTTPResponse, start: int, total: int | None) -> None:
        """Put what comes behind the part's first `start` bytes; a short answer is a cut."""
        done = start
        with self.part.path.open("r+b" if start else "wb") as file:
            file.seek(start)
            for block in blocks(response, timeout_s=self.patience.timeout_s):
                done += len(block)
                if done > self.patience.max_bytes:
                    raise WeightsError(f"{self.url}: more than the {self.patience.max_bytes} bytes that posecli takes")
                file.write(block)
                if self.progress is not None:
                    self.progress(done, total)
        if total is not None and done < total:
            raise CutError(f"cut after {done} of {total} bytes")


def _start_of(response: HTTPResponse, part: _Part, origin: _Origin | None) -> int:
    """Return the byte that the answer begins with; only one that goes on exactly where the part ends counts."""
    if response.status != 206 or origin is None:
        return 0
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    fits = unit == "bytes" and span.split("-")[0] == str(part.size)
    same = origin.total is None or total in {"*", str(origin.total)}
    if fits and same and _validator_of(response) in {origin.validator, None}:
        return part.size
    part.discard()
    raise CutError("the server's file has changed since the first part of it came")


def _total_of(response: HTTPResponse, start: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None


def _validator_of(response: HTTPResponse) -> str | None:
    """Return what says that a file is the same one: a strong ETag, else the date."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


@contextmanager
def _disk_errors(part: _Part) -> Iterator[None]:
    """Say what the disk refused; a half file does not stay on a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            with suppress(OSError):
                part.discard()
        raise WeightsError(
            f"{part.path.parent}: cannot be written ({error.strerror}); POSECLI_HOME names another folder"
        ) from error


@contextmanager
def _only_one(part: _Part) -> Iterator[None]:
    """Keep a second process from writing the same part."""
    part.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl  # noqa: PLC0415 - POSIX only
    except ImportError:
        yield
        return
    with part.lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WeightsError(f"{part.path}: another posecli is fetching this file; wait for it") from error
        except OSError:
            pass  # a file system without locks: two at once only cost time, the hash is checked at the end
        try:
            yield
        finally:
            part.lock.unlink(missing_ok=True)
