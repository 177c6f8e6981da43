"""Matched arms: what is solved for is admissible and nearest, stated with its remainder, and part of a run's identity."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tietrain.cli.main import main
from tietrain.config import MATCHED, MatchConfig, ModelConfig, RunConfig, TaskConfig, TrainConfig, TyingConfig
from tietrain.config.compose import compose_config
from tietrain.config.identity import run_name
from tietrain.config.layout import make_shape
from tietrain.config.match import baseline_of, compare_match, describe_match, first_not_below, solve
from tietrain.config.stored import override_config, read_run_config
from tietrain.errors import SettingsError, TietrainError, TyingError
from tietrain.plan.flops import count_flops, equal_lengths
from tietrain.plan.params import count_params
from tietrain.plan.schemes import make_plan

V, D, F, N = 1000, 128, 512, 3  # of the default model


def match(*words: str) -> RunConfig:
    return compose_config([word if "=" in word else f"tying={word}" for word in words])


def params(config: RunConfig) -> int:
    return count_params(make_plan(make_shape(config), config.tying.ties)).params


def test_the_saved_table_is_put_into_the_feed_forward():
    config = match("pre_softmax", "match.by=params")
    # V x D saved, and one more of d_ff costs 2 D in each of N layers: 166.7 more, 168 as a multiple of 8.
    assert config.model.d_ff == F + 8 * round(V * D / (2 * D * N) / 8) == 680
    left, found = 168 * 2 * D * N - V * D, compare_match(config)
    assert (found.value, found.target) == (params(config), params(match("none"))) == (found.target + left, found.target)
    assert found.percent == 100 * left / found.target
    assert (found.varied, found.was, found.is_now) == ("model.d_ff", F, 680)


def test_one_wide_feed_forward_is_as_wide_as_all_of_them():
    config = match("ffn_only", "match.by=params", "model.n_layers=6", "tying.ties.ffn_only.norms=false")
    assert config.model.d_ff == 6 * F
    assert compare_match(config).percent == 0


def test_the_baseline_stays_as_it_is_even_off_the_multiples():
    config = match("none", "match.by=params", "model.d_ff=100")
    assert config.model == match("none", "model.d_ff=100").model
    assert compare_match(config).percent == 0
    wide = match("pre_softmax", "match.by=params", "model.d_ff=100", "match.multiple_of=64")
    assert wide.model.d_ff == 256


def test_unshared_layers_as_many_as_a_repeated_stack_stores():
    words = ["match.by=params", "match.vary=n_layers", "match.baseline='cycle tying.ties.cycle.n_unique=6'"]
    config = match("none", "model.n_layers=12", *words)
    assert config.model.n_layers == 6
    assert compare_match(config).percent == 0
    # The other way round: what stores six layers has as much at any depth, and stays.
    deep = ["model.n_layers=12", "tying.ties.cycle.n_unique=6", *words[:2], "match.baseline='none model.n_layers=6'"]
    assert match("cycle", *deep).model.n_layers == 12


def test_heads_stay_and_divide_a_width_that_rotates_pairs():
    words = ["match.by=params", "match.vary=d_model", "model.n_heads=6", "model.d_model=96"]
    config = match("cross_layer", *words)
    assert config.model.n_heads == 6 and config.model.d_model > 96 and config.model.d_model % 24 == 0
    assert config.model.d_ff == F
    # A stated head stays too, and d_model is then free of it.
    assert match("cross_layer", *words, "model.d_head=16", "match.multiple_of=1").model.d_head == 16


@pytest.mark.parametrize("budget", ["train.max_steps=1000", "train.max_tokens=2e6"])
def test_half_the_depth_is_trained_twice_as_long(budget):
    base = "match.baseline='none model.n_layers=3'"
    config = match("task=mt", "none", "model.n_layers=6", "match.by=flops", "match.vary=steps", base, budget)

    def per_token(c):
        shape = make_shape(c)
        return count_flops(shape).training(equal_lengths(shape, 25)) / 25

    unit, limit = next(iter(config.train.budgets.items()))
    was = float(budget.partition("=")[2])
    assert limit == round(was * per_token(baseline_of(config)) / per_token(config))
    tokens = limit * (config.train.batch_tokens if unit == "steps" else 1)
    assert compare_match(config).value == pytest.approx(tokens * per_token(config))
    assert any("shares of the budget" in line for line in describe_match(config))


def test_a_budget_of_flops_is_matched_as_it_is():
    config = match("cycle", "match.by=flops", "match.vary=steps", "train.max_flops=1e12")
    assert config.train.budgets == {"flops": 1e12}
    assert compare_match(config).percent == 0


def test_a_narrower_deep_model_computes_as_much_in_every_token():
    config = match("none", "model.n_layers=6", "match.by=flops", "match.baseline='none model.n_layers=4'")
    by_flops, base = make_shape(config), make_shape(baseline_of(config))
    # 2 layers of attention more, taken from 6 feed-forwards; everything else is the same.
    ratio = count_flops(by_flops).forward(equal_lengths(by_flops, 128)) / count_flops(base).forward(
        equal_lengths(base, 128)
    )
    assert config.model.d_ff % 8 == 0 and config.model.d_ff < F
    assert ratio == pytest.approx(1 + compare_match(config).percent / 100)


def test_a_masked_model_predicts_only_what_is_asked():
    words = ["task=mlm", "none", "match.by=flops", "match.vary=steps", "match.baseline='none model.n_layers=6'"]
    seldom, often = (match(*words, f"task.mask_rate={rate}").train.budgets["steps"] for rate in (0.1, 0.9))
    assert 400 < often < seldom < 800  # where logits are more of the FLOPs, layers are less


def test_depth_is_the_number_of_layers_run():
    words = ["match.by=depth", "match.vary=n_layers", "match.baseline='none model.n_layers=4'"]
    assert match("cycle", "model.n_layers=7", *words).model.n_layers == 4
    assert match("task=mt", "cycle", "model.n_layers=7", "model.n_encoder_layers=2", *words).model.n_layers == 4


def test_seconds_are_those_stated():
    config = match("cycle", "match.by=seconds", "match.vary=steps", "train.max_seconds=12.5")
    assert config.train.budgets == {"seconds": 12.5}
    assert "depends on the machine" in describe_match(config)[-1]


def test_what_comes_no_nearer_is_said():
    config = match("none", "match.by=params", "match.baseline=pre_softmax", "model.vocab_size=100000")
    assert config.model.d_ff == 8
    assert any("warning" in line and "not matched" in line for line in describe_match(config))


# Words, and the setting that the refusal names.
REFUSED = [
    (["match.by=params", "match.vary=steps"], "match.vary=steps"),
    (["match.by=depth"], "match.vary=d_ff"),
    (["match.by=seconds", "match.vary=d_model"], "match.vary=d_model"),
    (["match.by=words"], "match.by=words"),
    (["match.vary=n_heads"], "match.vary=n_heads"),
    (["match.multiple_of=0"], "match.multiple_of=0"),
    (["match.by=seconds", "match.vary=steps"], "match.by=seconds"),
    (["match.by=flops", "train.max_seconds=9"], "match.by=flops"),
    (["match.by=flops", "train.max_flops=1e9"], "match.by=flops"),
    (["match.by=flops", "match.vary=steps", "train.max_flops=1e9", "train.max_steps=3"], "match.vary=steps"),
    (["match.by=params", "match.baseline=nope"], "match.baseline=nope"),
    (["match.by=params", "match.baseline=three_way"], "match.baseline=three_way"),
    (["match.by=params", "match.baseline='none seed=3'"], "match.baseline=none seed=3"),
    (["match.by=params", "match.baseline='none model.d_modl=3'"], "match.baseline=none model.d_modl=3"),
    (["match.by=params", "match.baseline='none model.n_heads=3'"], "match.baseline=none model.n_heads=3"),
    (["match.by=params", "match.baseline=''"], "match.baseline=''"),
    (["match.by=params", "match.solved={was: 3}"], "match.solved={was: 3}"),
    (
        ["match.by=params", "match.baseline=pre_softmax", "match.multiple_of=2199023255552"],
        "match.multiple_of=2199023255552",
    ),
    (["match.by=params", "match.vary=n_layers", "tying=cross_layer"], "tying=cross_layer match.vary=n_layers"),
]


def test_compose_config_refuses_matches_by_key(golden):
    texts = {}
    for words, setting in REFUSED:
        with pytest.raises(SettingsError) as refused:
            compose_config(words)
        assert refused.value.setting == setting
        texts[" ".join(words)] = str(refused.value)
    golden("match_refusals", texts)


SCHEMES = ["none", "pre_softmax", "cross_layer", "mirror", "sandwich", "middle_cycle", "query_key"]


@pytest.mark.parametrize(("by", "vary"), [(by, vary) for by in ("params", "flops") for vary in MATCHED[by]])
@settings(max_examples=15)
@given(st.data())
def test_what_is_found_is_admissible_and_no_neighbour_is_nearer(by, vary, data):
    draw = data.draw
    n_heads, rotary = draw(st.integers(1, 5)), draw(st.booleans())
    model = ModelConfig(
        d_model=n_heads * 2 * draw(st.integers(1, 9)),
        n_heads=n_heads,
        d_ff=draw(st.integers(1, 99)),
        n_layers=draw(st.integers(1, 6)),
        vocab_size=draw(st.integers(5, 3000)),
        positions="rotary" if rotary else "learned",
        activation=draw(st.sampled_from(["gelu", "swiglu"])),
    )
    arm, base = (draw(st.sampled_from(SCHEMES)) for _ in range(2))
    config = RunConfig(
        task=TaskConfig(name=draw(st.sampled_from(["lm", "mt"]))),
        model=model,
        train=TrainConfig(max_steps=draw(st.integers(1, 300))),
        tying=TyingConfig({arm: {"rule": arm}}),
        match=MatchConfig(by=by, vary=vary, multiple_of=draw(st.sampled_from([None, 1, 6]))),
    )
    try:
        found = solve(config, {base: {"rule": base}}, {"n_layers": model.n_layers + draw(st.integers(0, 4))})
    except TietrainError:
        return
    matched = compare_match(found)
    if matched.percent == 0:
        return
    is_now = matched.is_now
    step = found.match.multiple_of or (8 if vary in ("d_ff", "d_model") else 1)
    assert is_now % step == 0 and is_now > 0
    section, name = matched.varied.split(".")
    for size in range(is_now - 30, is_now + 31):
        part = getattr(found, section)
        try:
            other = replace(found, **{section: replace(part, **{name: size})}) if size % step == 0 else None
            nearer = other and abs(compare_match(other).percent) < abs(matched.percent)
        except SettingsError:
            continue
        assert not nearer, (matched, size)


@given(st.lists(st.none() | st.integers(0, 20), max_size=40), st.integers(-1, 21))
def test_bisection_finds_what_looking_at_all_finds(values, target):
    rising = iter(sorted(v for v in values if v is not None))
    values = [None if v is None else next(rising) for v in values]
    found = first_not_below(lambda size: values[size // 3], range(0, 3 * len(values), 3), target)
    assert all(v is None or v < target for v in values[:found])
    assert all(v is None or v >= target for v in values[found:])


def test_a_run_is_known_by_what_was_solved_and_what_it_was_matched_to():
    config = match("pre_softmax", "match.by=params")
    names = {
        run_name(c)
        for c in (
            config,
            match("pre_softmax", "model.d_ff=680"),
            match("pre_softmax", "match.by=params", "match.baseline='none model.n_layers=4'"),
            match("pre_softmax", "match.by=params", "match.vary=d_model"),
        )
    }
    assert len(names) == 4
    assert run_name(match("pre_softmax", "match.by=params")) == run_name(config)
    # What is not matched is known by nothing of match.
    assert run_name(match("pre_softmax", "match.vary=d_model")) == run_name(match("pre_softmax"))


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["data.preset=tiny", "model.d_model=16", "model.n_heads=2", "model.d_ff=32", "model.n_layers=1"]
    return [*words, "model.vocab_size=100", "train.max_steps=3", "train.batch_tokens=256", "task.window=32"]


def test_a_grid_is_planned_and_run_at_the_solved_shapes(tiny, capsys):
    words = ["-m", *tiny, "tying=none,pre_softmax,shared_vocab", "match.by=params", "data.kind=char"]
    assert main(["plan", *words, "--json"]) == 0
    plain, tied, refused = json.loads(capsys.readouterr().out)
    assert (plain["matched"], refused["matched"]) == ("model.d_ff stays 32: +0.00 %", "")
    assert tied["matched"].startswith("model.d_ff from 32 to 80")
    assert main(["plan", *words]) == 0
    assert "model.d_ff from 32 to 80" in capsys.readouterr().out

    assert main(words) == 0
    said = capsys.readouterr().err
    for cell in (plain, tied):
        record = json.loads((Path(cell["directory"]) / "run.json").read_text())
        assert record["status"] == "done"
        notes = [note for note in record["notes"] if note.startswith("match: ")]
        assert notes[0] in said and cell["matched"].partition(":")[0] in notes[0]
        assert any(" pieces" in note for note in notes)
        assert any("warning" in note for note in notes) == (cell is tied)
        assert any("initial values" in note for note in notes) == (cell is tied)
    stored = json.loads((Path(tied["directory"]) / "ledger.json").read_text())["params"]
    assert f"{stored:,} stored parameters" in notes[1] and json.dumps(stored) not in json.dumps(tied["params"])
    assert main(words) == 0
    assert "2 skipped" in capsys.readouterr().err

    assert main([*tiny, "tying=pre_softmax", "model.d_ff=80", "data.kind=char", "run_dir=by_hand"]) == 0
    by_hand, solved = (json.loads((Path(d) / "eval.json").read_text()) for d in ("by_hand", tied["directory"]))
    assert by_hand["splits"] == solved["splits"]

    config = read_run_config(Path(tied["directory"]))
    assert asdict(override_config(config, [])) == asdict(config)


def test_a_plan_says_what_was_matched(tiny, capsys):
    assert main(["plan", *tiny, "tying=pre_softmax", "match.by=params"]) == 0
    assert "match: model.d_ff from 32 to 80" in capsys.readouterr().out
    assert main(["plan", *tiny, "tying=pre_softmax", "match.by=params", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["match"]["is_now"] == 80
    assert body["match"]["value"] == body["params"]


def test_a_vocabulary_the_arm_does_not_read_is_said_to_be_unknown(tiny):
    config = match("task=mt", "three_way", "match.by=params")
    lines = describe_match(config, dict.fromkeys(("encoder", "decoder"), 777))
    assert any(" 777 " in line and "baseline" in line for line in lines)


def test_a_baseline_that_is_no_tie_of_the_model_makes_the_cell_inapplicable():
    with pytest.raises(TyingError):
        match("none", "match.by=params", "match.baseline=embeddings")


def test_a_baseline_may_be_a_file_of_the_users_own(tiny, capsys):
    Path("own/tying").mkdir(parents=True)
    Path("own/tying/mine.yaml").write_text("ties:\n  mine: {rule: pre_softmax}\n")
    words = [*tiny, "match.by=params", "match.baseline=mine", "-cd", "own"]
    assert main(["plan", *words, "tying=pre_softmax"]) == 0
    assert "match: model.d_ff stays 32" in capsys.readouterr().out
    assert main(["plan", "-m", *words, "tying=mine,pre_softmax", "--json"]) == 0
    assert {cell["matched"] for cell in json.loads(capsys.readouterr().out)} == {"model.d_ff stays 32: +0.00 %"}
    assert main(["tying=pre_softmax", *words]) == 0
    assert "match: model.d_ff stays 32" in capsys.readouterr().err
