"""`tietrain report --tensorboard`: the tables as text, and mean curves that lie over those of the runs."""

from statistics import fmean

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fabricated import make_config, write_run
from tietrain.cli.main import main
from tietrain.report.arms import compare, make_arms
from tietrain.report.pages.tensorboard_report import write_tensorboard_report
from tietrain.report.verdicts import judge
from tietrain.report.write import write_report
from tietrain.runs import record as runs
from tietrain.runs.metrics import read_metrics
from tietrain.runs.view import collect


def read_back(folder):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return events


def points(events, tag):
    return [(p.step, p.value) for p in events.Scalars(tag)]


@pytest.fixture
def demo(tmp_path, no_figures):
    for label, loss in (("none", 3.0), ("three_way", 2.5)):
        for seed in (1, 2):
            write_run(tmp_path, make_config("mt", label, seed), loss=loss + seed / 10)
    return tmp_path


def test_write_tensorboard_report_has_tables_as_text_and_one_run_per_arm(demo, capsys):
    for _ in range(2):  # the second replaces the first
        assert main(["report", "--tensorboard", str(demo)]) == 0
    folder = demo / "report" / "tb"
    found = sorted(str(path.parent.relative_to(folder)) for path in folder.rglob("events*"))
    assert found == [".", "mt/none", "mt/three_way"]
    ((event,),) = (read_back(folder).Tensors(tag) for tag in ["comparison/mt"])
    page, report = event.tensor_proto.string_val[0].decode(), capsys.readouterr().out
    tables = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(tables) > 4
    assert set(tables) <= set(report.splitlines())


def test_write_tensorboard_report_has_the_mean_of_seeds_under_the_tags_of_runs(demo):
    write_report(demo, tensorboard=True)
    events = read_back(demo / "report" / "tb" / "mt" / "none")
    of_arm = [read_metrics(path) for path in runs.find_runs(demo) if "-none-" in path.name]
    looks = [[row for row in rows if row["split"] == "valid"] for rows in of_arm]
    assert len(looks) == 2
    for tag, axis in (
        ("valid/nats_per_token", lambda r: r["tokens"]),
        ("by_flops/valid/nats_per_token", lambda r: r["flops"] / 1e6),
    ):
        expected = [
            (round(fmean(map(axis, at))), pytest.approx(fmean(r["nats_per_token"] for r in at)))
            for at in zip(*looks, strict=True)
        ]
        assert points(events, tag) == expected
    params = runs.read_json(next(demo.glob("*-none-*")) / runs.LEDGER)["params"]
    bleus = [runs.read_json(path / runs.EVAL)["splits"]["test"]["bleu"] for path in demo.glob("*-none-*")]
    assert points(events, "by_params/test/bleu") == [(params, pytest.approx(fmean(bleus)))]


def test_write_tensorboard_report_stays_in_its_folder(demo):
    write_run(demo, make_config("mt", "pre_softmax", 1), folder="x", label="../../../out")
    comparisons = compare(make_arms(collect(demo)))
    write_tensorboard_report(
        demo / "a" / "b" / "c" / "d", comparisons, {c.slug: judge(c, tuned=False) for c in comparisons}
    )
    found = {str(path.parent.relative_to(demo / "a")) for path in (demo / "a").rglob("events*")}
    assert found == {"b/c/d", "b/c/d/mt/none", "b/c/d/mt/three_way", "b/c/d/mt/out"}
    assert not (demo / "out").exists()
