"""The table of arms and the table of verdicts for a paper: LaTeX with booktabs, every string escaped."""

import re
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

# The sign of a number, as it is escaped, and not a hyphen inside a name.
MINUS = re.compile(r"(?<![\w.])-\{\}(?=\d)")


def escape_latex(text: str) -> str:
    """Text that LaTeX sets unchanged; a character that common fonts lack becomes a question mark.

    >>> escape_latex("a_b & 5 %")
    'a\\\\_b \\\\& 5 \\\\%'
    """
    return "".join(
        SPECIAL.get(c) or (c if c.isascii() or (c.isalpha() and ord(c) < 0x180) else "?") for c in clean_text(text)
    )


def arms_table(comparison: Comparison, verdicts: Verdicts) -> str:
    """One row per arm: score, parameters, saved, FLOPs, diverged. The best mean is bold."""
    declared = verdicts.declared
    score = declared.score
    header = ["arm", f"{score.title} ({declared.split})", "parameters", "saved", "training FLOPs", "diverged"]
    stats = [make_stat([*arm_verdict.values.values()]) for arm_verdict in verdicts.arms]
    best = max((score.sign * stat.mean for stat in stats if stat), default=None)
    rows = []
    for arm_verdict, stat in zip(verdicts.arms, stats, strict=True):
        arm = arm_verdict.arm
        shown = cell(score_text(stat, score))
        is_best = stat is not None and score.sign * stat.mean == best
        row = [
            count(arm.first.params),
            saved_text(arm.first),
            stat_text(arm.total("flops"), powers),
            f"{arm_verdict.n_diverged} of {arm_verdict.n_ended}",
        ]
        rows.append([cell(arm.name), rf"\textbf{{{shown}}}" if is_best else shown, *map(cell, row)])
    caption = f"{comparison.title}. Mean ± standard deviation (seeds), the best mean in bold; parameters count a shared tensor once."
    return _table(header, rows, caption, f"tab:{comparison.slug}-arms", "l" + "r" * (len(header) - 1))


def verdicts_table(comparison: Comparison, verdicts: Verdicts) -> str:
    """One row per arm: difference to the baseline with its interval, p values, verdict."""
    declared = verdicts.declared
    rows = []
    for arm_verdict in verdicts.arms:
        test = arm_verdict.test
        ps = [test.p, test.p_equivalent, test.p_not_worse] if test else [None] * 3
        difference = difference_text(arm_verdict, declared.score)
        rows.append([*map(cell, [arm_verdict.arm.name, difference, *map(p_text, ps), arm_verdict.verdict])])
    header = ["arm", "difference [95 %]", "p Holm", "p equivalent", "p not worse", "verdict"]
    caption = f"{comparison.title}: {declared.score.title} on {declared.split}, against {declared.baseline}, over training seeds."
    return _table(header, rows, caption, f"tab:{comparison.slug}-verdicts", "l" + "r" * (len(header) - 2) + "l")


def cell(text: str) -> str:
    """Text as `escape_latex` sets it, with the minus signs of numbers as such.

    >>> cell("-0.5 [-1.2, 0.2] of seq2seq-3")
    '$-$0.5 {}[$-$1.2, 0.2] of seq2seq-{}3'
    """
    return MINUS.sub("$-$", escape_latex(text))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str, columns: str) -> str:
    """Cells of rows are LaTeX already. columns: how each is aligned."""
    head, *body = [" & ".join(row) + r" \\" for row in ([*map(escape_latex, header)], *rows)]
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
