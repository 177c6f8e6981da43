"""The page: it holds all it shows, asks for nothing outside, and shows what is in the files as text."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fabricated import make_config, write_run, write_study
from tietrain.report.arms import compare, make_arms
from tietrain.report.figures.canvas import Looks
from tietrain.report.figures.parameters import draw_parts
from tietrain.report.pages.html import make_html
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
def study(tmp_path_factory):
    root = write_study(tmp_path_factory.mktemp("html"), seeds=(1, 2))
    return root, page_of(root)


def test_no_address_outside(study):
    root, page = study
    text = (root / "report" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text.replace("/* ", "").replace("// ", ""))
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    for link in page.all("href") + page.all("src"):
        assert link[1:] in ids if link.startswith("#") else (root / "report" / link).is_file()
    for found in re.findall(r"url\(#([^)]+)\)", text):
        assert found in ids


def test_only_its_own_script_may_run(study):
    """The policy names the hash of the one script, and nothing carries a handler."""
    _, page = study
    (policy,) = [a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a]
    (script,) = page.scripts
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert policy.startswith("default-src 'none'")
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]


def test_each_arm_has_a_box_a_row_and_a_part_in_the_figures(study):
    _, page = study
    boxes = [attrs["data-arm"] for tag, attrs in page.elements if tag == "input"]
    assert len(boxes) == 9 and len(set(boxes)) == 6  # `none` and the like have one look in both tasks
    for key in set(boxes):
        tags = [tag for tag, attrs in page.elements if attrs.get("class") == key]
        assert tags.count("tr") == boxes.count(key) and tags.count("g") >= 5 * boxes.count(key)


def test_tables_name_their_columns_and_rows(study):
    _, page = study
    heads = [attrs for tag, attrs in page.elements if tag == "th"]
    assert heads and all(attrs.get("scope") in ("col", "row") for attrs in heads)
    assert all(attrs["aria-label"] for tag, attrs in page.elements if tag == "svg")


def test_the_answers_come_first(study):
    """What to use, saved, cost and how sure of every comparison stand before the first table, whose units stay whole."""
    root, _ = study
    text = (root / "report" / "report.html").read_text(encoding="utf-8")
    before, after = text.split("<table", 1)
    assert before.count('class="answer"') == 2 and before.count("<dt>How sure</dt>") == 2
    assert "[95\u00a0%]" in after and "[95 %]</button>" not in after


def test_colours_of_arms_can_change_with_the_scheme_of_the_page(study):
    root, _ = study
    text = (root / "report" / "report.html").read_text(encoding="utf-8")
    figures = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert "var(--c0)" in figures and "var(--ink)" in figures
    assert not re.search(r"#(000000|E69F00|222222)", figures, flags=re.IGNORECASE)


def test_without_comparison(tmp_path):
    (tmp_path / runs.RUN).write_text("[]")
    assert "unreadable" in page_of(tmp_path).text


def drawn_page(root):
    """The page with one small figure a comparison, because drawing takes most of the time."""
    found = collect(root)
    comparisons = compare(make_arms(found))
    looks = Looks(arm for comparison in comparisons for arm in comparison.arms)
    judgements = {c.slug: judge(c, tuned=c.tuned) for c in comparisons}
    drawings = {c.slug: [draw_parts(c, looks)] for c in comparisons}
    return Page(make_html(found, comparisons, judgements, drawings, looks))


def page_of_text(root, said):
    """With labels, notes, settings, signatures and a name of a split that hold a text."""
    changes = {"label": said, "study": said, "notes": [said], "machine": {"device": said}}
    directory = write_run(root, make_config("mt", "none", 1), folder="a", **changes)
    write_run(root, make_config("mt", "pre_softmax", 1), folder="b", **changes)
    body = json.loads((directory / runs.EVAL).read_text())
    body["splits"][f"x{said}"] = body["splits"].pop("held")
    body["signatures"]["bleu"] = said
    runs.write_json(directory / runs.EVAL, body)
    return drawn_page(root)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return page_of_text(tmp_path_factory.mktemp("plain"), "plain")


@settings(max_examples=8, deadline=None)
@given(text=TEXT)
@example("</script><script>alert(1)</script></svg></style><b>")
def test_every_string_is_shown_as_text(plain, tmp_path_factory, text):
    """Whatever they hold, the page has no element, attribute or script that it has not with plain ones."""
    page = page_of_text(tmp_path_factory.mktemp("hostile"), text)
    kinds, known = ({(tag, *attrs) for tag, attrs in found.elements} for found in (page, plain))
    assert kinds <= known | {("code",), ("g", "id")}
    assert page.scripts == plain.scripts
