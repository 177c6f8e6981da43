"""The table of arms and the table of verdicts for a paper: LaTeX with booktabs, every string escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tietrain.report.arms import Comparison, make_stat
from tietrain.report.pages.headline import saved_text
from tietrain.report.pages.markup import count, fixed, powers
from tietrain.report.pages.tables import stat_text
from tietrain.report.pages.verdict_text import difference_text, p_text
from tietrain.report.verdicts import Verdicts
from tietrain.runs.view import clean_text

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''{}",
    "±": r"\ensuremath{\pm}",
    "—": "---",
    "…": r"\ldots{}",
    # Two of these would be a ligature.
    "-": "-{}",
    "'": "'{}",
    "`": "`{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it is; what no common font of it has becomes a question mark.

    >>> escape_latex("a_b & 5 %")
    'a\\\\_b \\\\& 5 \\\\%'
    """
    return "".join(
        SPECIAL.get(c) or (c if c.isascii() or (c.isalpha() and ord(c) < 0x180) else "?") for c in clean_text(text)
    )


def arms_table(comparison: Comparison, judgement: Verdicts) -> str:
    """One row an arm: score, parameters, saved, FLOPs, seconds, seeds, diverged, verdict."""
    score = judgement.declared.score
    header = ["arm", f"{score.title} ({judgement.declared.split})", "parameters", "saved", "training FLOPs", "seconds"]
    rows = []
    for arm in comparison.arms:
        one = judgement.of(arm)
        stat = make_stat([value * score.scale for value in one.values.values()])
        cells = [
            arm.name,
            stat_text(stat, lambda v: fixed(v, score.decimals)),
            count(arm.first.params),
            saved_text(arm),
        ]
        cells += [stat_text(arm.total("flops"), powers), stat_text(arm.total("seconds"), count)]
        rows.append([*cells, str(len(arm.done)), f"{one.n_diverged} of {one.n_ended}", one.verdict])
    caption = f"{comparison.title}. Mean ± standard deviation (seeds); parameters count a shared tensor once."
    return _table([*header, "seeds", "diverged", "verdict"], rows, caption, f"tab:{comparison.slug}-arms")


def verdicts_table(comparison: Comparison, judgement: Verdicts) -> str:
    """One row an arm: difference to the baseline with its interval, p values, verdict."""
    score = judgement.declared.score
    rows = []
    for one in judgement.arms:
        ps = [one.paired.p_sign_flip if one.paired else None, one.p_holm, one.p_equivalent]
        shown = ["—" if p is None else p_text(p) for p in ps]
        rows.append([one.arm.name, difference_text(one, score), *shown, one.verdict])
    header = ["arm", "difference [95 %]", "p sign-flip", "p Holm", "p equivalent", "verdict"]
    caption = (
        f"{comparison.title}: {score.title} on {judgement.declared.split}, paired with {judgement.declared.baseline} "
        "by training seed."
    )
    return _table(header, rows, caption, f"tab:{comparison.slug}-verdicts")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str) -> str:
    """The first column is left, and so is the last, which is words."""
    # A row that begins with a bracket would be an argument of the line end before it.
    lines = [
        " & ".join(re.sub(r"^\[", "{[}", escape_latex(cell)) for cell in cells) + r" \\" for cells in (header, *rows)
    ]
    return (
        "\n".join(
            [
                r"% \usepackage{booktabs}",
                r"\begin{table}",
                r"\centering",
                rf"\begin{{tabular}}{{l{'r' * (len(header) - 2)}l}}",
                r"\toprule",
                lines[0],
                r"\midrule",
                *lines[1:],
                r"\bottomrule",
                r"\end{tabular}",
                rf"\caption{{{escape_latex(caption)}}}",
                rf"\label{{{label}}}",
                r"\end{table}",
            ]
        )
        + "\n"
    )
