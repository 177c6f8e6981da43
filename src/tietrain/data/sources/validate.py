"""Text files, line by line: each line is checked and parsed once, and what cannot be used is refused with file and line.

`requested` is everywhere the setting that names a file, for messages.
"""

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

from tietrain.data.progress import stage
from tietrain.data.sources.packed import DAMAGE, check_archive, check_name, unpacked
from tietrain.data.stored_lines import StoredLines, chunks
from tietrain.errors import DataError, storage_error

# A file with more text than this is to be split.
MAX_BYTES = 4 * 2**30
# A line takes twelve times its bytes of memory to be cut into pieces.
MAX_LINE_BYTES = 128 * 2**20
# From so many rows on, a text is refused if fewer than one row in BLANK has text. Lines are counted LOOK_LINES at a time.
BLANK_ROWS, BLANK, LOOK_LINES = 2**20, 100, 2**12
HASHED_BYTES = 2**20
BOM = "\ufeff"
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_LINE_BREAK = re.compile("[\r\n]")
# What JSON calls the values that Python makes of it; else null.
_TYPES = {dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number", str: "a text"}
# What the system says if a name leads to no file. All else that it says when it opens one is about the machine.
NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO, errno.EISDIR)
# What it says about the machine, among errors that libraries raise for damaged files and for networks too.
OF_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM, errno.ESTALE}
OF_MACHINE |= {errno.EACCES, errno.EPERM, errno.EROFS}

# Line number (from 1), line -> the text of each column; None for a line that carries none (a header).
Parser = Callable[[int, str], list[str] | None]


def read_text_file(path: Path, requested: str, parser: Parser, columns: Sequence[list[str] | StoredLines]) -> list[str]:
    """Add the texts of a plain or compressed file to those of each column; returns notes of what is unusual.

    Args:
        parser: reads one line of the format into a text of each column and raises DataError if it cannot.
    Raises:
        DataError: naming file and line. The file must be regular, whole, in UTF-8, with text in it.
        StorageError: the system cannot read it.
    """
    notes: list[str] = []
    number = n_crlf = n_texts = 0
    with open_regular(path, requested) as f, stage(f"reading {path.name}", os.fstat(f.fileno()).st_size) as now:
        for number, raw in enumerate(raw_lines(f, path), start=1):
            at = f"{path}:{number}"
            line = decode(raw, at)
            if number == 1 and line.startswith(BOM):
                line = line.removeprefix(BOM)
                notes.append(f"{path.name} begins with a byte order mark; it is left out")
                if not line:  # without even a line end
                    number = 0
                    break
            is_crlf = line.endswith("\r\n")
            n_crlf += is_crlf
            bare = line[:-2] if is_crlf else line.removesuffix("\n")
            if "\r" in bare:
                raise DataError(
                    at, "there is a carriage return inside the line", "remove it, lines end with LF or CRLF"
                )
            if "\0" in bare:
                raise DataError(at, "there is a NUL character", "remove it, or give a text file")
            row = parser(number, bare)
            if row is not None:
                n_texts += any(map(str.strip, row))
                for column, text in zip(columns, row, strict=True):
                    column.append(text)
            if not number % LOOK_LINES:
                now.done = f.tell()
                check_blank(str(path), number, n_texts)
    if not number:
        raise DataError(str(path), "the file is empty", "give a file with text")
    if not n_texts:
        raise DataError(str(path), "there is no text in it", "give a file with text")
    if n_crlf:
        notes.append(f"{path.name} has {n_crlf} lines ending in CRLF; CR is left out")
    return notes


def check_blank(where: str, n_rows: int, n_texts: int) -> None:
    """DataError for many rows of which next to none have text: they may never end."""
    if n_rows >= BLANK_ROWS and n_texts * BLANK < n_rows:
        problem = f"of its first {n_rows:,} rows {n_texts:,} have text"
        raise DataError(where, problem, "check that it is the right file, and leave blank rows out")


def lines_sha256(lines: Iterable[str]) -> str:
    """sha256 over lines joined by newlines."""
    digest = hashlib.sha256()
    for number, chunk in enumerate(chunks(lines)):
        joined = "\n".join(chunk)
        digest.update((f"\n{joined}" if number else joined).encode())
    return digest.hexdigest()


def open_regular(path: Path, requested: str) -> BufferedReader:
    """A regular file opened for reading.

    Raises:
        DataError: it is missing, or a folder, a pipe, a device. StorageError: the system cannot open it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError) as e:
        if isinstance(e, OSError) and e.errno not in NO_FILE:
            raise storage_error(f"reading {path}", e) from e
        problem = f"{path} cannot be opened ({getattr(e, 'strerror', None) or e})"
        if isinstance(e, FileNotFoundError):
            problem = f"there is no file {path}"
        raise DataError(requested, problem, "correct the name, or set data.root to the folder it is in") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise DataError(requested, f"{path} is not a regular file", "name a text file, plain or .gz")
    return open(fd, "rb")


def of_machine(error: BaseException | None) -> OSError | None:
    """The error of the machine that an error is or was made of; None if it says something about a file."""
    while error:
        if isinstance(error, OSError) and error.errno in OF_MACHINE:
            return error
        error = error.__cause__ or error.__context__
    return None


def file_sha256(path: Path, requested: str) -> str:
    """sha256 of the bytes of a file; raises as `open_regular` and `check_name` do."""
    digest = hashlib.sha256()
    with open_regular(path, requested) as f, stage(f"hashing {path.name}", os.fstat(f.fileno()).st_size) as now:
        try:
            while content := f.read(HASHED_BYTES):
                if not now.done:
                    check_name(path, content)
                digest.update(content)
                now.done += len(content)
        except OSError as e:
            raise storage_error(f"reading {path}", e) from e
    return digest.hexdigest()


def raw_lines(f: BufferedReader, path: Path, most: int | None = None) -> Iterator[bytes]:
    """The lines of a file with their line ends, unpacked, at most so many bytes. Lines end with LF and nothing else."""
    most = MAX_BYTES if most is None else most
    left = most
    number = 0
    try:
        stream, packing = unpacked(f, path)
        while raw := stream.readline(min(left, MAX_LINE_BYTES) + 1):
            number += 1
            if number == 1:
                check_archive(path, raw)
            left -= len(raw)
            if left < 0:
                raise DataError(str(path), f"it holds more than {most // 2**30} GiB of text", "split it")
            if len(raw) > MAX_LINE_BYTES:
                problem = f"the line has more than {MAX_LINE_BYTES // 2**20} MiB"
                raise DataError(f"{path}:{number}", problem, "break it into lines, such as: fold -s -w 4000 FILE")
            yield raw
    except (OSError, *DAMAGE) as e:
        if isinstance(e, OSError) and e.errno is not None:
            raise storage_error(f"reading {path}", e) from e
        problem = f"the {packing} file is cut off or damaged ({e})"
        raise DataError(str(path), problem, "get the whole file again") from None


def decode(raw: bytes, at: str) -> str:
    """A line as text; DataError if it is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as e:
        problem = f"it is not UTF-8 (byte 0x{raw[e.start]:02x}: {e.reason})"
        before = "UTF-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "WINDOWS-1252"
        raise DataError(at, problem, f"convert it from what it is, such as: iconv -f {before} -t UTF-8 FILE") from None


def jsonl_parser(path: Path, columns: list[str], one_line: bool) -> Parser:
    """Reads the named keys of JSON lines, one object per line; `translation.en` is the key en of the object translation.

    See `text_problem` for `one_line`.
    """

    def parse(number: int, line: str) -> list[str]:
        at = f"{path}:{number}"
        if number == 1 and line.lstrip().startswith("["):
            problem = "the file is a JSON array, and its objects are read from one line each"
            raise DataError(at, problem, "write them so: jq -c '.[]' FILE >FILE.jsonl")
        if number == 1 and line.strip() == "{":
            problem = "its first object goes over several lines"
            raise DataError(at, problem, "write each on one line: jq -c . FILE >FILE.jsonl")
        try:
            record = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError) as e:
            raise DataError(at, f"it is not a JSON object ({e})", "write one JSON object per line") from None
        if not isinstance(record, dict):
            kind = _TYPES.get(type(record), "null")
            raise DataError(at, f"it is {kind}, not an object", "write one JSON object per line")
        try:
            texts = {column: _found(record, column) for column in columns}
        except KeyError as e:
            problem = f"there is no key {e}, only {', '.join(map(repr, _keys(record))) or 'none'}"
            rows = [
                key for key, value in record.items() if isinstance(value, list) and value and isinstance(value[0], dict)
            ]
            remedy = f"write its rows: jq -c '.{rows[0]}[]' FILE >FILE.jsonl" if rows else "add it, or set data.columns"
            raise DataError(at, problem, remedy) from None
        for column, text in texts.items():
            if number == 1 and isinstance(text, dict | list):
                problem = f"{column!r} is {_TYPES[type(text)]}, as if the file held columns and not rows"
                raise DataError(
                    at, problem, "write one object per row; pandas: to_json(FILE, orient='records', lines=True)"
                )
            if refused := text_problem(column, text, one_line):
                raise DataError(at, *refused)
        return list(texts.values())

    return parse


def _found(record: dict[str, Any], column: str) -> Any:
    """The value of a key, or of a key within an object; KeyError with the whole name if there is none."""
    outer, _, inner = column.partition(".")
    if column in record or not isinstance(record.get(outer), dict):
        return record[column]
    try:
        return _found(record[outer], inner)
    except KeyError:
        raise KeyError(column) from None


def _keys(record: dict[str, Any]) -> Iterator[str]:
    """The keys of an object, and of the objects in it."""
    for key, value in record.items():
        yield from (f"{key}.{inner}" for inner in value) if isinstance(value, dict) and value else (key,)


def text_problem(name: str, value: object, one_line: bool) -> tuple[str, str] | None:
    """Problem and remedy of a value that is to be a text; None if it is one. `one_line` refuses line breaks."""
    if not isinstance(value, str):
        kind = _TYPES.get(type(value), "null")
        return f"{name!r} is {kind}, not a text", "write a text, or leave the row out"
    if len(value) > MAX_LINE_BYTES:
        return f"{name!r} has more than {MAX_LINE_BYTES // 2**20} MiB", "break it into rows"
    if found := _NO_TEXT.search(value):
        what = "a NUL character" if found.group() == "\0" else "half a surrogate pair"
        return f"{name!r} has {what}", "remove it"
    if one_line and _LINE_BREAK.search(value):
        return f"{name!r} has a line break", "write a sentence without one: translations are scored line by line"
    return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a key is repeated")
    return record


def tsv_parser(path: Path, columns: list[str]) -> Parser:
    """Reads the named columns of tab-separated lines. Nothing is quoted or escaped.

    The first line is the header, unless it does not name the columns and they are numbers of fields, counted from 1.
    """
    header: list[str] = []

    def parse(number: int, line: str) -> list[str] | None:
        fields = line.split("\t")
        if number == 1:
            header[:] = fields
            if not set(columns).issubset(fields) and all(map(str.isdecimal, columns)):
                header[:] = map(str, range(1, 1 + len(fields)))
            for column in columns:
                if header.count(column) != 1:
                    names = ", ".join(map(repr, fields))
                    problem = f"the header must name {column!r} once, and it is {names}"
                    raise DataError(f"{path}:1", problem, _header_remedy(fields, columns))
            if header == fields:
                return None
        if len(fields) != len(header):
            problem = f"the line has {len(fields)} fields and the first has {len(header)}"
            remedy = "write a tab between fields and nowhere else"
            if any(field.startswith('"') for field in fields):
                remedy = f"if fields in quotes hold tabs or line breaks, write the table without them: {unquote()}"
            raise DataError(f"{path}:{number}", problem, remedy)
        return [fields[header.index(c)] for c in columns]

    return parse


def unquote(mark: str = "\\t") -> str:
    """The command that writes a table as `data=tsv` reads it, with blanks for tabs and line breaks inside of fields.

    Args:
        mark: what stands between its fields, as Python writes it.
    """
    write = 'print(*(" ".join(c.split()) for c in r),sep="\\t")'
    return f"""python -c 'import csv,sys; [{write} for r in csv.reader(sys.stdin,delimiter="{mark}")]' <FILE"""


def _header_remedy(fields: list[str], columns: list[str]) -> str:
    """What makes a table readable whose first line does not name the columns."""
    wanted = set(columns)
    if not wanted.isdisjoint(field.strip('"') for field in fields if field.startswith('"')):
        return f"write the table without quotes: {unquote()}"
    for mark in ",;":
        cells = fields[0].replace('"', "").split(mark)
        if len(fields) == 1 < len(cells) and (wanted.issubset(cells) or all(map(str.isdecimal, columns))):
            return f"write tabs between fields, and no quotes: {unquote(mark)}"
    if wanted.isdisjoint(fields):
        numbers = ",".join(str(i + 1) for i in range(len(columns)))
        return f"set data.columns to fields of the header; if line 1 is text, to numbers of fields, such as [{numbers}]"
    return "set data.columns to fields of the header"
