"""One pass over a text file before it is loaded: what cannot be used is refused with file and line.

`datasets` would say neither, and lets missing keys, nulls and numbers in the place of text pass.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from gzip import BadGzipFile, GzipFile
from io import BufferedReader
from pathlib import Path
from typing import Any

from tietrain.errors import DataError

# A text file is read whole, to decode it at once: larger ones are to be split.
MAX_BYTES = 4 * 2**30
BOM = "\ufeff"

# Line number (from 1), line -> the text of each column; None for a line that carries none (a header).
Parser = Callable[[int, str], list[str] | None]


@dataclass(frozen=True)
class FileCheck:
    """What a valid file holds.

    n_lines: lines of the file, header included. sha256: of its lines, joined by a newline, without byte order mark and
    carriage returns. notes: what is unusual in a usable file.
    """

    n_lines: int
    sha256: str
    notes: tuple[str, ...]


def check_file(path: Path, requested: str, parser: Parser) -> FileCheck:
    """Check a plain or gzip file: readable, regular, whole, UTF-8, with text in it, each line as its format wants it.

    Args:
        asked: the setting that names the file, for messages.
        parser: reads one line of the format and raises DataError where it cannot.
    Raises:
        DataError: naming file and line.
    """
    text = _decode(path, read_content(path, requested))
    notes = []
    if text.startswith(BOM):
        text = text[len(BOM) :]
        notes.append(f"{path.name} begins with a byte order mark; it is left out")
    if "\r" in text:
        n_crlf = text.count("\r\n")
        text = text.replace("\r\n", "\n")
        if "\r" in text:
            raise DataError(
                _at(path, text, text.index("\r")),
                "there is a carriage return inside the line",
                "remove it, lines end with LF or CRLF",
            )
        notes.append(f"{path.name} has {n_crlf} lines ending in CRLF; CR is left out")
    if "\0" in text:
        raise DataError(_at(path, text, text.index("\0")), "there is a NUL character", "remove it, or give a text file")
    lines = split_lines(text)
    if not lines:
        raise DataError(str(path), "the file is empty", "give a file with text")
    for number, line in enumerate(lines, start=1):
        parser(number, line)
    return FileCheck(len(lines), lines_sha256(lines), tuple(notes))


def split_lines(text: str) -> list[str]:
    """Lines end with LF and nothing else; the last one may lack it.

    >>> split_lines("a\\x0bb\\n\\nc")
    ['a\\x0bb', '', 'c']
    """
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def lines_sha256(lines: list[str]) -> str:
    """sha256 over lines joined by newlines."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def open_regular(path: Path, requested: str) -> BufferedReader:
    """A regular file opened for reading; DataError for a missing or unreadable one, a folder, a pipe, a device."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError) as e:
        missing = isinstance(e, FileNotFoundError)
        problem = (
            f"there is no file {path}" if missing else f"{path} cannot be opened ({getattr(e, 'strerror', None) or e})"
        )
        raise DataError(requested, problem, "correct the name, or set data.root to the folder it is in") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise DataError(requested, f"{path} is no regular file", "name a text file, plain or .gz")
    return open(fd, "rb")


def file_sha256(path: Path, requested: str) -> str:
    """sha256 of the bytes of a file; raises as `open_regular` does."""
    with open_regular(path, requested) as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def read_content(path: Path, requested: str) -> bytes:
    """The content of a file, unpacked where it is gzip."""
    with open_regular(path, requested) as f:
        packed = f.read(2) == b"\x1f\x8b"
        f.seek(0)
        if path.suffix == ".gz" and not packed:
            raise DataError(str(path), "the name ends in .gz and the file is no gzip file", "name it as what it is")
        try:
            content = (GzipFile(fileobj=f) if packed else f).read(MAX_BYTES + 1)
        except (EOFError, BadGzipFile, zlib.error) as e:
            raise DataError(
                str(path), f"the gzip file is cut off or damaged ({e})", "get the whole file again"
            ) from None
        except OSError as e:
            raise DataError(
                str(path), f"it cannot be read ({e.strerror or e})", "check the disk, then try again"
            ) from None
    if len(content) > MAX_BYTES:
        raise DataError(str(path), f"it holds more than {MAX_BYTES // 2**30} GiB of text", "split it")
    return content


def _decode(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as e:
        line = content.count(b"\n", 0, e.start) + 1
        byte = content[e.start]
        raise DataError(
            f"{path}:{line}",
            f"it is not UTF-8 (byte 0x{byte:02x}: {e.reason})",
            "convert it, for example with iconv -t UTF-8",
        ) from None


def _at(path: Path, text: str, position: int) -> str:
    return f"{path}:{text.count(chr(10), 0, position) + 1}"


def jsonl_parser(path: Path, columns: list[str], one_line: bool) -> Parser:
    """Reads the named keys of a JSON object a line.

    Args:
        one_line: whether a text with a line break in it is refused: translations are scored line by line.
    """

    def parse(number: int, line: str) -> list[str]:
        at = f"{path}:{number}"
        try:
            record = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError) as e:
            raise DataError(at, f"it is not a JSON object ({e})", "write one object a line") from None
        if not isinstance(record, dict):
            raise DataError(at, f"it is {_json_type(record)}, not an object", "write one object a line")
        for column in columns:
            if column not in record:
                raise DataError(
                    at,
                    f"there is no key {column!r}, only {', '.join(map(repr, record)) or 'none'}",
                    "add it, or set data.columns",
                )
            value = record[column]
            if not isinstance(value, str):
                raise DataError(at, f"{column!r} is {_json_type(value)}, not a text", "write a string")
            if any("\ud800" <= c <= "\udfff" or c == "\0" for c in value):
                raise DataError(at, f"{column!r} has half a surrogate pair or a NUL character", "remove it")
            if one_line and ("\n" in value or "\r" in value):
                raise DataError(
                    at,
                    f"{column!r} has a line break",
                    "write a sentence without one: translations are scored line by line",
                )
        return [record[c] for c in columns]

    return parse


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a key stands there twice")
    return record


def _json_type(value: object) -> str:
    names = {
        dict: "an object",
        list: "a list",
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
    }
    return names.get(type(value), "null")


def tsv_parser(path: Path, columns: list[str]) -> Parser:
    """Reads the named columns of tab-separated lines; the first line is the header. Nothing is quoted or escaped."""
    header: list[str] = []

    def parse(number: int, line: str) -> list[str] | None:
        fields = line.split("\t")
        if number == 1:
            header[:] = fields
            for column in columns:
                if fields.count(column) != 1:
                    names = ", ".join(map(repr, fields))
                    problem = f"the header {names} names {column!r} {fields.count(column)} times, not once"
                    raise DataError(f"{path}:1", problem, "set data.columns to names of the header")
            return None
        if len(fields) != len(header):
            raise DataError(
                f"{path}:{number}",
                f"there are {len(fields)} fields and the header has {len(header)}",
                "write a tab between fields and nowhere else",
            )
        return [fields[header.index(c)] for c in columns]

    return parse
