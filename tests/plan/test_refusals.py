"""Impossible schemes are refused before any work, with what was asked, what the model has and what would fit."""

from dataclasses import replace
from pathlib import Path

import pytest

from expected_ties import six_layers
from tietrain.cli.main import main
from tietrain.config.compose import compose_config
from tietrain.errors import SettingsError, TyingError
from tietrain.plan.plan import resolve
from tietrain.plan.schemes import check_ties, make_plan

UNEQUAL = {"encoder": 4, "decoder": 6}


def unequal_depths():
    shape = six_layers("mt")
    return replace(shape, stacks=tuple(replace(stack, n_layers=UNEQUAL[stack.name]) for stack in shape.stacks))


def separate_vocabularies():
    shape = six_layers("mt")
    return replace(shape, stacks=(replace(shape.stacks[0], vocabulary="english"), shape.stacks[1]))


IMPOSSIBLE = [
    (six_layers("lm"), {"rule": "three_way"}, ["one stack", "decoder.embed, decoder.output", "tying=pre_softmax"]),
    (six_layers("lm"), {"rule": "encoder_decoder"}, ["one stack", "its layers by tying=cross_layer"]),
    (six_layers("lm"), {"rule": "mirror", "stacks": ["encoder"]}, ["stacks=encoder", "its stacks are decoder"]),
    (six_layers("mt"), {"rule": "mirror", "stacks": ["encodr"]}, ["stacks=encodr", "its stacks are encoder, decoder"]),
    (six_layers("lm"), {"rule": "mirror", "stacks": [["decoder"]]}, ["stacks=['decoder']", "its stacks are decoder"]),
    (six_layers("lm"), {"rule": "mirror", "parts": ["cross_attn"]}, ["parts=cross_attn", "no layer of decoder has it"]),
    (
        six_layers("mt"),
        {"rule": "mirror", "parts": ["cross_attn.q"], "stacks": ["encoder"]},
        ["parts=cross_attn.q", "no layer of encoder has it"],
    ),
    (six_layers("lm"), {"rule": "mirror", "parts": ["ffn.gate"]}, ["parts=ffn.gate", "no layer of decoder has it"]),
    (six_layers("lm"), {"rule": "mirror", "parts": ["self_atn"]}, ["parts=self_atn", "did you mean self_attn?"]),
    (six_layers("lm"), {"rule": "mirror", "parts": ["embed"]}, ["parts=embed", "choose from self_attn"]),
    (six_layers("lm"), {"rule": "mirror", "parts": [["ffn"]]}, ["parts=['ffn']", "no such choice"]),
    (separate_vocabularies(), {"rule": "embeddings"}, ["one vocabulary for both languages", "data.vocabulary=auto"]),
    (separate_vocabularies(), {"rule": "three_way"}, ["one vocabulary for both languages", "data.vocabulary=auto"]),
    (unequal_depths(), {"rule": "encoder_decoder"}, ["depth=each", "encoder has 4 layers and decoder has 6 layers"]),
    (six_layers("mt"), {"rule": "encoder_decoder", "depth": "both"}, ["depth=both", "choose from each, one"]),
    (six_layers("mt", n_kv_heads=2), {"rule": "query_key"}, ["n_kv_heads=2", "n_heads=4", "model.n_kv_heads=null"]),
    (six_layers("mt"), {"rule": "query_key", "parts": ["ffn"]}, ["parts=ffn", "choose from self_attn, cross_attn"]),
    (six_layers("lm"), {"rule": "query_key", "parts": ["cross_attn"]}, ["parts=cross_attn", "no layer of decoder"]),
    *(
        (six_layers("mt", positions=kind), {"rule": "positions"}, [f"model.positions={kind}", "common", "=learned"])
        for kind in ("rotary", "sinusoidal")
    ),
]


@pytest.mark.parametrize(("shape", "tie", "words"), IMPOSSIBLE, ids=lambda v: str(v)[:60])
def test_what_does_not_fit_is_refused_with_what_the_model_has(shape, tie, words):
    with pytest.raises(TyingError) as refused:
        make_plan(shape, {"mine": tie})
    assert (refused.value.exit_code, refused.value.status) == (2, "not_applicable")
    for word in ["tying=mine: ", *words]:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("ties", "words"),
    [
        ({"a": {"rule": "cross_layr"}}, ["tying.ties.a.rule=cross_layr", "did you mean cross_layer?"]),
        ({"a": {"rule": 3}}, ["tying.ties.a.rule=3", "choose from"]),
        ({"a": {"rule": ["mirror"]}}, ["tying.ties.a.rule=['mirror']", "choose from"]),
        ({"a": {}}, ["tying.ties.a.rule=None", "choose from"]),
        ({"a": "mirror"}, ["tying.ties.a=mirror", "write tying.ties.a={rule: NAME}"]),
        ({"a": {"rule": "mirror", "part": ["ffn"]}}, ["tying.ties.a.option=part", "did you mean parts?"]),
        (
            {"a": {"rule": "mirror", "n_unique": 2}},
            ["tying.ties.a.option=n_unique", "choose from stacks, parts, norms"],
        ),
        ({"a": {"rule": "mirror", "parts": "ffn"}}, ["tying.ties.a.parts=ffn", "give a list: [a,b]"]),
        ({"a": {"rule": "mirror", "norms": 1}}, ["tying.ties.a.norms=1", "of type bool"]),
        ({"a": {"rule": "execution", "blocks": "0-5"}}, ["tying.ties.a.blocks=0-5", "give a list: [a,b]"]),
        ({"a": {"rule": "index_vector", "layers": 6}}, ["tying.ties.a.layers=6", "give a list: [a,b]"]),
        (
            {"none": {"rule": "none"}, "mirror": {"rule": "mirror"}},
            ["tying=[none, mirror]", "cannot be combined", "leave none out to tie by mirror"],
        ),
    ],
)
def test_ties_are_checked_without_a_model(ties, words):
    with pytest.raises(TyingError) as refused:
        check_ties(ties)
    assert refused.value.exit_code == 2
    for word in words:
        assert word in str(refused.value)


def test_a_users_own_pair_of_other_widths_is_refused():
    shape = six_layers("mt")
    wide = replace(shape, stacks=(replace(shape.stacks[0], vocab_size=29), shape.stacks[1]))
    with pytest.raises(TyingError, match=r"their shapes are \[29, 16\] and \[23, 16\]; only slots of equal kind"):
        resolve(wide, [("encoder.embed", "decoder.embed")])
    grouped = six_layers("lm", n_kv_heads=2)
    with pytest.raises(TyingError, match=r"their shapes are \[16, 16\] and \[8, 16\]"):
        resolve(grouped, [("decoder.0.self_attn.q", "decoder.0.self_attn.k")])
    with pytest.raises(
        TyingError, match=r"tie decoder\.9\.ffn = decoder\.0\.ffn.*no slot decoder\.9\.ffn.*decoder\.0-5"
    ):
        resolve(shape, [("decoder.9.ffn", "decoder.0.ffn")])


def folder_of(tmp_path: Path, **files: str) -> str:
    (tmp_path / "tying").mkdir()
    for name, ties in files.items():
        (tmp_path / "tying" / f"{name}.yaml").write_text(f"ties: {{{ties}}}\n")
    return str(tmp_path)


def folder_with_one_label_twice(tmp_path: Path) -> str:
    folder = folder_of(tmp_path, one="same: {rule: mirror}", two="same: {rule: immediate, norms: false}")
    (tmp_path / "experiment").mkdir()
    experiment = "# @package _global_\ndefaults:\n  - override /tying: [one, two]\n"
    (tmp_path / "experiment" / "both.yaml").write_text(experiment)
    return folder


def test_one_label_twice_is_refused_in_every_cell_of_a_grid(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = folder_with_one_label_twice(tmp_path)
    assert main(["-m", "-cd", folder, "tying=[one,two],[mirror,mirror]"]) == 1
    said = capsys.readouterr().err
    assert "one and two both bring the tie same" in said and "mirror and mirror both bring" in said
    assert not (tmp_path / "outputs" / "default").exists() or not list((tmp_path / "outputs/default").glob("*-s1-*"))


@pytest.mark.parametrize(
    ("words", "requested"),
    [
        (["tying=[mirror,mirror]"], ["tying=[mirror,mirror]", "mirror and mirror both bring the tie mirror"]),
        (["tying=[mirror,pre_softmax,mirror]"], ["both bring the tie mirror"]),
        (["tying=[three_way,alias/press_wolf_twwt]"], ["three_way and alias/press_wolf_twwt", "the tie three_way"]),
        (["tying=[one,two]"], ["tying=[one,two]", "one and two both bring the tie same"]),
        (["experiment=both"], ["tying=[one,two]", "one and two both bring the tie same"]),
        (["tying=[mirror,nope]"], ["tying=nope", "there is no such tying"]),
    ],
)
def test_one_label_twice_in_a_list_is_refused(tmp_path, words, requested):
    """Hydra would mix the options of both into one tie."""
    with pytest.raises(SettingsError) as refused:
        compose_config(words, [folder_with_one_label_twice(tmp_path)])
    assert refused.value.exit_code == 2
    for word in requested:
        assert word in str(refused.value)
