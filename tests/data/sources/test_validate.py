import gzip
import json
import os
from pathlib import Path

import pytest

from tietrain.data.sources import validate
from tietrain.data.sources.validate import check_file, jsonl_parser, split_lines, tsv_parser
from tietrain.errors import DataError


def plain(number, line):
    return [line]


def check(path: Path, content: bytes, parser=plain):
    path.write_bytes(content)
    return check_file(path, f"data.splits.train=[{path.name}]", parser)


def test_lines_end_with_lf_only():
    assert split_lines("a\x0bb\x85c\u2028d\n\ne") == ["a\x0bb\x85c\u2028d", "", "e"]
    assert split_lines("a\n") == ["a"]


def test_a_clean_file_has_no_notes(tmp_path):
    result = check(tmp_path / "a.txt", b"one\n \n\ntwo")
    assert (result.n_lines, result.notes) == (4, ())


def test_bom_and_crlf_are_accepted_and_said(tmp_path):
    clean = check(tmp_path / "a.txt", "één\ntwo\n".encode())
    odd = check(tmp_path / "b.txt", "\ufeffeén\r\ntwo\r\n".encode().replace(b"e\xc3\xa9", b"\xc3\xa9\xc3\xa9"))
    assert odd.sha256 == clean.sha256
    assert odd.notes == (
        "b.txt begins with a byte order mark; it is left out",
        "b.txt has 2 lines ending in CRLF; CR is left out",
    )


def test_gzip_is_read_like_plain(tmp_path):
    text = b"one\ntwo\n"
    assert check(tmp_path / "a.gz", gzip.compress(text)) == check(tmp_path / "a.txt", text)
    assert check(tmp_path / "named_plain.txt", gzip.compress(text)).n_lines == 2
    assert check(tmp_path / "two_members.gz", gzip.compress(b"one\n") + gzip.compress(b"two\n")).n_lines == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"fine\nbad \xff\n", r"a\.txt:2: it is not UTF-8 \(byte 0xff"),
        (b"latin \xe9t\xe9\n", r"a\.txt:1: it is not UTF-8"),
        (b"cut \xe2\x82", r"a\.txt:1: it is not UTF-8"),
        ("x\n".encode("utf-16"), r"a\.txt:1: it is not UTF-8"),
        (b"one\ntwo\x00\n", r"a\.txt:2: there is a NUL"),
        (b"one\r\ntw\ro\n", r"a\.txt:2: there is a carriage return inside"),
        (b"", r"a\.txt: the file is empty"),
        (b"\xef\xbb\xbf", r"a\.txt: the file is empty"),
    ],
)
def test_what_is_no_text_is_refused_with_its_line(tmp_path, content, says):
    with pytest.raises(DataError, match=says):
        check(tmp_path / "a.txt", content)


def test_every_cut_of_a_gzip_file_is_refused(tmp_path):
    whole = gzip.compress(b"one line\nanother line\n" * 20)
    for n in range(len(whole)):
        with pytest.raises(DataError, match=r"a\.gz"):
            check(tmp_path / "a.gz", whole[:n])
    damaged = bytearray(whole)
    damaged[-6] ^= 1
    with pytest.raises(DataError, match="cut off or damaged"):
        check(tmp_path / "a.gz", bytes(damaged))


def test_a_name_that_lies_is_refused(tmp_path):
    with pytest.raises(DataError, match="no gzip file"):
        check(tmp_path / "a.gz", b"plain text\n")


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").write_text("text\n")
    assert check_file(tmp_path / "link", "x", plain).n_lines == 1
    for name in ("pipe", "dangling", "missing", ".", "real/below", "nul\0byte"):
        with pytest.raises(DataError, match=r"data\.splits\.train=") as caught:
            check_file(tmp_path / name, "data.splits.train=[x]", plain)
        assert str(tmp_path) in caught.value.problem
    with pytest.raises(DataError, match="no regular file"):
        check_file(Path("/dev/null"), "x", plain)


def test_a_giant_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(validate, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="split it"):
        check(tmp_path / "bomb.gz", gzip.compress(b"x" * 100_000))


def lines_of(*records) -> bytes:
    return "".join(json.dumps(r) + "\n" if not isinstance(r, str) else r + "\n" for r in records).encode()


def test_jsonl_reads_the_named_keys(tmp_path):
    parser = jsonl_parser(tmp_path / "a.jsonl", ["src", "pe"], one_line=True)
    record = {"pe": "2020-01-01", "other": [1, {"x": None}], "src": "12 \ud83d\ude00"}
    check(tmp_path / "a.jsonl", lines_of(record, record), parser)
    assert parser(1, json.dumps(record)) == ["12 😀", "2020-01-01"]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"src": "x"}, r"a\.jsonl:2: there is no key 'pe', only 'src'"),
        ({"src": "x", "pe": None}, r"a\.jsonl:2: 'pe' is null"),
        ({"src": "x", "pe": 12}, r"a\.jsonl:2: 'pe' is a number"),
        ({"src": "x", "pe": True}, r"'pe' is true or false"),
        ({"src": "x", "pe": ["y"]}, r"'pe' is a list"),
        ({"src": "x", "pe": "a\nb"}, r"a\.jsonl:2: 'pe' has a line break"),
        ({"src": "x", "pe": "\ud800"}, r"a\.jsonl:2: 'pe' has half a surrogate"),
        ({"src": "x", "pe": "\0"}, r"a\.jsonl:2: 'pe' has .* a NUL"),
        (["x"], r"a\.jsonl:2: it is a list"),
        ("NaN", r"a\.jsonl:2: it is a number"),
        ("", r"a\.jsonl:2: it is not a JSON object"),
        ('{"src": "x", "pe": "y"', r"a\.jsonl:2: it is not a JSON object"),
        ('{"src": "x", "pe": "y", "pe": "z"}', r"a\.jsonl:2: .*twice"),
        ("[" * 100_000, r"a\.jsonl:2: it is not a JSON object"),
    ],
)
def test_jsonl_records_that_do_not_fit_are_refused(tmp_path, bad, says):
    path = tmp_path / "a.jsonl"
    with pytest.raises(DataError, match=says):
        check(path, lines_of({"src": "a", "pe": "b"}, bad), jsonl_parser(path, ["src", "pe"], one_line=True))


def test_language_models_may_read_texts_of_several_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    check(path, lines_of({"text": "a\nb"}), jsonl_parser(path, ["text"], one_line=False))


def test_tsv_reads_by_header_and_quotes_nothing(tmp_path):
    path = tmp_path / "a.tsv"
    parser = tsv_parser(path, ["de", "en"])
    check(path, b'id\ten\tde\n1\t"NA\tnull\n2\t\t \n', parser)
    assert parser(1, "id\ten\tde") is None
    assert parser(2, '1\t"NA\tnull') == ["null", '"NA']


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"en\tfr\nx\ty\n", r"a\.tsv:1: the header 'en', 'fr' names 'de' 0 times"),
        (b"en\tde\tde\nx\ty\tz\n", r"a\.tsv:1: .* names 'de' 2 times"),
        (b"en\tde\nx\ty\nx\n", r"a\.tsv:3: there are 1 fields and the header has 2"),
        (b"en\tde\nx\ty\tz\n", r"a\.tsv:2: there are 3 fields"),
        (b"en\tde\n\nx\ty\n", r"a\.tsv:2: there are 1 fields"),
    ],
)
def test_tsv_lines_that_do_not_fit_are_refused(tmp_path, content, says):
    path = tmp_path / "a.tsv"
    with pytest.raises(DataError, match=says):
        check(path, content, tsv_parser(path, ["en", "de"]))
