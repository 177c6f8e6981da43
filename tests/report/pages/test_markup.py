"""Nothing that a file holds becomes markup, a table cell's end, or a spreadsheet's formula."""

import csv
import doctest
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tietrain.report import arms, statistics, ties, verdicts
from tietrain.report.pages import markup, verdict_text
from tietrain.report.pages.markup import code, count, csv_text, escape, fixed, markdown_table, powers


@pytest.mark.parametrize("module", [arms, markup, ties, statistics, verdict_text, verdicts])
def test_docstrings(module):
    assert doctest.testmod(module).failed == 0


def cells(row: str) -> int:
    return row.replace("\\\\", "").replace("\\|", "").count("|") - 1


@given(st.text(max_size=40), st.text(max_size=40))
def test_markdown_table_keeps_a_row_one_row(a, b):
    table = markdown_table(["x", "y"], [[code(a), escape(b)]])
    assert len(table.split("\n")) == 3 and cells(table.split("\n")[2]) == 2


@given(st.text(max_size=40))
def test_escape_and_code_leave_no_html_and_no_open_code_span(text):
    assert not set(escape(text)) & set("<>")
    assert code(text).replace("\\`", "").count("`") in (0, 2)
    escape(text).encode("utf-8")


def test_escape_of_links():
    assert escape("see http://x.y/[a](b)\nwww.z") == r"see http&#58;//x.y/\[a\](b) www&#46;z"
    assert code("a|b") == r"a\|b" and code("a|b", in_table=False) == "`a|b`"


def test_csv_text_has_no_formula():
    hostile = ["=1+1", "+1", "-1", "@a", "=cmd|' /C calc'!A0"]
    header, *rows = csv.reader(io.StringIO(csv_text([{"label": text, "n": -1.5, "none": None} for text in hostile])))
    assert header == ["label", "n", "none"]
    assert rows == [["'" + text, "-1.5", ""] for text in hostile]


def test_csv_text_has_the_union_of_columns():
    assert csv_text([{"a": 1}, {"b": 2, "a": 3}]) == "a,b\n1,\n3,2\n"


def test_count_fixed_and_powers():
    assert [count(1234.6), count(None)] == ["1,235", "—"]
    assert [fixed(12.345, 2), fixed(1e9, 2)] == ["12.35", "1e+09"]
    assert [powers(3.214e15), powers(5e5), powers(0)] == ["3.21e15", "5e5", "0"]
