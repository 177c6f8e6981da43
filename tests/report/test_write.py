"""The report as files: its page, its tables, and that equal runs give equal bytes."""

import csv
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fabricated import MACHINE, digest, make_config, write_run, write_study
from foreign import tree
from tietrain.config import MatchConfig, ReportConfig
from tietrain.errors import DataError, SettingsError, StorageError
from tietrain.report import load
from tietrain.report.arms import compare, make_arms
from tietrain.report.differences import (
    describe_differences,
    describe_matching,
    fingerprint_warnings,
    signature_warnings,
)
from tietrain.report.reads import READS
from tietrain.report.write import report_rows, write_report
from tietrain.runs import record as runs
from tietrain.runs.scores import SCORES
from tietrain.runs.view import collect

FIGURES = (
    *("loss_tokens", "loss_flops", "loss_seconds", "quality_parameters", "parameters_by_part"),
    *("owner_map", "flops_training", "flops_length", "differences"),
)


@pytest.fixture
def page_of(no_figures):
    """The page of a folder of runs, without figures."""
    return lambda root: write_report(root).markdown.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    write_study(root)
    return root, write_report(root)


def test_write_report_files(study):
    root, paths = study
    names = {path.name for path in paths.files}
    drawn = {f"{task}_{figure}.{ext}" for task in ("lm", "mt") for figure in FIGURES for ext in ("png", "svg", "csv")}
    kinds = ("arms.tex", "verdicts.tex", "method.txt", "convergence.csv", "differences.pdf")
    texts = {f"{task}_{name}" for task in ("lm", "mt") for name in kinds}
    assert names == drawn | texts | {
        "report.html",
        "report.md",
        "runs.csv",
        "runs.json",
        "arms.csv",
        "arms.json",
        READS,
    }
    assert {path.name for path in (root / "report").iterdir()} == names
    assert paths.markdown == root / "report" / "report.md"


def write_seeds(root, seeds, report):
    for seed in seeds:
        for label, by in (("none", 0.0), ("pre_softmax", -0.3)):
            config = replace(make_config("lm", label, seed), report=report)
            write_run(root, config, loss=2.5 + by + 0.001 * (seed % 3))


@pytest.mark.parametrize("looks", [[], [3, 6]])
def test_write_report_counts_looks(tmp_path, page_of, looks):
    """Seeds that were added after a look that nobody declared make a verdict exploratory; reading again does not."""
    report = ReportConfig(looks=looks)
    write_seeds(tmp_path, (1, 2, 3), report)
    assert "Exploratory" not in page_of(tmp_path) + page_of(tmp_path)
    assert [read["seeds"] for read in json.loads((tmp_path / "report" / READS).read_text())["lm"]] == [3]
    write_seeds(tmp_path, (4, 5, 6), report)
    assert ("Exploratory" in page_of(tmp_path)) == (not looks)
    assert [read["seeds"] for read in json.loads((tmp_path / "report" / READS).read_text())["lm"]] == [3, 6]
    exploratory = [row["verdict"]["verdict"] == "no verdict (exploratory)" for row in report_rows(tmp_path)]
    assert exploratory == [False, not looks]
    assert set(load(tmp_path).verdict) == {row["verdict"]["verdict"] for row in report_rows(tmp_path)}


def test_write_report_refuses_a_damaged_record_of_looks(tmp_path, page_of):
    write_seeds(tmp_path, (1, 2), ReportConfig())
    page_of(tmp_path)
    (tmp_path / "report" / READS).write_text('{"lm": [1]}')
    with pytest.raises(DataError, match="when the report was read"):
        page_of(tmp_path)


def test_write_report_keeps_files_of_the_user(tmp_path, page_of):
    write_seeds(tmp_path, (1, 2), ReportConfig())
    page_of(tmp_path)
    (tmp_path / "report" / "notes.md").write_text("mine")
    page_of(tmp_path)
    assert (tmp_path / "report" / "notes.md").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_write_report_on_a_full_disk_leaves_the_earlier_report(tmp_path, page_of, monkeypatch):
    """Whichever write it is that fails."""
    write_seeds(tmp_path, (1, 2), ReportConfig())
    page_of(tmp_path)
    write_seeds(tmp_path, (3,), ReportConfig())
    before = tree(tmp_path)
    write = runs.write_bytes
    for n_written in range(10):
        left = [n_written]

        def refuse_after(path, content, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise StorageError(f"writing {path}", "no space", "make room")
            write(path, content)

        monkeypatch.setattr(runs, "write_bytes", refuse_after)
        with pytest.raises(StorageError):
            page_of(tmp_path)
        assert tree(tmp_path) == before


def test_write_report_refuses_a_folder_of_unreadable_runs(tmp_path, page_of):
    (tmp_path / runs.RUN).write_text("mine")
    with pytest.raises(SettingsError):
        page_of(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [runs.RUN]


def test_page_has_links_and_headings(study):
    root, paths = study
    page = paths.markdown.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (root / "report" / link).is_file(), link
    assert page.startswith("# Study `demo`\n\n9 runs: 9 done. 9 arms in 2 comparisons.")
    assert page.count(" corpus (at one common rate, 1 seed)\n") == 2
    assert page.count("One seed gives no interval, no p and no verdict") == 2
    assert page.count("| no verdict (one seed) |") == 7 and not re.search(r"\| (better|worse|equivalent)", page)
    assert "| `three_way` | 1 of 1 | 1 | 1,506,432 | 256,000 (14.5 %) |" in page
    assert "oracle BLEU" in page and "`nrefs:1|case:mixed" in page
    assert "left out of every mean" not in page
    assert "empty:" not in page  # the runs give a reason for bits per byte of `held`, and the value too
    assert not re.search(r"\b(best arm|winner|wins|outperforms)\b", page)


def test_page_does_not_rank_across_vocabularies(study):
    _, paths = study
    page = paths.markdown.read_text(encoding="utf-8")
    lm, mt = page.split("## Translation")
    assert "ppl/token †" in mt and "excess bits/byte" in mt
    assert "†" not in lm
    rows = list(csv.DictReader((paths.markdown.parent / "mt_quality_parameters.csv").read_text().splitlines()))
    assert {row["score"] for row in rows} == {"excess_bits_per_byte", "bleu"}


def test_page_has_the_scores_and_splits_of_any_run(tmp_path, page_of):
    for label in ("none", "shared_vocab"):
        directory = write_run(tmp_path, make_config("mt", label, 1))
    body = json.loads((directory / runs.EVAL).read_text())
    test = body["splits"].pop("test") | {"chrf++": 51.25, "ter": 44.125, "length_ratio": 0.9876}
    body["splits"] |= {"test_2017": test, "test_coco": test}
    body["checkpoint"] = {"step": 300, "averaged_steps": [270, 300], "chosen_by": "mean of the last 2 evaluations"}
    runs.write_json(directory / runs.EVAL, body)
    page = page_of(tmp_path)
    heading = "| arm | vocabulary | stored parameters | excess bits/byte | BLEU | oracle BLEU | chrF | chrF++ | TER | length ratio |"
    assert page.count(heading) == 5  # test and held, test_2017 and test_coco, valid
    assert "| 51.2 | 44.1 | 0.988 |" in page and SCORES["ter"].meaning in page
    titles = [title.replace("\\", "") for title in re.findall(r"### Scores on (\S+)", page)]
    assert titles == ["test", "held", "test_2017", "test_coco", "valid"]
    assert (
        "Scored weights: `lowest nats_per_token on valid` or `mean of the last 2 evaluations`, at step `300`." in page
    )


def test_page_gives_reasons_for_empty_cells(tmp_path, page_of):
    directory = write_run(tmp_path, make_config("lm", "none", 1))
    body = json.loads((directory / runs.EVAL).read_text())
    body["splits"]["held"]["bits_per_byte"] = None
    body["splits"]["test"]["ppl_word"] = None
    runs.write_json(directory / runs.EVAL, body)
    page = page_of(tmp_path)
    assert "— (1)" in page and "(1) empty: 3 tokens are &lt;unk&gt; and spell no bytes" in page
    assert "(1) empty: not recorded by the run" in page


def test_page_of_several_seeds(tmp_path, page_of):
    for seed, loss in ((1, 2.0), (2, 2.2), (3, 2.4)):
        write_run(tmp_path, make_config("lm", "none", seed), loss=loss)
    write_run(tmp_path, make_config("lm", "none", 4), status="diverged", reason="loss is nan | at <step> `150`")
    page = page_of(tmp_path)
    assert "3 of 4; diverged 1 of 4 (unstable)" in page
    assert "(at one common rate, 3 seeds)" in page
    assert "0.220 ± 0.200 (3)" in page
    assert r"loss is nan \| at &lt;step&gt; \`150\`" in page
    rows = report_rows(tmp_path)
    assert rows[0]["scores"]["valid"]["nats_per_token"] == {
        "mean": pytest.approx(2.2),
        "sd": pytest.approx(0.2),
        "n": 3,
    }


def test_page_lists_runs_of_every_status(tmp_path, page_of):
    write_run(tmp_path, make_config("lm", "none", 1))
    for seed, status in enumerate(("running", "failed", "diverged", "interrupted", "not_applicable"), start=2):
        arm = {"arm": ""} if status == "not_applicable" else {}
        write_run(tmp_path, make_config("lm", "none", seed), status=status, folder=status, **arm)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / runs.RUN).write_text("{")
    torn = write_run(tmp_path, make_config("lm", "none", 9), folder="half")
    (torn / runs.EVAL).unlink()
    page = page_of(tmp_path)
    table = page.split("## Runs left out of every mean")[1]
    for text in ("running", "failed", "diverged", "interrupted", "not applicable", "unreadable", "damaged"):
        assert f"| {text} |" in table
    assert "it is not JSON" in table and "eval.json" in table
    assert "**Warning:**" not in page
    assert [row["statuses"] for row in report_rows(tmp_path) if not row["arm"]] == [
        {"not_applicable": 1},
        {"unreadable": 1},
    ]


def test_page_joins_left_out_runs_of_one_reason(tmp_path, page_of):
    """Seeds of a scheme that does not fit are one row, after those that failed."""
    write_run(tmp_path, make_config("lm", "none", 1))
    for seed in (1, 2, 3):
        for label in ("three_way", "shared_vocab"):
            said = {"status": "not_applicable", "arm": "", "label": label, "reason": f"{label} joins two languages"}
            write_run(tmp_path, make_config("lm", "none", seed), folder=f"{label}-{seed}", **said)
    write_run(tmp_path, make_config("lm", "pre_softmax", 1), status="failed", reason="no memory")
    page = page_of(tmp_path)
    rows = page.split("## Runs left out of every mean")[1].split("## Files")[0].strip().split("\n")[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| failed", "| not applicable", "| not applicable"]
    assert "`shared_vocab` | 1, 2, 3 | — | shared\\_vocab joins two languages | `shared_vocab-1`, " in rows[1]
    assert page.count("joins two languages") == 2


def test_page_without_finished_runs(tmp_path, page_of):
    write_run(tmp_path, make_config("lm", "none", 1), status="running")
    page = page_of(tmp_path)
    assert "(no finished run)" in page and "| running |" in page


def test_page_of_unreadable_runs(tmp_path, page_of):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    runs.write_record(tmp_path / "a", runs.RunRecord("a", "study", "none", "lm", "failed"))
    (tmp_path / "b" / runs.RUN).write_text("[]")
    page = page_of(tmp_path)
    assert "nothing to compare" in page and "| unreadable | — | — | — | — | " in page


def test_page_shows_warnings(tmp_path, page_of):
    """Of machines, seeds, signatures and batches; and sentences about matching."""
    write_run(tmp_path, make_config("lm", "none", 1))
    config = replace(make_config("lm", "pre_softmax", 2), match=MatchConfig(by="params", baseline="none"))
    write_run(tmp_path, config, machine=MACHINE | {"device": "cuda"})
    directory = write_run(tmp_path, make_config("lm", "cross_layer", 1), fingerprints={"corpus": digest("corpus")})
    body = json.loads((directory / runs.EVAL).read_text())
    runs.write_json(directory / runs.EVAL, body | {"signatures": {"bleu": "a"}})
    sign = write_run(tmp_path, make_config("lm", "none", 3))
    runs.write_json(sign / runs.EVAL, json.loads((sign / runs.EVAL).read_text()) | {"signatures": {"bleu": "b"}})
    page = page_of(tmp_path)
    assert "**Warning:** `machine device` is not the same in all runs" in page
    assert "not run with the same seeds" in page
    (comparison,) = compare(make_arms(collect(tmp_path)))
    for sentence in (*signature_warnings(comparison), *fingerprint_warnings(comparison)):
        assert f"**Warning:** {sentence}" in page
    for sentence in (*describe_differences(comparison), *describe_matching(comparison)):
        assert sentence in page


def test_write_report_of_hostile_text_and_extreme_numbers(tmp_path):
    """Labels that are markup, formulas or mathematics, and extreme numbers, still give a page and figures."""
    hostile = "=$x^{$ <b>|`\u4e2d\u202e\n## x"
    directory = write_run(tmp_path, make_config("mt", "none", 1), label=hostile, study=hostile, notes=[hostile])
    record = (directory / runs.RUN).read_text(encoding="utf-8")
    half_a_pair = record.replace("\u4e2d", "\\ud800\u4e2d")
    (directory / runs.RUN).write_text(half_a_pair, encoding="utf-8")
    (directory / runs.METRICS).write_text(
        "".join(
            json.dumps({"step": i, "tokens": t, "flops": 0, "split": "valid", "nats_per_token": n}) + "\n"
            for i, (t, n) in enumerate([(0, 1e99), (1e99, -1e-99), (-5, 3)])
        )
    )
    page = write_report(tmp_path).markdown.read_text(encoding="utf-8")
    assert "<b>" not in page and "\n## x" not in page
    assert (tmp_path / "report" / "arms.csv").read_text().splitlines()[1].split(",")[1].startswith("'=")


def test_write_report_of_many_arms(tmp_path):
    for i in range(12):
        config = make_config("lm", "none", 1)
        write_run(tmp_path, replace(config, optim=replace(config.optim, lr=0.001 * (i + 1))))
    page = write_report(tmp_path).markdown.read_text(encoding="utf-8")
    assert "at 12 rates, none of them tuned, 1 seed" in page


def test_write_report_gives_equal_bytes_for_equal_runs(tmp_path):
    write_run(tmp_path, make_config("mt", "three_way", 1))
    first, second = ({p: p.read_bytes() for p in write_report(tmp_path).files} for _ in range(2))
    assert first == second


def test_write_report_refuses_a_folder_without_runs(tmp_path):
    with pytest.raises(DataError) as refused:
        write_report(tmp_path)
    assert refused.value.setting == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_write_report_refuses_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr("tietrain.report.write.draw_all", lambda *_: [])
    write_run(tmp_path, make_config("lm", "none", 1))
    (tmp_path / "report").write_text("in the way")
    with pytest.raises(StorageError) as refused:
        write_report(tmp_path)
    assert str(tmp_path / "report") in refused.value.setting


def test_write_report_loads_no_torch():
    """On another machine, years later: the report loads neither torch nor any configuration library, nor pyplot."""
    program = (
        "import sys, tietrain.report.write;"
        "print(sorted(m for m in ('torch', 'hydra', 'omegaconf', 'datasets', 'matplotlib.pyplot')"
        " if m in sys.modules))"
    )
    source = str(Path(runs.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={"PYTHONPATH": source}, check=True
    )
    assert done.stdout.strip() == "[]"


def test_write_report_of_many_comparisons_draws_what_their_verdicts_need(tmp_path, monkeypatch):
    """Two are many here; the captions say when the others are drawn."""
    write_study(tmp_path)
    monkeypatch.setattr("tietrain.report.write.MOST_DRAWN", 1)
    paths = write_report(tmp_path)
    drawn = {path.name for path in paths.files if path.suffix == ".png"}
    assert drawn == {f"{task}_{name}.png" for task in ("lm", "mt") for name in ("differences", "quality_parameters")}
    assert "at most 1 comparisons" in paths.markdown.read_text(encoding="utf-8")
