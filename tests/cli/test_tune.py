"""A tuned arm: its list becomes runs, fresh seeds report the best point, and nothing is trained twice."""

import json
from pathlib import Path

import pytest

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
from tietrain.train.tasks.mt import Translation

TWO = """name: two
points:
  - {optim.lr: 1e-3}
  - {optim.lr: 4e-3}
seeds: [7]
reporting_seeds: [1]
"""
TINY = ["study=tuned", "data.preset=tiny", "model=tiny", "model.vocab_size=400", "train.batch_tokens=256"]
TINY += ["train.max_steps=2", "train.checkpoint_every=1", "train.log_every=1", "train.eval_every=2"]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The current folder is the user's, with a list of two points in `mine`."""
    monkeypatch.chdir(tmp_path)
    Path("mine/tune").mkdir(parents=True)
    Path("mine/tune/two.yaml").write_text(TWO)


def points_of(*words):
    """The points of a cell with these words."""
    from hydra import compose

    with initialized(words, []):
        return make_points(compose("config", overrides=list(words)), words)


def test_make_points_gives_every_point_with_every_seed():
    points = points_of("tune=rates", "tune.seeds=[101,102]", "tying=pre_softmax")
    tuning = [config for point in points for config in tuning_runs(point)]
    assert len(points) == 10 and len(tuning) == 20
    assert [(c.optim.lr, c.model.table_init_std, c.seed, c.tune.point) for c in tuning[:3]] == [
        (5e-4, 0.02, 101, 1), (5e-4, 0.02, 102, 1), (5e-4, None, 101, 2),
    ]  # fmt: skip
    reported = reporting_runs(points[9])
    assert [(c.optim.lr, c.seed, c.tune.role) for c in reported] == [(8e-3, s, "reporting") for s in range(1, 7)]
    assert len({run_name(config) for config in [*tuning, *reported]}) == 26


def test_result_settings_name_the_role_and_point_of_a_tuned_run_only():
    (first, *_) = tuning_runs(points_of("tune=rates")[0])
    settings = result_settings(first)
    assert {k: settings[f"tune.{k}"] for k in ("name", "role", "point")} == {
        "name": "rates", "role": "tuning", "point": 1,
    }  # fmt: skip
    assert settings["tune.points.10.optim.lr"] == 8e-3
    assert not [key for key in result_settings(compose_config([])) if key.startswith("tune.")]
    assert run_name(RunConfig()).rpartition("-")[0] == "lm-none-s1"


# Words of a cell with tune=rates -> the setting that is refused.
REFUSED = {
    "optim.lr=1e-3": "tune=rates optim.lr=1e-3",
    "seed=3": "tune=rates seed=3",
    "run_dir=here": "tune=rates run_dir=here",
    "tune.points=[{optim.lr: 1}, {optim.lr: abc}]": "tune=rates, point 2",
    "tune.points=[{optim.lrr: 1}]": "tune=rates, point 1",
    "tune.points=[{optim.warmup: 0.7}]": "tune=rates, point 1",
    "tune.points=[{model.d_ff: 8}]": "tune=rates, point 1",
    "tune.points=[{optim.lr: 1}, {optim.lr: 1}]": "tune=rates, point 2",
    "tune.points=[]": "tune=rates",
    "tune.points=[{}]": "tune=rates, point 1",
    "tune.seeds=[1]": "tune.reporting_seeds",
    "tune.seeds=[]": "tune.seeds",
    "tune.role=tuning": "tune.role=tuning",
    "tune.point=3": "tune.point=3",
}


def test_make_points_refuses_what_contradicts_or_damages_the_list(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for word, setting in REFUSED.items():
        with pytest.raises(SettingsError) as e:
            points_of("tune=rates", word)
        assert e.value.setting.startswith(setting), word
    with pytest.raises(SettingsError) as e:
        compose_config(["tune.seeds=[1]"])
    assert e.value.setting == "tune.seeds"


def test_make_points_matches_every_point_alike():
    words = ["tune.points=[{optim.lr: 0.001}, {optim.lr: 0.002}]", "tying=pre_softmax", "match.by=params"]
    first, last = points_of("tune=rates", *words)
    assert {config.model.d_ff for config in (first, last, *reporting_runs(last))} == {680}
    assert json.dumps(first.match.solved, sort_keys=True) == json.dumps(last.match.solved, sort_keys=True)


def ran(scores, statuses=None):
    """The runs of an arm whose nth point gets the nth score (None: diverged), and what `run_arm` returns."""
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
def test_run_arm_runs_the_chosen_point_on_the_reporting_seeds(scores, chosen, mean, capsys):
    done, value = ran(scores)
    n = len(scores)
    assert done[: 2 * n] == [("tuning", place, seed) for place in range(1, n + 1) for seed in (7, 8)]
    assert done[2 * n :] == [("reporting", chosen, 1), ("reporting", chosen, 2)]
    assert value == mean
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "(chosen)" in line]
    assert line.startswith(f"  {chosen}: optim.lr={chosen}: ")


@pytest.mark.parametrize("status", ["failed", "running_elsewhere"])
def test_run_arm_chooses_no_point_before_all_have_a_score(status):
    done, value = ran([3.0, 2.0], {(2, 7): status})
    assert value is None and len(done) == 4 and all(role == "tuning" for role, *_ in done)


def test_run_arm_tries_a_scheme_that_does_not_apply_once():
    done, value = ran([3.0, 2.0], {(1, 7): "not_applicable"})
    assert value is None and done == [("tuning", 1, 7)]


def test_preview_shows_how_many_runs_an_arm_takes(mine, tietrain_cli):
    out = tietrain_cli("plan", "-m", "-cd", "mine", "tune=two", "tying=none,three_way", "--json").out
    first, second = json.loads(out)
    assert (first["state"], first["trials"]) == ("new", "2 trials x 1 seed, then 1 seed")
    assert second["state"] == "not_applicable"
    assert first["trials"] in tietrain_cli("plan", "-cd", "mine", "tune=two").out
    assert TuneConfig().trials == ""


def test_trial_translates_nothing_and_scores_valid_alone(mine, monkeypatch):
    """Nobody sees a test score before the point is chosen."""
    words = [*TINY, "task=mt", "tune.name=two", "tune.points=[{optim.lr: 0.001}]", "tune.seeds=[7]"]
    (trial,) = tuning_runs(points_of(*words, "tune.reporting_seeds=[1]")[0])
    monkeypatch.setattr(Translation, "translate", None)
    outcome = job.run_job(trial)
    assert outcome.status == "done" and outcome.valid > 0
    folder = Path(outcome.directory)
    assert list(json.loads((folder / runs.EVAL).read_text())["splits"]) == ["valid"]
    assert not list(folder.glob("hypotheses*"))


def test_tuned_grid_is_stopped_and_continued(mine, monkeypatch, tietrain_cli):
    words = ["-m", "-cd", "mine", *TINY, "tune=two", "tying=none,pre_softmax"]
    run_job = job.run_job
    calls = []

    def stopped(config, words):
        calls.append(config)
        return run_job(config, words) if len(calls) < 3 else Outcome("", "interrupted", 143, "stopped")

    with monkeypatch.context() as signalled:
        signalled.setattr(job, "run_job", stopped)
        assert tietrain_cli(*words).code == 143
    assert [(c.tune.role, c.seed) for c in calls] == [("tuning", 7), ("tuning", 7), ("reporting", 1)]
    assert [row.n_runs for row in read_status(Path("outputs/tuned")) if row.state == "waiting"] == [1, 3]
    cells = json.loads(tietrain_cli("plan", *words, "--json").out)
    assert [cell["state"] for cell in cells] == ["2 of 2 tuning runs", "new"]

    again = tietrain_cli(*words)
    assert again.code == 0 and "grid: 2 skipped, 4 done\n" in again.err and again.err.count("(chosen)") == 2
    assert "optim.lr is the" not in again.err  # a list of two values has no interior point
    records = {path: runs.read_record(path) for path in runs.find_runs("outputs/tuned")}
    roles = sorted((record.label, record.settings["tune.role"], record.seed) for record in records.values())
    of_an_arm = [("reporting", 1), ("tuning", 7), ("tuning", 7)]
    assert roles == [(label, *role) for label in ("none", "pre_softmax") for role in of_an_arm]
    for path, record in records.items():
        assert read_run_config(path).tune.point == record.settings["tune.point"]
        scored = json.loads((path / runs.EVAL).read_text())["splits"]
        assert ("test" in scored) == (record.settings["tune.role"] == "reporting") and "valid" in scored

    assert "grid: 6 skipped\n" in tietrain_cli(*words).err
    assert [row.state for row in read_status(Path("outputs/tuned"))] == ["done"] * 6
    body = json.loads(tietrain_cli("report", "outputs/tuned", "--json").out)
    assert sorted((arm["label"], arm["seeds"]) for arm in body) == [("none", [1]), ("pre_softmax", [1])]
