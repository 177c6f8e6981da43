"""LaTeX tables: no string of a file is a command, a comment, or the end of a cell."""

import re
import shutil
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fabricated import make_config, write_run, write_study
from tietrain.report.arms import compare, make_arms
from tietrain.report.pages.latex import arms_table, cell, escape_latex, verdicts_table
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
        columns = re.search(r"\\begin\{tabular\}\{(l+r*l?)\}", table)[1]
        rows = [line for line in table.splitlines() if line.endswith(r" \\")]
        assert len(rows) == 1 + 3
        assert all(len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1 for row in rows)
        assert [table.count(rf"\{rule}rule") for rule in ("top", "mid", "bottom")] == [1, 1, 1]
        assert len(columns) <= 7
        assert r"pre\_softmax" in table and table.count("{") == table.count("}")


def test_best_mean_is_bold(tmp_path):
    for label, loss in (("none", 3.0), ("pre_softmax", 2.5), ("embeddings", 2.5)):
        write_run(tmp_path, make_config("mt", label, 1), loss=loss)
    (comparison,) = compare(make_arms(collect(tmp_path)))
    rows = [
        row.split(" & ") for row in arms_table(comparison, judge(comparison, tuned=False)).splitlines() if " & " in row
    ]
    assert [row[0] for row in rows if row[1].startswith(r"\textbf{")] == ["embeddings", r"pre\_softmax"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no LaTeX here")
def test_tables_compile(tmp_path):
    (comparison, _) = compare(make_arms(collect(write_study(tmp_path / "runs", seeds=(1, 2, 3)))))
    verdicts = judge(comparison, tuned=False)
    hostile = cell("\\input{x} % $x^2$ & # ~ [b] \u2014 \u2026 -1 a--b 'q'")
    body = [arms_table(comparison, verdicts), verdicts_table(comparison, verdicts), hostile]
    packages = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs}"
    (tmp_path / "paper.tex").write_text("\n".join([packages, r"\begin{document}", *body, r"\end{document}"]))
    command = ["pdflatex", "-interaction=batchmode", "-halt-on-error", "paper.tex"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert ran.returncode == 0, (tmp_path / "paper.log").read_text(errors="replace")[-2000:]
