"""The table of arms and the table of verdicts for a paper: LaTeX with booktabs, every string escaped."""

from collections.abc import Sequence

from tietrain.report.arms import Comparison, make_stat
from tietrain.report.pages.markup import count, powers
from tietrain.report.pages.tables import saved_text, score_text, stat_text
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
    # At the start of a row it would be an argument of the line end before it.
    "[": "{}[",
    # Two of these would be a ligature.
    "-": "-{}",
    "'": "'{}",
    "`": "`{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}


def escape_latex(text: str) -> str:
    """Text that LaTeX sets unchanged; a character that common fonts lack becomes a question mark.

    >>> escape_latex("a_b & 5 %")
    'a\\\\_b \\\\& 5 \\\\%'
    """
    return "".join(
        SPECIAL.get(c) or (c if c.isascii() or (c.isalpha() and ord(c) < 0x180) else "?") for c in clean_text(text)
    )


def arms_table(comparison: Comparison, verdicts: Verdicts) -> str:
    """One row per arm: score, parameters, saved, FLOPs, seconds, seeds, diverged, verdict."""
    score = verdicts.declared.score
    header = ["arm", f"{score.title} ({verdicts.declared.split})", "parameters", "saved", "training FLOPs", "seconds"]
    rows = []
    for arm_verdict in verdicts.arms:
        arm = arm_verdict.arm
        row = [
            arm.name,
            score_text(make_stat([*arm_verdict.values.values()]), score),
            count(arm.first.params),
            saved_text(arm.first, " parameters"),
            stat_text(arm.total("flops"), powers),
            stat_text(arm.total("seconds"), count),
            str(len(arm.done)),
            f"{arm_verdict.n_diverged} of {arm_verdict.n_ended}",
            arm_verdict.verdict,
        ]
        rows.append(row)
    caption = f"{comparison.title}. Mean ± standard deviation (seeds); parameters count a shared tensor once."
    return _table([*header, "seeds", "diverged", "verdict"], rows, caption, f"tab:{comparison.slug}-arms")


def verdicts_table(comparison: Comparison, verdicts: Verdicts) -> str:
    """One row per arm: difference to the baseline with its interval, p values, verdict."""
    declared = verdicts.declared
    rows = []
    for arm_verdict in verdicts.arms:
        test = arm_verdict.test
        ps = [test.p, test.p_equivalent, test.p_not_worse] if test else [None] * 3
        difference = difference_text(arm_verdict, declared.score)
        rows.append([arm_verdict.arm.name, difference, *map(p_text, ps), arm_verdict.verdict])
    header = ["arm", "difference [95 %]", "p Holm", "p equivalent", "p not worse", "verdict"]
    caption = f"{comparison.title}: {declared.score.title} on {declared.split}, against {declared.baseline}, over training seeds."
    return _table(header, rows, caption, f"tab:{comparison.slug}-verdicts")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str) -> str:
    """The first and the last column, which are words, are aligned left."""
    head, *body = [" & ".join(map(escape_latex, row)) + r" \\" for row in (header, *rows)]
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(header) - 2)}l}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
