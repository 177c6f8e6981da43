"""The whole page as text: its wording stands in one golden file, except for settings, which change with the defaults."""

from tietrain.report.arms import compare, make_arms
from tietrain.report.pages.markdown import make_markdown, make_sections
from tietrain.report.verdicts import judge
from tietrain.runs.view import collect

SETTINGS = ("Method, to paste", "Every setting")


def test_make_markdown(study, golden):
    """With its figures: the translations of a study, six arms with two seeds each and two vocabularies."""
    root, _ = study
    head, _, page = (root / "report" / "report.md").read_text(encoding="utf-8").partition("## Language model")
    sections = page[page.index("## Translation") :].split("\n### ")
    shown = "\n### ".join(section for section in sections if not section.startswith(SETTINGS))
    golden("report_page", {"head": head, "translations": shown})


def test_make_markdown_needs_no_figures(study):
    root, _ = study
    found = collect(root)
    comparisons = compare(make_arms(found))
    verdicts = {c.slug: judge(c, tuned=c.tuned) for c in comparisons}
    sections = {c.slug: make_sections(c, verdicts[c.slug], ()) for c in comparisons}
    page = make_markdown(found, comparisons, verdicts, sections)
    assert "### Figures" not in page and page.count("### Costs") == 2
