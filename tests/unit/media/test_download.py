"""Downloads from a server on loopback that cuts, lies, redirects, refuses and sleeps."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import threading
from collections import namedtuple
from functools import partial

import pytest

from posecli.errors import ConfigError, WeightsError
from posecli.media import download as module
from posecli.media.download import Patience, download
from servers import Behaviour, serving

CONTENT = random.Random(0).randbytes(900_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
fetch = partial(download, patience=Patience(timeout_s=5, attempts=3, pause_s=0.01))


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_nothing_else_stays(tmp_path):
    seen = []
    with serving(Behaviour(CONTENT)) as server:
        digest = fetch(
            f"{server}/w.pth", tmp_path / "w.pth", sha256_prefix=DIGEST[:8], progress=lambda *at: seen.append(at)
        )

    assert digest == DIGEST
    assert (tmp_path / "w.pth").read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["w.pth"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_cut_transfer_goes_on_where_it_stopped(tmp_path):
    does = Behaviour(CONTENT, cut_after=[300_000, 200_000])
    with serving(does) as server:
        fetch(f"{server}/w", tmp_path / "w", sha256_prefix=DIGEST[:8])

    assert (tmp_path / "w").read_bytes() == CONTENT
    assert [asked for _, asked in does.log] == [None, "bytes=300000-", "bytes=500000-"]


def test_the_next_call_goes_on_where_the_last_one_gave_up(tmp_path):
    does = Behaviour(CONTENT, cut_after=[400_000, 0, 0, 0])
    with serving(does) as server:
        with pytest.raises(WeightsError, match="400000 bytes are kept, the same command goes on"):
            fetch(f"{server}/w", tmp_path / "w")
        assert not (tmp_path / "w").exists()
        does.cut_after.clear()
        does.log.clear()
        fetch(f"{server}/w", tmp_path / "w", sha256_prefix=DIGEST)

    assert [asked for _, asked in does.log] == ["bytes=400000-"]
    assert (tmp_path / "w").read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ['"one"', None])
def test_a_server_without_ranges_sends_it_all_again(tmp_path, etag):
    does = Behaviour(CONTENT, cut_after=[300_000], ranges=False, etag=etag)
    with serving(does) as server:
        fetch(f"{server}/w", tmp_path / "w", sha256_prefix=DIGEST)

    assert (tmp_path / "w").read_bytes() == CONTENT


def test_half_of_an_older_file_is_thrown_away(tmp_path):
    does = Behaviour(b"x" * len(CONTENT), cut_after=[300_000, 0, 0, 0])
    with serving(does) as server:
        with pytest.raises(WeightsError):
            fetch(f"{server}/w", tmp_path / "w")
        does.content, does.etag = CONTENT, '"two"'
        does.cut_after.clear()
        fetch(f"{server}/w", tmp_path / "w", sha256_prefix=DIGEST)

    assert (tmp_path / "w").read_bytes() == CONTENT


def test_without_a_validator_the_hash_finds_an_older_half(tmp_path):
    does = Behaviour(b"x" * len(CONTENT), cut_after=[300_000, 0, 0, 0], etag=None)
    with serving(does) as server:
        with pytest.raises(WeightsError):
            fetch(f"{server}/w", tmp_path / "w")
        does.content = CONTENT
        does.cut_after.clear()
        fetch(f"{server}/w", tmp_path / "w", sha256_prefix=DIGEST)

    assert (tmp_path / "w").read_bytes() == CONTENT


def test_half_of_another_address_is_thrown_away(tmp_path):
    does = Behaviour(CONTENT, cut_after=[300_000, 0, 0, 0])
    with serving(does) as server:
        with pytest.raises(WeightsError):
            fetch(f"{server}/other", tmp_path / "w")
        does.cut_after.clear()
        does.log.clear()
        fetch(f"{server}/w", tmp_path / "w", sha256_prefix=DIGEST)

    assert does.log == [("/w", None)]


def test_a_part_that_was_whole_already_is_not_fetched_again(tmp_path):
    does = Behaviour(CONTENT, cut_after=[899_999, 0, 0, 0])
    with serving(does) as server:
        with pytest.raises(WeightsError):
            fetch(f"{server}/w", tmp_path / "w")
        with (tmp_path / ".w.part").open("ab") as part:
            part.write(CONTENT[-1:])
        does.log.clear()
        fetch(f"{server}/w", tmp_path / "w", sha256_prefix=DIGEST)

    assert does.log == []
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_begins_again(tmp_path):
    does = Behaviour(CONTENT, cut_after=[300_000, 0, 0, 0])
    with serving(does) as server:
        with pytest.raises(WeightsError):
            fetch(f"{server}/w", tmp_path / "w")
        (tmp_path / ".w.part").write_bytes(CONTENT + b"more")
        does.cut_after.clear()
        fetch(f"{server}/w", tmp_path / "w", sha256_prefix=DIGEST)

    assert (tmp_path / "w").read_bytes() == CONTENT


def test_another_hash_is_refused_and_leaves_nothing(tmp_path):
    with (
        serving(Behaviour(CONTENT)) as server,
        pytest.raises(WeightsError, match=f"SHA-256 starts {DIGEST[:8]}, expected 00ff"),
    ):
        fetch(f"{server}/w", tmp_path / "w", sha256_prefix="00ff")

    assert leftovers(tmp_path) == []


def test_an_error_page_is_called_one(tmp_path):
    page = Behaviour(b"<!DOCTYPE html><html>gone</html>")
    with serving(page) as server, pytest.raises(WeightsError, match="it is a web page, expected 00ff; name a mirror"):
        fetch(f"{server}/w", tmp_path / "w", sha256_prefix="00ff")


def test_redirects_are_followed(tmp_path):
    does = Behaviour(CONTENT, redirects={"/w": "/second", "/second": "/third"})
    with serving(does) as server:
        fetch(f"{server}/w", tmp_path / "w", sha256_prefix=DIGEST)

    assert [path for path, _ in does.log] == ["/w", "/second", "/third"]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/w"])
def test_redirects_out_of_the_web_are_refused(tmp_path, target):
    does = Behaviour(redirects={"/w": target})
    with serving(does) as server, pytest.raises(WeightsError, match=r"refused|not allowed"):
        fetch(f"{server}/w", tmp_path / "w")


def test_redirects_in_a_circle_end(tmp_path):
    does = Behaviour(redirects={"/w": "/w"})
    with serving(does) as server, pytest.raises(WeightsError, match="HTTP 302"):
        fetch(f"{server}/w", tmp_path / "w")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://host/w",
        "data:,x",
        "w.pth",
        "http://",
        "http:///w",
        "http://[::1/w",
        "http://host:port/w",
        "http://host/a b",
        "http://host/\u00e9",
        "http://host/\n",
    ],
)
def test_only_web_addresses_are_taken(tmp_path, url):
    with pytest.raises(ConfigError, match="wanted an http or https address"):
        fetch(url, tmp_path / "w")


def test_a_missing_file_is_not_asked_for_twice(tmp_path):
    does = Behaviour(CONTENT, statuses=[404] * 9)
    with serving(does) as server, pytest.raises(WeightsError, match="HTTP 404 Not Found; name a mirror with --url"):
        fetch(f"{server}/w", tmp_path / "w")

    assert len(does.log) == 1


def test_a_busy_server_is_asked_again(tmp_path):
    does = Behaviour(CONTENT, statuses=[503, 503, 200])
    with serving(does) as server:
        fetch(f"{server}/w", tmp_path / "w", sha256_prefix=DIGEST)

    assert len(does.log) == 3


def test_a_silent_server_is_given_up(tmp_path):
    does = Behaviour(silent=threading.Event())
    patience = Patience(timeout_s=0.1, attempts=2, pause_s=0.01)
    with serving(does) as server, pytest.raises(WeightsError, match=r"no answer within 0\.1 s"):
        download(f"{server}/w", tmp_path / "w", patience=patience)


def test_nobody_listening_is_said_so(tmp_path):
    with pytest.raises(WeightsError, match="no connection"):
        fetch("http://127.0.0.1:9/w", tmp_path / "w")


def test_a_host_without_address_is_said_so(tmp_path):
    with pytest.raises(WeightsError, match=r"the host has no address.*https_proxy"):
        fetch("http://nowhere.invalid/w", tmp_path / "w")


def test_the_environments_proxy_is_asked(tmp_path, monkeypatch):
    does = Behaviour(CONTENT)
    with serving(does) as server:
        monkeypatch.setenv("http_proxy", server)
        monkeypatch.setenv("no_proxy", "")
        fetch("http://nowhere.invalid/w", tmp_path / "w", sha256_prefix=DIGEST)

    assert does.log == [("http://nowhere.invalid/w", None)]


def test_a_proxys_address_that_is_none_is_no_bug(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http:/nothing")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(WeightsError, match="no connection"):
        fetch("http://nowhere.invalid/w", tmp_path / "w")


@pytest.mark.parametrize("length", [True, False])
def test_more_than_the_limit_is_refused(tmp_path, length):
    with serving(Behaviour(CONTENT, length=length)) as server, pytest.raises(WeightsError, match="that posecli takes"):
        download(f"{server}/w", tmp_path / "w", patience=Patience(max_bytes=500_000))


def test_a_compressed_answer_is_refused(tmp_path):
    does = Behaviour(CONTENT, headers={"Content-Encoding": "gzip"})
    with serving(does) as server, pytest.raises(WeightsError, match="gzip-encoded"):
        fetch(f"{server}/w", tmp_path / "w")


def test_too_little_room_is_seen_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000))
    with (
        serving(Behaviour(CONTENT)) as server,
        pytest.raises(WeightsError, match="900000 bytes are to come, 1000 are free"),
    ):
        fetch(f"{server}/w", tmp_path / "w")

    assert leftovers(tmp_path) == []


def test_a_disk_that_fills_up_is_cleared_again(tmp_path, monkeypatch):
    written = []
    open_path = module.Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def seek(self, offset):
            self.file.seek(offset)

        def write(self, block):
            if written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written.append(self.file.write(block))

    monkeypatch.setattr(
        module.Path,
        "open",
        lambda path, mode="r", **kw: (
            Full(open_path(path, mode)) if mode in {"wb", "r+b"} else open_path(path, mode, **kw)
        ),
    )
    with (
        serving(Behaviour(CONTENT)) as server,
        pytest.raises(WeightsError, match=r"No space left on device.*POSECLI_HOME"),
    ):
        fetch(f"{server}/w", tmp_path / "w")

    assert written
    assert leftovers(tmp_path) == []


def test_a_second_process_does_not_write_the_same_part(tmp_path):
    fcntl = pytest.importorskip("fcntl", reason="locks are POSIX here")
    with (tmp_path / ".w.lock").open("ab") as other, serving(Behaviour(CONTENT)) as server:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(WeightsError, match="another posecli is fetching this file"):
            fetch(f"{server}/w", tmp_path / "w")


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(WeightsError, match="cannot be written"):
        fetch("http://127.0.0.1:9/w", tmp_path / "taken" / "w")
