import gzip
import json
import os
from pathlib import Path

from refusals import refusal, spelled
from tietrain.data import stored_lines
from tietrain.data.sources import validate
from tietrain.data.sources.validate import jsonl_parser, lines_sha256, read_text_file, tsv_parser
from tietrain.errors import DataError


def plain(number, line):
    return [line]


def read(path: Path, content: bytes, parser=plain, n_columns=1):
    path.write_bytes(content)
    return read_text_file(path, f"data.splits.train=[{path.name}]", parser, n_columns)


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


def test_read_text_file_unpacks_gzip(tmp_path):
    text = b"one\ntwo\n"
    assert read(tmp_path / "a.gz", gzip.compress(text)) == read(tmp_path / "a.txt", text)
    assert read(tmp_path / "named_plain.txt", gzip.compress(text))[0] == [["one", "two"]]
    two_members = gzip.compress(b"one\n") + gzip.compress(b"two\n")
    assert read(tmp_path / "two_members.gz", two_members)[0] == [["one", "two"]]


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
}


def test_read_text_file_refuses_what_is_not_text(tmp_path, golden):
    texts = {}
    for name, (content, line) in BAD_TEXT.items():
        error = refusal(read, tmp_path / "a.txt", content)
        assert (error.setting, error.exit_code) == (f"{tmp_path}/a.txt" + (f":{line}" if line else ""), 3)
        texts[name] = spelled(error, tmp_path)
    texts["not gzip"] = spelled(refusal(read, tmp_path / "a.gz", b"plain text\n"), tmp_path)
    texts["cut gzip"] = spelled(refusal(read, tmp_path / "a.gz", gzip.compress(b"text" * 9)[:-4]), tmp_path)
    golden("data_refusals_text", texts)


def test_read_text_file_refuses_every_cut_of_a_gzip_file(tmp_path):
    whole = gzip.compress(b"one line\nanother line\n" * 20)
    damaged = bytearray(whole)
    damaged[-6] ^= 1
    for content in [*(whole[:n] for n in range(len(whole))), bytes(damaged)]:
        assert refusal(read, tmp_path / "a.gz", content).setting == str(tmp_path / "a.gz")


def test_read_text_file_reads_only_regular_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").write_text("text\n")
    assert read_text_file(tmp_path / "link", "x", plain, 1)[0] == [["text"]]
    for name in ("pipe", "dangling", "missing", ".", "real/below", "nul\0byte", "/dev/null"):
        error = refusal(read_text_file, tmp_path / name, "data.splits.train=[x]", plain, 1)
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


BAD_RECORDS = {
    "missing key": {"src": "x"},
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


def test_tsv_parser_reads_by_header_and_quotes_nothing(tmp_path):
    path = tmp_path / "a.tsv"
    found = read(path, b'id\ten\tde\n1\t"NA\tnull\n2\t\t \n', tsv_parser(path, ["de", "en"]), 2)
    assert found[0] == [["null", " "], ['"NA', ""]]


BAD_TABLES = {
    "missing column": (b"en\tfr\nx\ty\n", 1),
    "repeated column": (b"en\tde\tde\nx\ty\tz\n", 1),
    "few fields": (b"en\tde\nx\ty\nx\n", 3),
    "many fields": (b"en\tde\nx\ty\tz\n", 2),
    "blank line": (b"en\tde\n\nx\ty\n", 2),
    "header alone": (b"en\tde\n", None),
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
