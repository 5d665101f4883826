import os
import signal
import subprocess
import sys
import threading

import pytest

from posecli.cli._signals import StopSignals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.fixture(autouse=True)
def _handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_remembered(number, exit_code):
    with StopSignals() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()

    assert stop.exit_code == exit_code
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("first", "second", "status"), [("INT", "INT", 130), ("INT", "TERM", 143), ("TERM", "INT", 130)]
)
def test_the_second_signal_ends_at_once(first, second, status):
    program = f"""
import os, signal, sys, time
from posecli.cli._signals import StopSignals
signal.signal(signal.SIGINT, signal.default_int_handler)
with StopSignals() as stop:
    os.kill(os.getpid(), signal.SIG{first})
    print(stop(), flush=True)
    os.kill(os.getpid(), signal.SIG{second})
    time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=50)

    assert (done.returncode, done.stdout, done.stderr) == (status, "True\n", "")


def test_a_background_jobs_sigint_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()

    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_other_threads_cannot_set_handlers_and_do_not_try():
    asked = []

    def ask():
        with StopSignals() as stop:
            asked.append(stop())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()

    assert asked == [False]
