"""How far the preparing of text has come: its stage, the share that is done, the time left; and what memory lacked for."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from tietrain.errors import MemoryFullError, eprint

T = TypeVar("T")

# Seconds until the first report and between two on a terminal, and between two lines of a log.
TERMINAL_SECONDS, LOG_SECONDS = 1.0, 10.0


@dataclass
class Stage:
    """One piece of work. done: of `total`, in any unit; total: 0 if nothing tells how much there is."""

    name: str
    total: float
    done: float = 0.0
    began: float = field(default_factory=time.monotonic)

    @property
    def share(self) -> float | None:
        """The share that is done; None if it is not known."""
        return min(1.0, self.done / self.total) if self.total else None

    @property
    def eta_seconds(self) -> float | None:
        """Time left at the pace so far; None if it is not known."""
        seconds = time.monotonic() - self.began
        return seconds / self.share - seconds if self.share else None

    def __str__(self) -> str:
        if self.share is None:
            return f"{self.name}, {time.monotonic() - self.began:.0f} s so far"
        left = "" if self.eta_seconds is None else f", {self.eta_seconds:.0f} s left"
        return f"{self.name}, {self.share:.0%}{left}"


# The stage of this process, innermost last: a thread reports it while another works.
_stages: list[Stage] = []


@contextmanager
def stage(name: str, total: float = 0.0) -> Iterator[Stage]:
    """Work that reports show under this name; its `done` is to be raised.

    Raises:
        MemoryFullError: there was not enough memory inside.
    """
    entered = Stage(name, total)
    _stages.append(entered)
    try:
        yield entered
    except MemoryError as e:
        remedy = "give it more memory or less text, then start the same command again"
        raise MemoryFullError(f"preparing text ({name})", "the memory is full", remedy) from e
    finally:
        _stages.remove(entered)


def counted(items: Iterable[T], now: Stage) -> Iterator[T]:
    """The same items; each is one done."""
    for item in items:
        yield item
        now.done += 1


@contextmanager
def reported(also: Callable[[Stage], None] = lambda stage: None) -> Iterator[None]:
    """Show on stderr where preparing stands, from the first second on.

    Args:
        also: is told the same, in another thread.
    """
    end = threading.Event()
    width = 0 if not sys.stderr.isatty() else 80

    def report() -> None:
        shown, name = 0.0, ""
        while not end.wait(TERMINAL_SECONDS):
            for now in _stages[-1:]:
                if width:
                    print(f"\rpreparing: {now}".ljust(width), end="", file=sys.stderr, flush=True)
                elif now.name != name or time.monotonic() - shown >= LOG_SECONDS:
                    eprint(f"preparing: {now}")
                    shown, name = time.monotonic(), now.name
                also(now)
        if width:
            print("\r".ljust(width), end="\r", file=sys.stderr, flush=True)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
