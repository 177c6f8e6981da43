"""Every refusal of the plan: its type, exit code and setting here, its words in tests/golden/plan_refusals.txt."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from expected_ties import MORE_STACKS, NOT_FOR_LM, six_layers, ties_of
from tietrain.cli.main import main
from tietrain.config.compose import compose_config
from tietrain.errors import SettingsError, TyingError, check_choice
from tietrain.plan.catalogue import REFERENCE
from tietrain.plan.lengths import parse_lengths
from tietrain.plan.plan import resolve
from tietrain.plan.schemes import check_ties, make_plan
from tietrain.plan.slots import check_length
from tiny_models import make_shape

LM, MT = six_layers("lm"), six_layers("mt")
DEPTHS = {"encoder": 4, "decoder": 6}
UNEQUAL = replace(MT, stacks=tuple(replace(stack, n_layers=DEPTHS[stack.name]) for stack in MT.stacks))
SEPARATE = replace(MT, stacks=(replace(MT.stacks[0], vocabulary="english"), MT.stacks[1]))
WIDE = replace(MT, stacks=(replace(MT.stacks[0], vocab_size=29), MT.stacks[1]))

# (model, options of the rule); a number is the depth of a language model.
RULES_THAT_DO_NOT_FIT = [
    (LM, {"rule": "three_way"}),
    (LM, {"rule": "mirror", "stacks": ["encoder"]}),
    (MT, {"rule": "mirror", "stacks": ["encodr"]}),
    (LM, {"rule": "mirror", "stacks": [["decoder"]]}),
    (LM, {"rule": "mirror", "parts": ["cross_attn"]}),
    (MT, {"rule": "mirror", "parts": ["cross_attn.q"], "stacks": ["encoder"]}),
    (LM, {"rule": "mirror", "parts": ["ffn.gate"]}),
    (LM, {"rule": "mirror", "parts": ["self_atn"]}),
    (LM, {"rule": "mirror", "parts": ["embed"]}),
    (LM, {"rule": "mirror", "parts": [["ffn"]]}),
    (SEPARATE, {"rule": "embeddings"}),
    (UNEQUAL, {"rule": "encoder_decoder"}),
    (UNEQUAL, {"rule": "prelude_loop_coda", "repeats": 4}),
    (MT, {"rule": "encoder_decoder", "depth": "both"}),
    (six_layers("mt", n_kv_heads=2), {"rule": "query_key"}),
    (MT, {"rule": "query_key", "parts": ["ffn"]}),
    (LM, {"rule": "query_key", "parts": ["cross_attn"]}),
    (six_layers("mt", positions="rotary"), {"rule": "positions"}),
    (REFERENCE["sources"], {"rule": "same_role", "role": "encoders"}),
    (4, {"rule": "cross_layer", "n_unique": 5}),
    (4, {"rule": "cross_layer", "n_unique": True}),
    (4, {"rule": "cross_layer", "n_unique": 2.0}),
    (4, {"rule": "cross_layer", "order": "cylce"}),
    (5, {"rule": "middle_cycle"}),
    (8, {"rule": "middle_cycle", "repeats": 4}),
    (6, {"rule": "middle_sequence", "repeats": 0}),
    (20, {"rule": "prelude_loop_coda", "prelude": 2, "coda": 2, "repeats": 3}),
    (4, {"rule": "prelude_loop_coda", "prelude": 3, "coda": 3}),
    (4, {"rule": "prelude_loop_coda", "prelude": -1}),
    (4, {"rule": "execution"}),
    (4, {"rule": "execution", "blocks": ["0-2"]}),
    (4, {"rule": "execution", "blocks": [0, 1, 3, 3]}),
    (4, {"rule": "execution", "blocks": ["1-4"]}),
    (2, {"rule": "execution", "blocks": [0, 10**12]}),
    (4, {"rule": "execution", "blocks": ["0-9999999999"]}),
    (4, {"rule": "execution", "blocks": ["x", 1, 2, 3]}),
    (4, {"rule": "index_vector"}),
    (4, {"rule": "index_vector", "layers": [1, 1, 1]}),
    (4, {"rule": "index_vector", "layers": [1, 5, 1, 1]}),
]
NO_TIES = [
    {"mine": {"rule": "cross_layr"}},
    {"mine": {"rule": 3}},
    {"mine": {"rule": ["mirror"]}},
    {"mine": {}},
    {"mine": "mirror"},
    {"mine": {"rule": "mirror", "part": ["ffn"]}},
    {"mine": {"rule": "mirror", "n_unique": 2}},
    {"mine": {"rule": "mirror", "parts": "ffn"}},
    {"mine": {"rule": "mirror", "norms": 1}},
    {"mine": {"rule": "execution", "blocks": "0-5"}},
    {"mine": {"rule": "index_vector", "layers": 6}},
    {"none": {"rule": "none"}, "mirror": {"rule": "mirror"}},
]
NO_PAIRS = [
    (LM, "decoder.embde", "decoder.output"),
    (LM, "decoder.9.ffn", "decoder.0.ffn"),
    (LM, "decoder.0.ffn", "decoder.0.self_attn"),
    (LM, "decoder.0.self_attn.q.weight", "decoder.0.self_attn.v.weight"),
    (SEPARATE, "encoder.embed.weight", "decoder.embed.weight"),
    (WIDE, "encoder.embed", "decoder.embed"),
    (six_layers("lm", n_kv_heads=2), "decoder.0.self_attn.q", "decoder.0.self_attn.k"),
]
NO_LENGTHS = ("64,...,1000", "...,64", "64,...", "64,...,...,128", "", "8,,16", "a", "1.5", "-4", "0", "²")
NO_LENGTHS += ("99999999999", "9" * 5000, "8,8", "64,...,64", "64,...,32", "1_0")


def refused(call) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        call()
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.setting and caught.value.problem and caught.value.remedy
    return caught.value


def named_model(model) -> str:
    if isinstance(model, int):
        return f"{model} layers"
    return ", ".join(f"{stack.name} {stack.n_layers}" for stack in model.stacks)


def test_plan_refusals(golden):
    texts: dict[str, str] = {}

    def add(name: str, error: SettingsError) -> None:
        assert isinstance(error, TyingError) and error.status == "not_applicable"
        assert name not in texts
        texts[name] = str(error)

    for model, tie in RULES_THAT_DO_NOT_FIT:
        shape = make_shape("lm", n_layers=model) if isinstance(model, int) else model
        error = refused(partial(make_plan, shape, {"mine": tie}))
        assert error.setting.startswith(("tying=mine", "tying.ties.mine."))
        add(f"{named_model(model)}: {tie}", error)
    for ties in NO_TIES:
        error = refused(partial(check_ties, ties))
        assert error.setting.startswith("tying")
        add(f"ties {ties}", error)
    for shape, left, right in NO_PAIRS:
        error = refused(partial(resolve, shape, [(left, right)]))
        assert error.setting.startswith("tie ")
        add(f"{named_model(shape)}: {left} = {right}", error)
    for name, model in (("one_encoder", "lm"), ("one_decoder", "mt"), ("cross_attentions", "mt")):
        add(f"{name} of {model}", refused(partial(make_plan, REFERENCE[model], ties_of(name))))
    golden("plan_refusals", texts)


def test_make_plan_refuses_every_scheme_for_a_model_without_its_stacks():
    cases = [(LM, name) for name in NOT_FOR_LM]
    for name, models in MORE_STACKS.items():
        cases += [(shape, name) for model, shape in REFERENCE.items() if model not in models]
    for shape, name in cases:
        error = refused(partial(make_plan, shape, ties_of(name)))
        assert error.setting.startswith(f"tying={name}") and error.status == "not_applicable"


@pytest.mark.parametrize(
    ("rule", "option", "values"),
    [
        ("cross_layer", "n_unique", [0, -1, 5]),
        ("middle_cycle", "repeats", [0, 4]),
        ("prelude_loop_coda", "prelude", [-1, 4]),
        ("prelude_loop_coda", "coda", [-1, 4]),
        (
            "execution",
            "blocks",
            [[], *([x, 1, 2, 3] for x in ("", "-", "0-", "-1", -1, "3-1", "0-1-2", "1.5", 1.5, True, None, "0..3"))],
        ),
        ("index_vector", "layers", [[1] * 5, *([1, x, 1, 1] for x in (0, 1.0, "1", True, None))]),
    ],
)
def test_layer_maps_refuse_values_out_of_range(rule, option, values):
    for value in values:
        error = refused(partial(make_plan, make_shape("lm", n_layers=4), {"mine": {"rule": rule, option: value}}))
        assert error.status == "not_applicable"
        assert error.problem.startswith("stack decoder has depth 4: "), value


def test_resolve_never_ties_self_attention_to_cross_attention():
    """Tying bug 21: a cross-attention bias bound to the self-attention's."""
    for leaf in ("q.weight", "q.bias", "k.weight", "v.bias", "o.weight"):
        pair = f"decoder.1.cross_attn.{leaf}", f"decoder.0.self_attn.{leaf}"
        error = refused(partial(resolve, MT, [pair]))
        assert error.setting == f"tie {pair[0]} = {pair[1]}" and "self_attn" in error.problem


def test_parse_lengths_refusals(golden):
    errors = {text: refused(partial(parse_lengths, text)) for text in NO_LENGTHS}
    assert all(error.setting == f"--lengths {text}" for text, error in errors.items())
    golden("lengths_refusals", {repr(text): str(error) for text, error in errors.items() if len(text) < 100})


def test_make_plan_applies_a_rule_to_the_stacks_that_fit():
    refused(partial(make_plan, UNEQUAL, {"x": {"rule": "middle_cycle", "repeats": 4}}))
    assert make_plan(UNEQUAL, {"x": {"rule": "middle_cycle", "repeats": 4, "stacks": ["decoder"]}}).groups


def test_check_choice_lists_the_choices_or_names_the_nearest_of_many():
    check_choice("a", "bb", ("bb", "cc"))
    many = ("bb", *(f"c{i}" for i in range(20)))
    assert refused(partial(check_choice, "a", "bbb", many)).remedy == "did you mean bb?"
    for value in ("x", 3, None, ["bb"], {}):
        error = refused(partial(check_choice, "a", value, ("bb", "cc")))
        assert (error.setting, error.remedy) == (f"a={value}", "choose from bb, cc")
    with pytest.raises(TyingError):
        check_choice("a", "x", ("bb",), TyingError)


def test_check_length_limits_learned_positions_only():
    shape = make_shape("lm", positions="learned", max_len=8)
    check_length(shape, 8, "a sequence")
    error = refused(partial(check_length, shape, 9, "a sequence"))
    assert error.setting == "model.max_len=8" and "9" in error.problem and "model.max_len=9" in error.remedy
    for positions in ("rotary", "sinusoidal"):
        check_length(make_shape("lm", positions=positions, max_len=8), 9, "a sequence")


def folder_with_one_label_twice(tmp_path: Path) -> str:
    (tmp_path / "tying").mkdir()
    (tmp_path / "tying" / "one.yaml").write_text("ties: {same: {rule: mirror}}\n")
    (tmp_path / "tying" / "two.yaml").write_text("ties: {same: {rule: immediate, norms: false}}\n")
    (tmp_path / "experiment").mkdir()
    experiment = "# @package _global_\ndefaults:\n  - override /tying: [one, two]\n"
    (tmp_path / "experiment" / "both.yaml").write_text(experiment)
    return str(tmp_path)


def test_grid_refuses_one_label_twice_in_every_cell(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = folder_with_one_label_twice(tmp_path)
    assert main(["-m", "-cd", folder, "tying=[one,two],[mirror,mirror]"]) == 1
    errors = capsys.readouterr().err
    assert "tying=[one,two]" in errors and "tying=[mirror,mirror]" in errors
    assert not (tmp_path / "outputs" / "default").exists() or not list((tmp_path / "outputs/default").glob("*-s1-*"))


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        (["tying=[mirror,pre_softmax,mirror]"], "tying=[mirror,pre_softmax,mirror]"),
        (["tying=[three_way,alias/press_wolf_twwt]"], "tying=[three_way,alias/press_wolf_twwt]"),
        (["experiment=both"], "tying=[one,two]"),
        (["tying=[mirror,nope]"], "tying=nope"),
    ],
)
def test_compose_config_refuses_one_label_twice(tmp_path, words, setting):
    """Hydra would mix the options of both into one tie."""
    error = refused(partial(compose_config, words, [folder_with_one_label_twice(tmp_path)]))
    assert error.setting == setting
