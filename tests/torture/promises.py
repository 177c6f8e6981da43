"""The table of promises: how often each was tried and what was lost, and word of how far the trials are."""

import os
import sys
import time
from dataclasses import dataclass, field

# Between two lines of progress.
SECONDS_OF_SILENCE = 15.0


@dataclass
class Row:
    """A line of the table: a promise, how often it was put to the test, and what of it was lost."""

    promise: str
    log: "Progress"
    tried: int = 0
    lost: list[str] = field(default_factory=list)

    def check(self, holds: bool, otherwise: str, n: int = 1) -> None:
        """Count a trial, or n of them that hold or fail together."""
        self.tried += n
        if not holds:
            self.lost.append(otherwise)
        self.log.at(self, "" if holds else otherwise)


class Progress:
    """What is said on stderr: a line every so often, and what is lost at once."""

    def __init__(self) -> None:
        self.began = self._said = self._trial_began = time.monotonic()
        self._trial, self._cpu = "", 0.0

    def begin(self, trial: str) -> None:
        """A trial begins."""
        self._trial, self._trial_began, self._cpu = trial, time.monotonic(), _cpu_seconds()
        self.line(f"{trial} ...")

    def end(self) -> None:
        """The trial is through."""
        self.line(
            f"{self._trial}: {time.monotonic() - self._trial_began:.0f} s, of processor {_cpu_seconds() - self._cpu:.0f} s"
        )

    def at(self, row: Row, lost: str) -> None:
        """Say where a row stands, if it is time to."""
        if lost:
            self.line(f"LOST, {row.promise}: {lost}")
        elif time.monotonic() - self._said > SECONDS_OF_SILENCE:
            self.line(f"{self._trial}: {row.promise}: {row.tried} tried, {len(row.lost)} lost")

    def line(self, text: str) -> None:
        """A line, with the time since the start."""
        self._said = time.monotonic()
        minutes, seconds = divmod(int(self._said - self.began), 60)
        print(f"[{minutes:3d}:{seconds:02d}] {text}", file=sys.stderr, flush=True)


def _cpu_seconds() -> float:
    """Of this process and those that it has waited for."""
    return sum(os.times()[:4])


class Table:
    """All rows, in the order of their promises, and lines below them."""

    def __init__(self) -> None:
        self.log, self.rows, self.notes = Progress(), [], []

    def row(self, promise: str) -> Row:
        """The row of a promise, which begins with its number; a new one where there is none yet."""
        found = next((row for row in self.rows if row.promise == promise), None)
        if found is None:
            found = Row(promise, self.log)
            self.rows.append(found)
        return found

    def __str__(self) -> str:
        rows = sorted(self.rows, key=lambda row: int(row.promise.split()[0]))
        lines = [f"{'promise':<58}{'tried':>8}{'lost':>6}"]
        lines += [f"{row.promise:<58}{row.tried:>8}{len(row.lost):>6}" for row in rows]
        return "\n".join([*lines, *self.notes])
