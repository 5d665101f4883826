"""Requests that stay in the web: http and https only, also after redirects; proxies come from the environment."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from posecli.errors import ConfigError, WeightsError

_BLOCK = 1 << 18  # bytes
_GIVE_UP = frozenset({301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 410, 451})  # asking again gives the same answer


class CutError(Exception):
    """The transfer broke off, or did not begin; another try may do better."""


class RangeError(CutError):
    """The server has nothing from that byte on."""


@contextmanager
def opened(request: Request, *, timeout_s: float) -> Iterator[HTTPResponse]:
    """Open an address.

    Raises:
        CutError: what may pass: silence, a lost connection, a busy server.
        WeightsError: what will not: no such host, no such file, a redirect out of the web.
    """
    url = request.full_url
    try:
        response = _opener().open(request, timeout=timeout_s)
    except HTTPError as error:
        code, reason = error.code, str(error.reason).split("\n", maxsplit=1)[0]
        error.close()
        if code == 416:
            raise RangeError(f"the server refuses to go on where the file was cut (HTTP {code})") from error
        if code in _GIVE_UP:
            raise WeightsError(f"{url}: HTTP {code} {reason}; name a mirror with --url") from error
        raise CutError(f"HTTP {code} {reason}") from error
    except (OSError, HTTPException, ValueError) as error:  # ValueError: of a proxy's address that is none
        cause = error.reason if isinstance(error, URLError) else error
        if isinstance(cause, socket.gaierror):
            raise WeightsError(
                f"{url}: the host has no address ({cause.strerror}); is this machine online? "
                "A proxy is named by https_proxy"
            ) from error
        raise _cut(cause, timeout_s) from error
    with response:
        yield response


def blocks(response: HTTPResponse, *, timeout_s: float) -> Iterator[bytes]:
    """Yield what comes until it ends, whole or not.

    Raises:
        CutError: silence, or a lost connection.
    """
    while True:
        try:
            block = response.read(_BLOCK)
        except (OSError, HTTPException) as error:
            raise _cut(error, timeout_s) from error
        if not block:
            return
        yield block


def _cut(cause: object, timeout_s: float) -> CutError:
    if isinstance(cause, TimeoutError):
        return CutError(f"no answer within {timeout_s:g} s")
    return CutError(f"no connection ({cause or type(cause).__name__})")


class _WebOnly(HTTPRedirectHandler):
    """Follow redirects within http and https, never from https down to http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        safe = urlsplit(req.full_url).scheme == "https"
        if urlsplit(newurl).scheme not in ({"https"} if safe else {"http", "https"}):
            raise WeightsError(f"{req.full_url}: redirects to {newurl}, which is refused; name a mirror with --url")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> OpenerDirector:
    """Return an opener for http and https only: urllib's own would also read file:, ftp: and data:."""
    opener = OpenerDirector()
    for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler(), _WebOnly(), HTTPErrorProcessor()):
        opener.add_handler(handler)
    opener.add_handler(HTTPDefaultErrorHandler())
    return opener


def check_address(url: str) -> None:
    """Refuse what is no address in the web.

    Raises:
        ConfigError: another scheme, no host, or signs that do not belong there.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or a port that are none
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError(f"{url}: wanted an http or https address, other signs than ASCII as %XX")
