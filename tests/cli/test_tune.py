"""A tuned arm: its list becomes runs, the best point is reported on fresh seeds, and nothing is trained twice."""

import json
from pathlib import Path

import pytest

from tietrain.cli.main import main
from tietrain.cli.status import read_status
from tietrain.cli.tune import make_points, reporting_runs, run_arm, tuning_runs
from tietrain.config import RunConfig, TuneConfig
from tietrain.config.compose import compose_config, initialized
from tietrain.config.identity import result_settings, run_name
from tietrain.config.stored import read_run_config
from tietrain.errors import SettingsError
from tietrain.runs import record as runs
from tietrain.train import job
from tietrain.train.outcome import Outcome

TWO = """name: two
points:
  - {optim.lr: 1e-3}
  - {optim.lr: 4e-3}
seeds: [7]
reporting_seeds: [1, 2]
"""
TINY = ["study=tuned", "data.preset=tiny", "model=tiny", "model.vocab_size=400", "train.batch_tokens=256"]
TINY += ["train.max_steps=2", "train.checkpoint_every=1", "train.log_every=1", "train.eval_every=2"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of the user's with a list of two points."""
    monkeypatch.chdir(tmp_path)
    Path("mine/tune").mkdir(parents=True)
    Path("mine/tune/two.yaml").write_text(TWO)
    return tmp_path


def points_of(*words):
    """As a cell of these words has them."""
    from hydra import compose

    with initialized(words, []) as search:
        return make_points(compose("config", overrides=[*words, *search]), words)


def test_every_point_with_every_seed(place):
    points = points_of("tune=rates", "tune.seeds=[101,102]", "tying=pre_softmax")
    tuning = [config for point in points for config in tuning_runs(point)]
    assert len(points) == 10 and len(tuning) == 20
    assert [(c.optim.lr, c.optim.warmup, c.seed, c.tune.point) for c in tuning[:3]] == [
        (5e-4, 0.05, 101, 1), (5e-4, 0.05, 102, 1), (5e-4, 0.2, 101, 2),
    ]  # fmt: skip
    reported = reporting_runs(points[9])
    assert [(c.optim.lr, c.seed, c.tune.role) for c in reported] == [(8e-3, s, "reporting") for s in range(1, 7)]
    assert len({run_name(config) for config in [*tuning, *reported]}) == 26


def test_a_run_is_known_by_its_part_in_the_list_and_an_untuned_one_as_before(place):
    (first, *_) = tuning_runs(points_of("tune=rates")[0])
    settings = result_settings(first)
    assert {k: settings[f"tune.{k}"] for k in ("name", "role", "point")} == {
        "name": "rates", "role": "tuning", "point": 1,
    }  # fmt: skip
    assert settings["tune.points.10.optim.lr"] == 8e-3
    assert not [key for key in result_settings(compose_config([])) if key.startswith("tune.")]
    assert run_name(RunConfig()).rpartition("-")[0] == "lm-none-s1"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optim.lr=1e-3"], "tune=rates optim.lr=1e-3: the list says it for every arm"),
        (["seed=3"], "tune=rates seed=3: the list says it for every arm; leave it out, or change tune.reporting_seeds"),
        (["run_dir=here"], "an arm has several runs; use study=NAME"),
        (["tune.points=[{optim.lr: 1}, {optim.lr: abc}]"], "tune=rates, point 2: optim.lr=abc: "),
        (["tune.points=[{optim.lrr: 1}]"], "point 1: optim.lrr=1: .*; did you mean optim.lr"),
        (["tune.points=[{optim.warmup: 0.7}]"], "point 1: optim.warmup=0.7: with optim.decay=0.4"),
        (["tune.points=[{model.d_ff: 8}]"], "point 1: model.d_ff is nothing a list may tune"),
        (["tune.points=[{optim.lr: 1}, {optim.lr: 1}]"], "point 2: it stands there twice"),
        (["tune.points=[]"], "tune.points is empty"),
        (["tune.points=[{}]"], "point 1: it sets nothing"),
        (["tune.seeds=[1]"], r"\[1\] chose the point too"),
        (["tune.seeds=[]"], "no list of different seeds"),
        (["tune.role=tuning"], "tune.role=tuning: tietrain writes it"),
        (["tune.point=3"], "tietrain writes it"),
    ],
)
def test_refusals(place, words, said):
    with pytest.raises(SettingsError, match=said):
        points_of("tune=rates", *words)


def test_seeds_without_a_list():
    with pytest.raises(SettingsError, match=r"tune\.seeds: no list is chosen; choose one: tune=NAME"):
        compose_config(["tune.seeds=[1]"])


def test_matched_arms_are_matched_at_every_point(place):
    points = points_of("tune=rates", "tying=pre_softmax", "match.by=params")
    assert {point.model.d_ff for point in points} == {680}
    assert {config.model.d_ff for config in reporting_runs(points[3])} == {680}
    assert json.dumps(points[0].match.solved, sort_keys=True) == json.dumps(points[9].match.solved, sort_keys=True)


def ran(scores, statuses=None):
    """The runs of an arm whose nth point gets the nth score (None: diverged), and what `run_arm` gives back."""
    tune = TuneConfig("t", [{"optim.lr": n + 1} for n in range(len(scores))], [7, 8], [1, 2])
    points = [RunConfig(tune=TuneConfig(**(vars(tune) | {"point": n + 1}))) for n in range(len(scores))]
    done = []

    def run(config):
        place = config.tune.point
        done.append((config.tune.role, place, config.seed))
        if statuses and (place, config.seed) in statuses:
            return Outcome("", statuses[place, config.seed], 1)
        score = scores[place - 1]
        return Outcome("", "diverged" if score is None else "done", valid=score)

    return done, run_arm(points, run)


@pytest.mark.parametrize(
    ("scores", "chosen", "mean"),
    [([3.0, 2.0, 2.5], 2, 2.0), ([2.0, 2.0], 1, 2.0), ([None, 4.0], 2, 4.0), ([None, None], 1, float("inf"))],
)
def test_the_chosen_point_is_run_on_the_reporting_seeds(scores, chosen, mean, capsys):
    done, value = ran(scores)
    n = len(scores)
    assert done[: 2 * n] == [("tuning", place, seed) for place in range(1, n + 1) for seed in (7, 8)]
    assert done[2 * n :] == [("reporting", chosen, 1), ("reporting", chosen, 2)]
    assert value == mean
    said = capsys.readouterr().err
    assert said.count("(chosen)") == 1 and f"  {chosen}: optim.lr={chosen}: " in said


@pytest.mark.parametrize("status", ["failed", "running_elsewhere", "interrupted"])
def test_no_point_is_chosen_before_all_have_ended(status, capsys):
    done, value = ran([3.0, 2.0], {(2, 7): status})
    assert value is None and len(done) == 4 and all(role == "tuning" for role, *_ in done)
    assert "tune=t: no point is chosen for none before its 1 other tuning runs" in capsys.readouterr().err


def test_an_arm_that_is_no_model_is_tried_once():
    done, value = ran([3.0, 2.0], {(1, 7): "not_applicable"})
    assert value is None and done == [("tuning", 1, 7)]


def test_plan_says_how_many_runs_an_arm_takes(place, capsys):
    assert main(["plan", "-m", "-cd", "mine", "tune=two", "tying=none,three_way", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["state"], first["trials"]) == ("new", "2 trials x 1 seed, then 2 seeds")
    assert second["state"] == "not_applicable"
    assert main(["plan", "tune=rates"]) == 0
    assert "tuning: rates, 10 trials x 1 seed, then 6 seeds" in capsys.readouterr().out
    assert TuneConfig().trials == ""


def test_a_tuned_grid_stopped_and_continued(place, monkeypatch, capfd):
    words = ["-m", "-cd", "mine", *TINY, "tune=two", "tying=none,pre_softmax"]
    run_job, calls = job.run_job, []

    def stopped(config):
        calls.append(config)
        return run_job(config) if len(calls) < 3 else Outcome("", "interrupted", 143, "stopped")

    with monkeypatch.context() as signalled:
        signalled.setattr(job, "run_job", stopped)
        assert main(words) == 143
    assert [(c.tune.role, c.seed) for c in calls] == [("tuning", 7), ("tuning", 7), ("reporting", 1)]
    assert [row.n_runs for row in read_status(Path("outputs/tuned")) if row.state == "waiting"] == [2, 4]
    capfd.readouterr()
    assert main(["plan", *words, "--json"]) == 0
    assert [cell["state"] for cell in json.loads(capfd.readouterr().out)] == ["2 of 2 tuning runs", "new"]

    assert main(words) == 0
    said = capfd.readouterr().err
    assert "grid: 2 skipped, 6 done" in said and said.count("(chosen)") == 2
    assert "the chosen optim.lr" not in said  # two values have no inside
    records = {path: runs.read_record(path) for path in runs.find_runs("outputs/tuned")}
    assert sorted((r.label, r.settings["tune.role"], r.seed) for r in records.values()) == sorted(
        (label, role, seed)
        for label in ("none", "pre_softmax")
        for role, seed in (("tuning", 7), ("tuning", 7), ("reporting", 1), ("reporting", 2))
    )
    for path, record in records.items():
        assert read_run_config(path).tune.point == record.settings["tune.point"]

    assert main(words) == 0
    assert "grid: 8 skipped" in capfd.readouterr().err
    assert [row.state for row in read_status(Path("outputs/tuned"))] == ["done"] * 8
    assert main(["report", "outputs/tuned"]) == 0
    page = capfd.readouterr().out
    assert "### Comparison: tuned: two, 2 trials an arm, 2 seeds" in page
    assert "| arm | seeds | diverged | mean bits/byte |" in page and "### Tuning" in page
