import bz2
import gzip
import json
import lzma
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from refusals import refusal, spelled
from tietrain.data import stored_lines
from tietrain.data.sources import validate
from tietrain.data.sources.validate import jsonl_parser, lines_sha256, read_text_file, tsv_parser
from tietrain.errors import DataError


def plain(number, line):
    return [line]


def read(path: Path, content: bytes, parser=plain, n_columns=1):
    path.write_bytes(content)
    columns = [[] for _ in range(n_columns)]
    return columns, read_text_file(path, f"data.splits.train=[{path.name}]", parser, columns)


def test_read_text_file_ends_lines_with_lf_only(tmp_path):
    assert read(tmp_path / "a", "a\x0bb\x85c\u2028d\n\n \ne".encode())[0] == [["a\x0bb\x85c\u2028d", "", " ", "e"]]
    assert read(tmp_path / "a", b"a\n")[0] == [["a"]]
    assert read(tmp_path / "a", b"a\n")[1] == []


def test_read_text_file_leaves_out_bom_and_crlf_and_notes_it(tmp_path):
    odd = read(tmp_path / "b.txt", "\ufefféén\r\ntwo\r\n".encode())
    assert odd[0] == [["één", "two"]]
    assert [note.split(";")[0] for note in odd[1]] == [
        "b.txt begins with a byte order mark",
        "b.txt has 2 lines ending in CRLF",
    ]


PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("ending", PACK)
def test_read_text_file_unpacks(tmp_path, ending):
    pack, text = PACK[ending], b"one\ntwo\n"
    assert read(tmp_path / f"a{ending}", pack(text)) == read(tmp_path / "a.txt", text)
    assert read(tmp_path / "named_plain.txt", pack(text))[0] == [["one", "two"]]
    assert read(tmp_path / f"two_parts{ending}", pack(b"one\n") + pack(b"two\n"))[0] == [["one", "two"]]
    lines = [f"line {i} of many" for i in range(20_000)]
    assert read(tmp_path / f"long{ending}", pack("\n".join(lines).encode()))[0] == [lines]


def test_lines_sha256_is_that_of_the_joined_lines(monkeypatch):
    whole = lines_sha256(["a", "", "b", "c", "é"])
    monkeypatch.setattr(stored_lines, "CHUNK_BYTES", 2)
    assert lines_sha256(["a", "", "b", "c", "é"]) == whole
    assert lines_sha256(["a\n", "b"]) != lines_sha256(["a", "b"])


BAD_TEXT = {
    "not UTF-8": (b"fine\nbad \xff\n", 2),
    "cut character": (b"cut \xe2\x82", 1),
    "UTF-16": ("x\n".encode("utf-16"), 1),
    "NUL": (b"one\ntwo\x00\n", 2),
    "carriage return": (b"one\r\ntw\ro\n", 2),
    "carriage return at the end": (b"one\r\ntwo\r", 2),
    "empty": (b"", None),
    "byte order mark alone": (b"\xef\xbb\xbf", None),
    "blank lines alone": (b"\n\n", None),
    "white space alone": (b" \n\t \n", None),
    "Zstandard": (b"\x28\xb5\x2f\xfd\x00", None),
    "zip": (b"PK\x03\x04\x00", None),
    "7z": (b"7z\xbc\xaf\x27\x1c", None),
    "LZ4": (b"\x04\x22\x4d\x18", None),
    "RAR": (b"Rar!\x1a", None),
    "Arrow": (b"ARROW1\0\0", None),
    "PDF": (b"%PDF-1.7", None),
    "RTF": (b"{\\rtf1 x}", None),
    "office": (b"\xd0\xcf\x11\xe0\xa1", None),
    "NumPy": (b"\x93NUMPY\x01", None),
    "SQLite": (b"SQLite format 3\0", None),
    "Parquet": (b"PAR1\x15", None),
}


def test_read_text_file_refuses_what_is_not_text(tmp_path, golden):
    texts = {}
    for name, (content, line) in BAD_TEXT.items():
        error = refusal(read, tmp_path / "a.txt", content)
        assert (error.setting, error.exit_code) == (f"{tmp_path}/a.txt" + (f":{line}" if line else ""), 3)
        texts[name] = spelled(error, tmp_path)
    (tmp_path / "text").write_text("text\n")
    with tarfile.open(tmp_path / "made.tgz", "w:gz") as archive:
        archive.add(tmp_path / "text")
    texts["tar"] = spelled(refusal(read, tmp_path / "a.tgz", (tmp_path / "made.tgz").read_bytes()), tmp_path)
    texts["not gzip"] = spelled(refusal(read, tmp_path / "a.gz", b"plain text\n"), tmp_path)
    texts["cut gzip"] = spelled(refusal(read, tmp_path / "a.gz", gzip.compress(b"text" * 9)[:-4]), tmp_path)
    golden("data_refusals_text", texts)


@pytest.mark.parametrize("ending", PACK)
def test_read_text_file_refuses_every_cut_of_a_packed_file(tmp_path, ending):
    path, pack = tmp_path / f"a{ending}", PACK[ending]
    whole = pack(b"one line\nanother line\n" * 20)
    damaged = bytearray(whole)
    damaged[-6] ^= 1
    second = pack(b"text\n") + b"?" + whole[1:]
    for content in [*(whole[:n] for n in range(len(whole))), bytes(damaged), second]:
        assert refusal(read, path, content).setting == str(path)


def test_read_text_file_reads_only_regular_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").write_text("text\n")
    lines = []
    read_text_file(tmp_path / "link", "x", plain, [lines])
    assert lines == ["text"]
    for name in ("pipe", "dangling", "missing", ".", "real/below", "nul\0byte", "/dev/null"):
        error = refusal(read_text_file, tmp_path / name, "data.splits.train=[x]", plain, [[]])
        assert error.setting == "data.splits.train=[x]" and str(tmp_path / name) in error.problem


def test_read_text_file_unpacks_no_more_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(validate, "MAX_BYTES", 1000)
    assert len(read(tmp_path / "a.gz", gzip.compress(b"x" * 1000))[0][0][0]) == 1000
    for bomb in (b"x" * 10**7, b"x\n" * 501):
        assert refusal(read, tmp_path / "bomb.gz", gzip.compress(bomb)).remedy == "split it"


def lines_of(*records) -> bytes:
    return "".join(json.dumps(r) + "\n" if not isinstance(r, str) else r + "\n" for r in records).encode()


def test_jsonl_parser_reads_the_named_keys(tmp_path):
    path = tmp_path / "a.jsonl"
    record = {"pe": "2020-01-01", "other": [1, {"x": None}], "src": "12 \ud83d\ude00"}
    parser = jsonl_parser(path, ["src", "pe"], one_line=True)
    assert read(path, lines_of(record), parser, 2)[0] == [["12 😀"], ["2020-01-01"]]
    parser = jsonl_parser(path, ["text"], one_line=False)
    assert read(path, lines_of({"text": "a\nb"}), parser)[0] == [["a\nb"]]


def test_jsonl_parser_reads_keys_of_objects_in_objects(tmp_path):
    path = tmp_path / "a.jsonl"
    nested = {"translation": {"en": "a", "de": {"formal": "b"}}, "a.b": "c", "a": {"b": "d"}}
    parser = jsonl_parser(path, ["translation.en", "translation.de.formal", "a.b"], one_line=True)
    assert read(path, lines_of(nested), parser, 3)[0] == [["a"], ["b"], ["c"]]
    error = refusal(read, path, lines_of(nested), jsonl_parser(path, ["translation.fr"], one_line=True))
    assert error.problem == ("there is no key 'translation.fr', only 'translation.en', 'translation.de', 'a.b', 'a.b'")
    null = lines_of({"translation": {"en": None}})
    error = refusal(read, path, null, jsonl_parser(path, ["translation.en"], one_line=True))
    assert error.problem == "'translation.en' is null, not a text"


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("is_array", [True, False])
def test_jsonl_parser_names_the_command_that_makes_lines(tmp_path, indent, is_array):
    parser = jsonl_parser(tmp_path / "FILE", ["src"], one_line=True)
    body = [{"src": "x"}, {"src": "y"}] if is_array else {"src": "x"}
    text = json.dumps(body, indent=indent)
    if indent is None and not is_array:
        assert read(tmp_path / "FILE", text.encode(), parser)[0] == [["x"]]
        return
    error = refusal(read, tmp_path / "FILE", text.encode(), parser)
    assert error.setting == f"{tmp_path}/FILE:1"
    if shutil.which("jq"):
        subprocess.run(["bash", "-c", error.remedy.partition(": ")[2]], cwd=tmp_path, check=True)
        made = (tmp_path / "FILE.jsonl").read_bytes()
        assert read(tmp_path / "FILE", made, parser)[0] == [["x", "y"] if is_array else ["x"]]


BAD_RECORDS = {
    "missing key": {"src": "x"},
    "rows in a key": {"rows": [{"src": "x", "pe": "y"}]},
    "null": {"src": "x", "pe": None},
    "number": {"src": "x", "pe": 12},
    "true": {"src": "x", "pe": True},
    "list": {"src": "x", "pe": ["y"]},
    "line break": {"src": "x", "pe": "a\nb"},
    "half a surrogate pair": {"src": "x", "pe": "\ud800"},
    "NUL": {"src": "x", "pe": "\0"},
    "not an object": ["x"],
    "constant": "NaN",
    "blank line": "",
    "cut": '{"src": "x", "pe": "y"',
    "repeated key": '{"src": "x", "pe": "y", "pe": "z"}',
    "deep": "[" * 100_000,
}


def test_jsonl_parser_refuses_records_that_do_not_fit(tmp_path, golden):
    path, texts = tmp_path / "a.jsonl", {}
    for name, bad in BAD_RECORDS.items():
        parser = jsonl_parser(path, ["src", "pe"], one_line=True)
        error = refusal(read, path, lines_of({"src": "a", "pe": "b"}, bad), parser, 2)
        assert (error.setting, error.exit_code) == (f"{path}:2", 3)
        texts[name] = spelled(error, tmp_path)
    golden("data_refusals_jsonl", texts)


@pytest.mark.parametrize("column", [["x", "y"], {"0": "x"}])
def test_jsonl_parser_says_how_pandas_writes_rows(tmp_path, column):
    error = refusal(read, tmp_path / "a.jsonl", lines_of({"src": column}), jsonl_parser(tmp_path, ["src"], True))
    assert "orient='records', lines=True" in error.remedy


def test_tsv_parser_reads_by_header_and_quotes_nothing(tmp_path):
    path = tmp_path / "a.tsv"
    found = read(path, b'id\ten\tde\n1\t"NA\tnull\n2\t\t \n', tsv_parser(path, ["de", "en"]), 2)
    assert found[0] == [["null", " "], ['"NA', ""]]


def test_tsv_parser_reads_fields_by_number_if_no_header_names_them(tmp_path):
    path = tmp_path / "a.tsv"
    found = read(path, b"7\tA cat.\t8\tEine Katze.\n9\tA dog.\t10\t\n", tsv_parser(path, ["4", "2"]), 2)
    assert found[0] == [["Eine Katze.", ""], ["A cat.", "A dog."]]
    named = read(path, b"2\t1\nx\ty\n", tsv_parser(path, ["1", "2"]), 2)
    assert named[0] == [["y"], ["x"]]
    error = refusal(read, path, b"x\ty\n", tsv_parser(path, ["1", "3"]), 2)
    assert error.problem == "the header must name '3' once, and it is 'x', 'y'"


@pytest.mark.parametrize("mark", [",", ";"])
@pytest.mark.parametrize("columns", [["en", "de"], ["1", "2"]])
def test_tsv_parser_names_the_command_that_makes_a_table(tmp_path, mark, columns):
    path = tmp_path / "FILE"
    parser = tsv_parser(path, columns)
    error = refusal(read, path, f'en{mark}de\n"a{mark} ""b"""{mark}c\n'.encode(), parser, 2)
    command = error.remedy.partition(": ")[2]
    made = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=True).stdout
    assert [texts[-1] for texts in read(path, made, parser, 2)[0]] == [f'a{mark} "b"', "c"]


BAD_TABLES = {
    "missing column": (b"en\tfr\nx\ty\n", 1),
    "repeated column": (b"en\tde\tde\nx\ty\tz\n", 1),
    "few fields": (b"en\tde\nx\ty\nx\n", 3),
    "many fields": (b"en\tde\nx\ty\tz\n", 2),
    "blank line": (b"en\tde\n\nx\ty\n", 2),
    "header alone": (b"en\tde\n", None),
    "tab in quotes": (b'en\tde\n"x\ty"\tz\n', 2),
    "line break in quotes": (b'en\tde\n"x\ny"\tz\n', 2),
    "quoted header": (b'"en"\t"de"\n"x"\t"y"\n', 1),
    "commas": (b"en,de\nx,y\n", 1),
    "no header": (b"A cat sleeps.\tEine Katze.\nx\ty\n", 1),
}


def test_tsv_parser_refuses_lines_that_do_not_fit(tmp_path, golden):
    path, texts = tmp_path / "a.tsv", {}
    for name, (content, line) in BAD_TABLES.items():
        error = refusal(read, path, content, tsv_parser(path, ["en", "de"]), 2)
        assert error.setting == str(path) + (f":{line}" if line else "")
        assert isinstance(error, DataError)
        texts[name] = spelled(error, tmp_path)
    golden("data_refusals_tsv", texts)
