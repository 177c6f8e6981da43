"""Stop signals: they are noted, and the loop ends after the current step; work that is interruptible ends at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

# SIGHUP comes when a terminal is closed; SIGUSR1 or SIGUSR2 before a cluster ends a job.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


def heard() -> list[int]:
    """The stop signals, without SIGHUP if it is ignored: that is what `nohup` asks for."""
    is_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in SIGNALS if not (is_nohup and number == signal.SIGHUP)]


class Stopped(BaseException):
    """A signal asked the run to stop; like KeyboardInterrupt nothing that handles errors handles it."""

    def __init__(self, number: int):
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        super().__init__(f"stopped by {name}")
        self.signal = number


class StopRequest:
    """Notes the first stop signal while it is entered; later ones change nothing, also when it is left.

    `signal` is None until then. Outside the main thread, where Python delivers no signals, only `ask` sets it.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._interruptible = False
        self._previous: dict[int, Any] = {}

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """Stop as if signal `number` had come."""
        is_first = self.signal is None
        self.signal = self.signal or int(number)
        if is_first and self._interruptible:
            raise Stopped(self.signal)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Inside, a signal raises Stopped at once: for work that is written whole or not at all.

        Raises:
            Stopped: a signal came, before or inside, even if other code swallowed it or turned it into another error.
        """
        self.check()
        self._interruptible = True
        try:
            yield
        except Exception:
            self.check()
            raise
        finally:
            self._interruptible = False
        self.check()

    def check(self) -> None:
        """Stopped if a signal has come."""
        if self.signal is not None:
            raise Stopped(self.signal)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self.ask) for number in heard()}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            # A process that is stopping reports it and ends: a second signal may not cut that short.
            signal.signal(number, handler if self.signal is None else signal.SIG_IGN)
        self._previous = {}
