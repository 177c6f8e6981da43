"""LaTeX tables: no string of a file is a command, a comment, or the end of a cell."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from fabricated import write_study
from tietrain.report.arms import compare, make_arms
from tietrain.report.pages.latex import arms_table, escape_latex, verdicts_table
from tietrain.report.verdicts import judge
from tietrain.runs.view import collect

OWN = r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|ldots|ensuremath\{\\pm\})"


@given(text=st.text(max_size=60))
@example(r"\input{/etc/passwd} % $x^2$ a_b & c \\ #1 ~")
def test_escape_latex_leaves_no_command_of_any_text(text):
    shown = escape_latex(text)
    assert shown.isascii() or all(ord(c) < 0x180 for c in shown)
    rest = re.sub(OWN, "", shown)
    rest = re.sub(r"\\[&%$#_{}]", "", rest).replace("{}", "")
    assert not set(rest) & set("\\&%$#_{}~^\n")


def test_tables_have_one_row_per_arm(tmp_path):
    comparison, _ = compare(make_arms(collect(write_study(tmp_path, seeds=(1, 2)))))
    verdicts = judge(comparison, tuned=False)
    for table in (arms_table(comparison, verdicts), verdicts_table(comparison, verdicts)):
        columns = re.search(r"\\begin\{tabular\}\{(l+r*l)\}", table)[1]
        rows = [line for line in table.splitlines() if line.endswith(r" \\")]
        assert len(rows) == 1 + 3
        assert all(len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1 for row in rows)
        assert [table.count(rf"\{rule}rule") for rule in ("top", "mid", "bottom")] == [1, 1, 1]
        assert r"pre\_softmax" in table and table.count("{") == table.count("}")
