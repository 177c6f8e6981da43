"""A signal is noted, and where work can be dropped it ends there; a second one changes nothing."""

import os
import signal
import threading
import time
from contextlib import suppress

import pytest

from tietrain.train.stop import Stopped, StopRequest


def test_interruptible_work_ends_at_once():
    with StopRequest() as stop, pytest.raises(Stopped) as stopped, stop.interruptible():
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        time.sleep(30)
    assert stopped.value.signal == signal.SIGUSR1


def test_stop_request_notes_a_signal_and_ends_the_next_interruptible_work():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(Stopped), stop.interruptible():
            raise AssertionError("it begins")
        with pytest.raises(Stopped):
            stop.check()


def test_interruptible_work_ends_even_if_errors_are_suppressed():
    with StopRequest() as stop, pytest.raises(Stopped), stop.interruptible(), suppress(Exception):
        os.kill(os.getpid(), signal.SIGTERM)
    with StopRequest() as stop, pytest.raises(Stopped), stop.interruptible(), suppress(BaseException):
        os.kill(os.getpid(), signal.SIGTERM)


def test_interruptible_work_ends_even_if_the_signal_became_another_error():
    with StopRequest() as stop, pytest.raises(Stopped), stop.interruptible():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Stopped as e:
            raise RuntimeError("as sentencepiece does, where its lines are read") from e
    with StopRequest() as stop, pytest.raises(RuntimeError), stop.interruptible():
        raise RuntimeError("without a signal")


def test_interruptible_work_survives_a_second_signal():
    with StopRequest() as stop:
        try:
            with stop.interruptible():
                os.kill(os.getpid(), signal.SIGTERM)
        except Stopped:
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM


def test_a_closed_terminal_stops_unless_nohup_was_asked_for():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
    assert stop.signal == signal.SIGHUP
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
    assert stop.signal is None
