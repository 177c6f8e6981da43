"""Directions and the stacks they run through: what a configuration makes of its columns, and what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tietrain.config.compose import compose_config
from tietrain.config.directions import Direction, parse_direction
from tietrain.config.layout import make_layout, make_shape
from tietrain.errors import SettingsError

THREE = ["task=mt", "data=tsv", "data.columns=[a,b,c]", "data.splits={train: [t], valid: [v]}"]
NAMES = st.lists(st.text("ab-+.", min_size=1, max_size=4), min_size=2, max_size=4, unique=True)


@given(NAMES, st.data())
def test_parse_direction_reads_one_source_whatever_its_name_holds(names, data):
    source, target = data.draw(st.permutations(names))[:2]
    found = parse_direction("key", f"{source}-{target}", names)
    assert found.name == f"{source}-{target}" and set(found.columns) <= set(names)


def test_parse_direction_refuses_what_is_not_a_direction():
    for text in ("a-d", "a-a", "a+a-b", "ab", "-b", "a-", "a+b", "b+c-b", ""):
        with pytest.raises(SettingsError) as refused:
            parse_direction("task.zero_shot", text, ["a", "b", "c"])
        assert refused.value.setting == f"task.zero_shot={text}"


def layout(*words):
    return make_layout(compose_config([*THREE, *words]))


def test_make_layout_reads_all_columns_but_the_last_together():
    found = layout()
    assert found.directions == (Direction(("a", "b"), "c"),)
    assert found.stacks == ("encoder_a", "encoder_b", "decoder") and found.tags == ()
    assert found.vocabularies == {"encoder_a": "a", "encoder_b": "b", "decoder": "c"}


def test_make_layout_tags_the_target_for_one_decoder_of_several_languages():
    found = layout("task.directions=[a-b,a-c]")
    assert found.stacks == ("encoder", "decoder") and found.tags == ("b", "c")
    assert found.columns == {"a": ("a",), "b+c": ("b", "c")}
    apart = layout("task.directions=[a-b,a-c]", "model.decoders=each")
    assert apart.stacks == ("encoder", "decoder_b", "decoder_c") and apart.tags == ()


def test_make_layout_gives_the_same_languages_one_vocabulary():
    found = layout("task.directions=[a-b,b-a]")
    assert found.vocabularies == {"encoder": "a+b", "decoder": "a+b"}
    assert layout("task.directions=[a-b]", "data.vocabulary=joint").columns == {"joint": ("a", "b")}


def test_make_layout_gives_vectors_an_encoder_and_no_vocabulary():
    found = layout("+data.features.a=7")
    assert found.vocabularies == {"encoder_b": "b", "decoder": "c"}
    stacks = make_shape(compose_config([*THREE, "+data.features.a=7"])).stacks
    assert [(stack.name, stack.n_features) for stack in stacks] == [("encoder_a", 7), ("encoder_b", 0), ("decoder", 0)]


REFUSED = {
    "a direction twice": (["task.directions=[a-b,a-b]"], "task.directions"),
    "a source that is never read": (["task.directions=[a-b]", "task.zero_shot=[c-b]"], "task.zero_shot=[c-b]"),
    "a target that is never written": (["task.directions=[a-b]", "task.zero_shot=[a-c]"], "task.zero_shot=[a-c]"),
    "pairs of no direction": (["task.directions=[a-b]", "+task.train_pairs.a-c=5"], "task.train_pairs.a-c"),
    "vectors as a target": (["+data.features.c=4"], "task.directions=[a+b-c]"),
    "vectors that nothing reads": (["task.directions=[a-b]", "+data.features.c=4"], "data.features.c"),
    "attention to each of one": (
        ["task.directions=[a-b]", "model.source_attention=each"],
        "model.source_attention=each",
    ),
    "other sources": (
        ["task.directions=[a+b-c]", "task.zero_shot=[a-c]", "model.source_attention=each"],
        "model.source_attention=each",
    ),
    "one column": (["data.columns=[a]"], "data.columns=[a]"),
    "one encoder of two sources": (["model.encoders=one"], "model.encoders=one"),
    "directions of a language model": (["task=lm", "task.directions=[a-b]"], "task.directions"),
    "directions of a masked model": (["task=mlm", "task.directions=[a-b]"], "task.directions"),
    "a mapping that must be added": (["data.features={a: 3}"], "data.features"),
    "a width that must be added": (["data.features.a=3"], "data.features.a"),
    "pairs that must be added": (["task.train_pairs.a-c=5"], "task.train_pairs.a-c"),
}


def test_make_layout_refuses_by_key(golden):
    texts = {}
    for name, (words, setting) in REFUSED.items():
        with pytest.raises(SettingsError) as refused:
            layout(*words)
        assert refused.value.setting.startswith(setting), name
        texts[name] = str(refused.value)
    golden("direction_refusals", texts)


@pytest.mark.parametrize("feature", [[], ["+data.features.a_b=3"]])
def test_make_layout_refuses_columns_that_would_name_one_stack(feature):
    with pytest.raises(SettingsError, match="not told apart") as refused:
        make_layout(compose_config([*THREE[:2], "data.columns=[a.b,a_b,c]", THREE[3], *feature]))
    assert refused.value.setting == "data.columns"
