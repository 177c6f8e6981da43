"""Lines of text that `tietrain translate` reads and writes: strict UTF-8, in order, with prefixes and progress."""

from __future__ import annotations

import io
import itertools
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tietrain.errors import DataError

if TYPE_CHECKING:
    from tietrain.train.tasks.mt import Translated

# Seconds between two updates of the progress line.
REFRESH_SECONDS = 0.2


def read_lines(stream: BinaryIO, name: str) -> Iterator[str]:
    """The lines of a stream, without their ends (LF or CRLF) and a byte order mark.

    Raises:
        DataError: a line is not UTF-8; names the stream and the number of the line.
    """
    for number, line in enumerate(stream, start=1):
        try:
            text = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as e:
            problem = f"it is not UTF-8 (byte 0x{line[e.start]:02x}: {e.reason})"
            raise DataError(f"{name}:{number}", problem, "convert it, for example with iconv -t UTF-8") from None
        yield text.removeprefix("\ufeff") if number == 1 else text


@contextmanager
def open_prefixes(path: Path | None) -> Iterator[Iterator[str] | None]:
    """The lines of a file of prefixes, while it is open; None without one. DataError if it cannot be opened."""
    if path is None:
        yield None
        return
    try:
        stream = open(path, "rb")
    except OSError as e:
        raise DataError(f"--prefix {path}", f"the system says {e.strerror}", "name a text file") from None
    with stream:
        yield read_lines(stream, str(path))


def chunks(
    lines: Iterator[str], prefixes: Iterator[str] | None, name: str, at_once: int
) -> Iterator[tuple[int, list[str], list[str] | None]]:
    """Up to `at_once` lines at a time: the number of lines before them, the lines, and their prefixes if there are any.

    Args:
        name: of the file of prefixes, for messages.
    Raises:
        DataError: there are fewer prefixes than lines, or more.
    """
    first = 0
    while chunk := list(itertools.islice(lines, at_once)):
        own = None if prefixes is None else list(itertools.islice(prefixes, len(chunk)))
        if own is not None and len(own) < len(chunk):
            n_prefixes = first + len(own)
            problem = f"the file ends, and standard input has a line {n_prefixes + 1}"
            raise DataError(f"{name}:{n_prefixes}", problem, "give one prefix per line")
        yield first, chunk, own
        first += len(chunk)
    if prefixes is not None and next(prefixes, None) is not None:
        raise DataError(f"{name}:{first + 1}", f"standard input ends after line {first}", "give one prefix per line")


def best_line(_number: int, hypotheses: list[Translated]) -> str:
    """The best translation; of a blank line a blank one."""
    return hypotheses[0].text if hypotheses else ""


def nbest_lines(number: int, hypotheses: list[Translated]) -> str:
    """All translations in the format of Moses, lines counted from 0; a blank line has one blank translation."""
    rows = [(h.text, f"{h.score:.6f}") for h in hypotheses] or [("", "0")]
    return "\n".join(f"{number} ||| {text} ||| {score}" for text, score in rows)


def json_line(number: int, hypotheses: list[Translated]) -> str:
    """All translations as one JSON object, lines counted from 0."""
    return json.dumps({"line": number, "translations": [h._asdict() for h in hypotheses]}, ensure_ascii=False)


def write_utf8() -> None:
    """Make standard output UTF-8, whatever the locale says."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")


class Progress:
    """Lines done and lines per second on stderr, if that is a terminal and standard output is not."""

    def __init__(self) -> None:
        self._on = sys.stderr.isatty() and not sys.stdout.isatty()
        self._began = time.monotonic()
        self._shown_at = 0.0

    def __enter__(self) -> Progress:
        return self

    def show(self, n_lines: int) -> None:
        now = time.monotonic()
        if not self._on or now - self._shown_at <= REFRESH_SECONDS:
            return
        self._shown_at = now
        speed = n_lines / (now - self._began)
        print(f"\r{n_lines:,} lines, {speed:,.1f} per second ", end="", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self._shown_at:
            print(file=sys.stderr)
