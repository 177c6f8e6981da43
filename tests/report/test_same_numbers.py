"""Every number is the same in arms.json, arms.csv, on both pages and in LaTeX."""

import csv
import json
import re

import pytest

from fabricated import make_config, write_run
from tietrain.report.write import write_report
from tietrain.runs.scores import SCORES

LOSSES = {"none": (2.50, 2.56, 2.47), "pre_softmax": (2.41, 2.46, 2.42), "three_way": (2.71, 2.70, 2.60)}


@pytest.fixture
def report(tmp_path, no_figures):
    for label, losses in LOSSES.items():
        for seed, loss in enumerate(losses, start=1):
            write_run(tmp_path, make_config("mt", label, seed), loss=loss)
    write_run(tmp_path, make_config("mt", "three_way", 4), status="diverged")
    write_report(tmp_path)
    return tmp_path / "report"


def row_of(lines, start):
    (found,) = [line for line in lines if line.startswith(start)]
    return found


def test_write_report_has_the_same_numbers_in_every_file(report):
    bodies = {body["name"]: body for body in json.loads((report / "arms.json").read_text())}
    rows = {row["name"]: row for row in csv.DictReader((report / "arms.csv").read_text().splitlines())}
    page = (report / "report.md").read_text().partition("What seeds can show")[0].splitlines()
    html = re.findall(r"<tr class=.*?</tr>", (report / "report.html").read_text(), flags=re.DOTALL)
    tables = [
        (report / f"mt_{name}.tex").read_text().replace("{}", "").replace("$-$", "-").splitlines()
        for name in ("arms", "verdicts")
    ]
    assert bodies.keys() == rows.keys() == LOSSES.keys()
    for name, body in bodies.items():
        row, bleu, judged = rows[name], body["scores"]["test"]["bleu"], body["verdict"]
        values = [60 - 12 * (loss + 0.02) for loss in LOSSES[name]]
        assert bleu["mean"] == pytest.approx(sum(values) / 3)
        assert [row[f"test.bleu.{key}"] for key in ("mean", "sd", "n")] == [str(value) for value in bleu.values()]
        assert row["params"] == str(body["params"])
        assert all(row[f"verdict.{key}"] == ("" if value is None else str(value)) for key, value in judged.items())
        mean, params = f"{bleu['mean']:.1f}", f"{body['params']:,}"
        in_html = row_of(html, f'<tr class="arm{list(LOSSES).index(name)}"')
        in_page, in_arms, in_verdicts = (
            row_of(lines, start)
            for lines, start in zip(
                (page, *tables), (f"| `{name}`", *[name.replace("_", r"\_") + " &"] * 2), strict=True
            )
        )
        assert f'data-by="{bleu["mean"]}"' in in_html and f">{mean}<" in in_html and f">{params}<" in in_html
        assert f"| {mean} ± {bleu['sd']:.1f} (3) |" in in_page
        shown = rf"{mean} \ensuremath{{\pm}} {bleu['sd']:.1f} (3)"
        is_best = bleu["mean"] == max(other["scores"]["test"]["bleu"]["mean"] for other in bodies.values())
        in_bold = rf"\textbf{{{shown}}}" if is_best else shown
        assert f"& {in_bold} & {params} &" in in_arms
        assert all(judged["verdict"] in text for text in (in_html, in_page, in_verdicts))
        if judged["baseline"]:
            difference, interval = f"{judged['difference']:+.2f}", f"[{judged['low']:+.2f}, {judged['high']:+.2f}]"
            assert f'data-by="{judged["difference"]}"' in in_html and f">{difference}<small>{interval}<" in in_html
            p = f"{judged['p_holm']:.2g}"
            assert f"| {difference} {interval} | {p} |" in in_page
            assert f"& {difference} {interval} & {p} & " in in_verdicts
        assert f"{judged['n_diverged']} of {judged['n_ended']}" in in_html
    assert bodies["three_way"]["verdict"]["n_diverged"] == 1


@pytest.mark.parametrize(
    ("name", "value", "clipped"),
    [
        ("bleu", 120.0, 100.0),
        ("bleu", -3.0, 0.0),
        ("legal", 1.2, 1.0),
        ("excess_nats", -0.1, -0.1),
        ("ppl_token", 900.0, 900.0),
    ],
)
def test_clip_keeps_to_the_bounds_of_a_score_that_has_some(name, value, clipped):
    assert SCORES[name].clip(value) == clipped
