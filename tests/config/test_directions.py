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
def test_a_direction_of_one_source_is_read_back_whatever_its_names_hold(names, data):
    source, target = data.draw(st.permutations(names))[:2]
    found = parse_direction("key", f"{source}-{target}", names)
    assert found.name == f"{source}-{target}" and set(found.columns) <= set(names)


@pytest.mark.parametrize("text", ["a-d", "a-a", "a+a-b", "ab", "-b", "a-", "a+b", "b+c-b", ""])
def test_what_is_no_direction_is_refused_by_its_key(text):
    with pytest.raises(SettingsError, match=r"task\.zero_shot=.*a, b, c"):
        parse_direction("task.zero_shot", text, ["a", "b", "c"])


def layout(*words):
    return make_layout(compose_config([*THREE, *words]))


def test_all_columns_but_the_last_are_read_together():
    found = layout()
    assert found.directions == (Direction(("a", "b"), "c"),)
    assert found.stacks == ("encoder_a", "encoder_b", "decoder") and found.tags == ()
    assert found.vocabularies == {"encoder_a": "a", "encoder_b": "b", "decoder": "c"}


def test_one_decoder_of_several_languages_is_told_which_by_a_tag():
    found = layout("task.directions=[a-b,a-c]")
    assert found.stacks == ("encoder", "decoder") and found.tags == ("b", "c")
    assert found.columns == {"a": ("a",), "b+c": ("b", "c")}
    apart = layout("task.directions=[a-b,a-c]", "model.decoders=each")
    assert apart.stacks == ("encoder", "decoder_b", "decoder_c") and apart.tags == ()


def test_the_same_languages_on_both_sides_are_one_vocabulary():
    found = layout("task.directions=[a-b,b-a]")
    assert found.vocabularies == {"encoder": "a+b", "decoder": "a+b"}
    assert layout("task.directions=[a-b]", "data.vocabulary=joint").columns == {"joint": ("a", "b")}


def test_vectors_have_an_encoder_and_no_vocabulary():
    found = layout("+data.features.a=7")
    assert found.vocabularies == {"encoder_b": "b", "decoder": "c"}
    stacks = make_shape(compose_config([*THREE, "+data.features.a=7"])).stacks
    assert [(stack.name, stack.n_features) for stack in stacks] == [("encoder_a", 7), ("encoder_b", 0), ("decoder", 0)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task.directions=[a-b,a-b]"], "stands there twice"),
        (["task.directions=[a-b]", "task.zero_shot=[c-b]"], "c is never read in training"),
        (["task.directions=[a-b]", "task.zero_shot=[a-c]"], "c is never written in training"),
        (["task.directions=[a-b]", "+task.train_pairs.a-c=5"], "it is no trained direction, those are a-b"),
        (["+data.features.c=4"], "c holds feature vectors"),
        (["task.directions=[a-b]", "+data.features.c=4"], "no direction reads it"),
        (["task.directions=[a-b]", "model.source_attention=each"], "do not all read the same two sources"),
        (["task.directions=[a+b-c]", "task.zero_shot=[a-c]", "model.source_attention=each"], "the same two sources"),
        (["model.encoders=one"], "a\\+b-c has several sources"),
        (["task.temperature=0"], "not positive"),
        (["model.decoders=both"], "no such choice"),
    ],
)
def test_what_does_not_fit_is_refused(words, said):
    with pytest.raises(SettingsError, match=said):
        layout(*words)


def test_a_language_model_has_no_directions():
    for task in ("lm", "mlm"):
        with pytest.raises(SettingsError, match=f"task={task} has no directions"):
            compose_config([f"task={task}", "task.directions=[a-b]"])


def test_columns_that_would_name_one_stack_are_refused():
    with pytest.raises(SettingsError, match=r"a\.b, a_b are not told apart"):
        make_layout(compose_config([*THREE[:2], "data.columns=[a.b,a_b,c]", THREE[3]]))


@pytest.mark.parametrize("word", ["data.features={a: 3}", "data.features.a=3", "task.train_pairs.a-c=5"])
def test_what_is_added_says_how(word):
    with pytest.raises(
        SettingsError, match=r"write \+(data\.features\.COLUMN=WIDTH|task\.train_pairs\.DIRECTION=PAIRS)"
    ):
        compose_config([*THREE, word])
