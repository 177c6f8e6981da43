"""The page: it holds all it shows, asks for nothing outside, and shows every string of a file as text."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fabricated import make_config, write_run
from tietrain.report.arms import compare, make_arms
from tietrain.report.figures.canvas import ArmStyles
from tietrain.report.figures.model import draw_parameters
from tietrain.report.pages.html import make_html
from tietrain.report.pages.markdown import make_sections
from tietrain.report.verdicts import judge
from tietrain.report.write import write_report
from tietrain.runs import record as runs
from tietrain.runs.view import collect

VOID = {"meta", "input", "br", "hr", "img", "link"}
TEXT = st.text(max_size=40) | st.sampled_from(
    [
        "</script><script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "]]><!--",
        "{{ 7*7 }}",
        '"onmouseover="a',
        "&lt;b",
    ]
)


class Page(HTMLParser):
    """Elements with their attributes, and text; every element must be closed where it should be."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text, self.scripts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.scripts if self.open[-1:] == ["script"] else self.text).append(data)

    def all(self, name):
        return [attrs[name] for _, attrs in self.elements if name in attrs]


def page_of(root):
    write_report(root)
    return Page((root / "report" / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(study):
    return Page(study[1])


def test_make_html_needs_no_other_address(study, page):
    root, text = study
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text.replace("/* ", "").replace("// ", ""))
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    for link in page.all("href") + page.all("src"):
        assert link[1:] in ids if link.startswith("#") else (root / "report" / link).is_file()
    for found in re.findall(r"url\(#([^)]+)\)", text):
        assert found in ids


def test_make_html_lets_no_other_script_run(page):
    """The policy names the hash of the one script, and nothing carries a handler."""
    (policy,) = [a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a]
    (script,) = page.scripts
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert policy.startswith("default-src 'none'")
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]


def test_make_html_gives_each_arm_a_box_a_row_and_parts_of_figures(page):
    boxes = [attrs["data-arm"] for tag, attrs in page.elements if tag == "input"]
    assert len(boxes) == 9 and len(set(boxes)) == 6  # `none` and the like have one look in both tasks
    for key in set(boxes):
        tags = [tag for tag, attrs in page.elements if attrs.get("class") == key]
        assert tags.count("tr") == boxes.count(key) and tags.count("g") >= 5 * boxes.count(key)


def test_make_html_names_columns_and_rows_of_tables(page):
    heads = [attrs for tag, attrs in page.elements if tag == "th"]
    assert heads and all(attrs.get("scope") in ("col", "row") for attrs in heads)
    assert all(attrs["aria-label"] for tag, attrs in page.elements if tag == "svg")


def test_make_html_begins_with_the_answers(study):
    """Answer, savings, costs and evidence of every comparison stand before the first table, whose units do not break."""
    _, text = study
    before, after = text.split("<table", 1)
    assert before.count('class="answer"') == 2 and before.count("<dt>How sure</dt>") == 2
    assert "[95\u00a0%]" in after and "[95 %]</button>" not in after


def test_make_html_has_colours_that_follow_the_scheme_of_the_page(study):
    _, text = study
    figures = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert "var(--c0)" in figures and "var(--ink)" in figures
    assert not re.search(r"#(000000|E69F00|222222)", figures, flags=re.IGNORECASE)


def test_make_html_without_comparison(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    runs.write_record(tmp_path / "a", runs.RunRecord("a", "study", "none", "lm", "failed"))
    (tmp_path / "b" / runs.RUN).write_text("[]")
    assert "unreadable" in page_of(tmp_path).text


def drawn_page(root):
    """The page with one small figure a comparison, because drawing takes most of the time."""
    found = collect(root)
    comparisons = compare(make_arms(found))
    styles = ArmStyles(arm for comparison in comparisons for arm in comparison.arms)
    verdicts = {c.slug: judge(c, tuned=c.tuned) for c in comparisons}
    sections = {c.slug: make_sections(c, verdicts[c.slug], [draw_parameters(c, styles)]) for c in comparisons}
    return Page(make_html(found, comparisons, verdicts, sections, styles))


def page_of_text(root, text):
    """A page whose labels, notes, machine, signatures and one name of a split hold a text."""
    changes = {"label": text, "study": text, "notes": [text], "machine": {"device": text}}
    directory = write_run(root, make_config("mt", "none", 1), folder="a", **changes)
    write_run(root, make_config("mt", "pre_softmax", 1), folder="b", **changes)
    body = json.loads((directory / runs.EVAL).read_text())
    body["splits"][f"x{text}"] = body["splits"].pop("held")
    body["signatures"]["bleu"] = text
    runs.write_json(directory / runs.EVAL, body)
    return drawn_page(root)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return page_of_text(tmp_path_factory.mktemp("plain"), "plain")


@settings(max_examples=8, deadline=None)
@given(text=TEXT)
@example("</script><script>alert(1)</script></svg></style><b>")
def test_make_html_shows_every_string_as_text(plain, tmp_path_factory, text):
    """Whatever the strings hold, the page has no element, attribute or script that the page of plain ones lacks."""
    page = page_of_text(tmp_path_factory.mktemp("hostile"), text)
    kinds, known = ({(tag, *attrs) for tag, attrs in found.elements} for found in (page, plain))
    assert kinds <= known | {("code",), ("g", "id")}
    assert page.scripts == plain.scripts
