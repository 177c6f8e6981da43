"""`DIR/similarity/`: what tied tables resemble, as a page, figures and a table of all numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tietrain.report.figures.similarity import TITLES, draw_similarity
from tietrain.report.pages.markup import bullets, code, csv_text, fixed, markdown_table
from tietrain.report.similarity import ROLES, Gap
from tietrain.report.tables import PERMUTED, Agreement, Finding, Purity, WordsOf, find_resemblances, read_words
from tietrain.runs import record as runs
from tietrain.runs.ownership import make_marked_folder

FOLDER, PAGE = "similarity", "similarity.md"
EXPLANATION = (
    "Each table is taken without its mean row and its strongest direction. The output table is multiplied by the gain of the norm "
    "before it. Pairs are runs of different seeds: twins of one seed begin with the same values.",
    "Ceiling: two untied runs, the most that can be expected. Gap: how much nearer the tied table is to output tables than to input "
    "tables; in the last column each likeness less its ceiling. A role whose ceiling is low has tables that chance decides, so the two "
    "gaps can differ. Intervals draw seeds with replacement; with few seeds they are too narrow.",
    "frequent, middle, rare: thirds of the pieces in the order of the vocabulary, which is by falling frequency for unigram pieces.",
    f"Controls: at the start all tables are random, and with {PERMUTED} nothing is left to find; CKA is then about 0. The other two measures have "
    "a floor above 0 that grows with the width of the tables.",
)

WORD_CLASSES = (
    "Of the generated text the class of each word is known. Of the words that are one piece: how many of the ten nearest rows belong "
    "to a word of the same class, at the end of training, mean over seeds."
)


EXCHANGEABLE = (
    "Synonyms in the same form may stand for each other in every context, so their scores should rise and fall together: correlation "
    "of the scores of two words over the contexts of one batch, each less the mean of all words, at the end of training. Mean over "
    "pairs and seeds; beside it pairs of one class that are not synonyms."
)


def write_similarity(directory: Path, words_of: WordsOf) -> tuple[Path, list[str]]:
    """Compare the tables that runs at or below a folder kept; returns the page and its headlines.

    Args:
        words_of: what is known of words; of other runs nothing.
    Raises:
        DataError: nothing can be compared. SettingsError: the folder to write is the user's. StorageError: the disk refused.
    """
    findings = find_resemblances(directory)
    folder = directory / FOLDER
    make_marked_folder(folder)
    arms: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        arms.setdefault((finding.task, finding.arm, finding.stack), []).append(finding)
    blocks, headlines = ["# What tied tables resemble"], []
    for number, own in enumerate(arms.values(), 1):
        name = f"similarity_{number}"
        drawing = draw_similarity(own, name)
        runs.write_bytes(folder / f"{name}.png", drawing.png)
        runs.write_text(folder / f"{name}.svg", drawing.svg)
        headlines.append(headline(own))
        first = own[0]
        blocks += [f"## {code(first.arm)} beside {code(first.untied)} ({first.task}, {first.stack})", headlines[-1]]
        blocks += [f"![{drawing.caption}]({name}.png)", drawing.caption, _table(own)]
    purities, agreements = read_words(directory, words_of)
    if purities:
        blocks += ["## Word classes", WORD_CLASSES, _purity_table(purities)]
    if agreements:
        blocks += ["## Exchangeable words", EXCHANGEABLE, _agreement_table(agreements)]
    blocks += ["## How to read this", bullets(EXPLANATION)]
    runs.write_text(folder / "similarity.csv", csv_text([_row(finding) for finding in findings]))
    runs.write_text(folder / PAGE, "\n\n".join(blocks) + "\n")
    return folder / PAGE, headlines


def headline(findings: Sequence[Finding]) -> str:
    """Which of the two tables the tied one ends nearer to by all measures, plainly and less the ceilings."""
    last = [f for f in findings if f.band == "all" and f.point == f.n_points - 1]
    sides = {gap.side for f in last for gap in (f.found.plain, f.found.less_ceiling)}
    plain = ", ".join(f"{TITLES[f.measure]} {_gap(f.found.plain)}" for f in last)
    less = ", ".join(_gap(f.found.less_ceiling) for f in last)
    name, untied = code(last[0].arm), code(last[0].untied)
    finding = f"Whether {name} ends nearer to the input or to the output tables of {untied} is not settled"
    if len(sides) == 1 and (side := sides.pop()):
        finding = f"{name} ends nearer to the {side} tables of {untied}"
    return f"{finding}: gap {plain}; less the ceilings {less}; {last[0].found.n_pairs} pairs of runs."


def _gap(gap: Gap) -> str:
    if gap.low is None or gap.high is None:
        return f"{fixed(gap.value, 3)} (no interval)"
    return f"{fixed(gap.value, 3)} ({fixed(gap.low, 3)} to {fixed(gap.high, 3)})"


def _table(findings: Sequence[Finding]) -> str:
    """The start and the end, every band."""
    rows = []
    for f in findings:
        if f.point in (0, f.n_points - 1):
            numbers = [fixed(of[role], 3) for role in ROLES for of in (f.found.to, f.found.ceiling)]
            rows.append(
                [TITLES[f.measure], f"{f.step:,}", f.band, *numbers, _gap(f.found.plain), _gap(f.found.less_ceiling)]
            )
    rows.sort(key=lambda row: row[0])
    header = [
        "measure",
        "step",
        "pieces",
        "to input",
        "ceiling",
        "to output",
        "ceiling",
        "gap (95 %)",
        "gap less ceilings",
    ]
    return markdown_table(header, rows, n_text=3)


def _purity_table(purities: Sequence[Purity]) -> str:
    rows = [
        [code(p.arm), p.task, code(f"{p.stack} {p.role}"), f"{p.n_words:,}", fixed(p.share, 3), fixed(p.chance, 3)]
        for p in purities
    ]
    return markdown_table(["arm", "task", "table", "words", "of one class", "by chance"], rows, n_text=3)


def _agreement_table(agreements: Sequence[Agreement]) -> str:
    rows = []
    for a in agreements:
        names = [code(a.arm), a.task, code(f"{a.stack} {a.role}")]
        rows.append([*names, f"{a.n_pairs:,}", fixed(a.exchangeable, 3), fixed(a.of_class, 3)])
    return markdown_table(["arm", "task", "table", "pairs", "synonyms", "one class"], rows, n_text=3)


def _row(f: Finding) -> dict[str, Any]:
    row = {"task": f.task, "arm": f.arm, "untied": f.untied, "stack": f.stack, "step": f.step, "pieces": f.band}
    for role in ROLES:
        row |= {f"to_{role}": f.found.to[role], f"ceiling_{role}": f.found.ceiling[role]}
    for name, gap in (("gap", f.found.plain), ("gap_less_ceilings", f.found.less_ceiling)):
        row |= {name: gap.value, f"{name}_low": gap.low, f"{name}_high": gap.high}
    return row | {"measure": f.measure, "pairs": f.found.n_pairs}
