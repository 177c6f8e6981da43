"""How far the preparing of text has come: its stage, the share that is done, the time left; and what memory lacked for."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

from tietrain.errors import AGAIN, MemoryFullError, TietrainError, storage_error

T = TypeVar("T")

# Seconds until the first report, and between two of one stage.
FIRST_SECONDS, LOG_SECONDS = 0.9, 10.0


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
        MemoryFullError: there was not enough memory inside. StorageError: the system refused something inside.
    """
    entered = Stage(name, total)
    _stages.append(entered)
    try:
        yield entered
    except MemoryError as e:
        remedy = f"give it more memory or less text, then {AGAIN}"
        raise MemoryFullError(f"preparing text ({name})", "the memory is full", remedy) from e
    except OSError as e:
        raise storage_error(f"preparing text ({name})", e) from e
    finally:
        _stages.remove(entered)


def counted(items: Iterable[T], now: Stage) -> Iterator[T]:
    """The same items; each is one done."""
    for item in items:
        yield item
        now.done += 1


@contextmanager
def reported(tell: Callable[[str], None]) -> Iterator[None]:
    """Say where preparing stands: from the first second on, at every stage and every LOG_SECONDS.

    Args:
        tell: is called in another thread; what goes wrong in it is left out.
    """
    end = threading.Event()

    def report() -> None:
        told, name = -LOG_SECONDS, ""
        while not end.wait(FIRST_SECONDS):
            for now in _stages[-1:]:
                if now.name != name or time.monotonic() - told >= LOG_SECONDS:
                    told, name = time.monotonic(), now.name
                    with suppress(OSError, TietrainError):
                        tell(f"preparing: {now}")

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
