"""Compressed files: gzip, bzip2 and xz are read, others are refused with the command that unpacks them."""

import io
import zlib
from bz2 import BZ2Decompressor
from collections.abc import Callable
from gzip import GzipFile
from lzma import LZMADecompressor, LZMAError
from pathlib import Path
from typing import BinaryIO

from tietrain.errors import DataError

BLOCK_BYTES = 2**16
# What readers raise for content that is cut off or damaged, besides an OSError without a number.
DAMAGE = (EOFError, zlib.error, LZMAError)
# First bytes -> ending of the name, name of the format, what reads it.
_READ: dict[bytes, tuple[str, str, Callable[[BinaryIO], io.BufferedIOBase]]] = {
    b"\x1f\x8b": (".gz", "gzip", lambda f: GzipFile(fileobj=f)),
    b"BZh": (".bz2", "bzip2", lambda f: io.BufferedReader(_Unpacked(f, BZ2Decompressor))),
    b"\xfd7zXZ\0": (".xz", "xz", lambda f: io.BufferedReader(_Unpacked(f, LZMADecompressor))),
}
# Endings of names of files that are read compressed.
PACKED = frozenset(ending for ending, _, _ in _READ.values())
# First bytes -> name of the format, what makes it readable.
_REFUSED = {
    b"\x28\xb5\x2f\xfd": ("Zstandard", "unpack it: zstd -d FILE"),
    b"PK\x03\x04": ("zip", "unpack it: unzip FILE; save a sheet or document as plain text"),
    b"7z\xbc\xaf": ("7z", "unpack it: 7z x FILE"),
    b"\x04\x22\x4d\x18": ("LZ4", "unpack it: lz4 -d FILE"),
    b"Rar!": ("RAR", "unpack it: unrar x FILE"),
    b"PAR1": ("Parquet", "choose data=parquet"),
    b"ARROW1": ("Arrow", "choose data=hub with the folder that datasets saved"),
    b"%PDF": ("PDF", "take out its text: pdftotext FILE"),
    b"{\\rtf": ("RTF", "save it as plain text"),
    b"\xd0\xcf\x11\xe0": ("that of an office program", "save it as plain text"),
    b"\x93NUMPY": ("NumPy", "give text, or vectors of data.features in an .npz file"),
    b"SQLite": ("SQLite", "write a table with tabs: sqlite3 -header -tabs FILE 'select ...'"),
}
HEAD_BYTES = max(map(len, [*_READ, *_REFUSED]))
# Where a tar archive says that it is one, and how.
_TAR = (257, b"ustar")


class _Unpacked(io.RawIOBase):
    """The content of a file of compressed streams, one after the other; whatever else is in the file is damage."""

    def __init__(self, file: BinaryIO, decompressor: Callable[[], BZ2Decompressor | LZMADecompressor]):
        self._file = file
        self._new = decompressor
        self._stream = decompressor()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        content = b""
        while not content:
            packed = b""
            if self._stream.eof:
                packed = self._stream.unused_data or self._file.read(BLOCK_BYTES)
                if not packed:
                    return 0
                self._stream = self._new()
            elif self._stream.needs_input:
                packed = self._file.read(BLOCK_BYTES)
                if not packed:
                    raise EOFError("its end is missing")
            content = self._stream.decompress(packed, len(buffer))
        buffer[: len(content)] = content
        return len(content)


def check_name(path: Path, head: bytes) -> None:
    """DataError if a file is named as a compressed one and is none.

    Args:
        head: its first bytes, HEAD_BYTES or more.
    """
    for first, (ending, name, _) in _READ.items():
        if path.suffix == ending and not head.startswith(first):
            problem = f"the name ends in {ending} and the file is not a {name} file"
            raise DataError(str(path), problem, "rename the file, or get it again")


def unpacked(file: BinaryIO, path: Path) -> tuple[BinaryIO | io.BufferedIOBase, str]:
    """A file as it is or unpacked, and the name of its format, empty if it is not compressed.

    Raises:
        DataError: its format is not read, or its name says another one.
    """
    head = file.read(HEAD_BYTES)
    file.seek(0)
    check_name(path, head)
    for first, (name, remedy) in _REFUSED.items():
        if head.startswith(first):
            raise DataError(str(path), f"its format is {name}, which is not read here", remedy)
    for first, (_, name, reader) in _READ.items():
        if head.startswith(first):
            return reader(file), name
    return file, ""


def check_archive(path: Path, first_line: bytes) -> None:
    """DataError if the first line of an unpacked file is that of a tar archive."""
    at, mark = _TAR
    if first_line.startswith(mark, at):
        raise DataError(str(path), "it is a tar archive", "unpack it: tar -xf FILE")
