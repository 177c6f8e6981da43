"""Names of other toolkits lead to ours, and never hide one of ours."""

import pytest

from tietrain.config import other_names
from tietrain.config.compose import compose_config
from tietrain.config.keys import ALL, GROUPS, choices_of, suggestion
from tietrain.errors import TietrainError


def test_other_names_lead_to_settings_and_schemes_that_exist():
    ours = {word for text in other_names.SETTINGS.values() for word in text.partition(" (")[0].split(" or ")}
    assert ours <= {*ALL, *GROUPS}
    for group, names in other_names.CHOICES.items():
        assert set(names.values()) <= set(choices_of(group))


def test_other_names_are_not_ours():
    ours = {key.rsplit(".", 1)[-1] for key in ALL}
    assert not {*other_names.SETTINGS, *other_names.WAYS} & ours
    for group, names in other_names.CHOICES.items():
        assert not names.keys() & set(choices_of(group))


@pytest.mark.parametrize(
    ("word", "wanted"),
    {
        "lr=1e-3": "did you mean optim.lr?",
        "d_model=128": "did you mean model.d_model?",
        "model.hidden_size=8": "model.d_model",
        "optim.lr=null": "it needs a value",
        "tying.ties.cycle.n_unique=2": "choose it first: tying=cycle",
    }.items(),
)
def test_slips_of_a_first_hour_are_answered(word, wanted):
    with pytest.raises(TietrainError) as refused:
        compose_config([word])
    assert wanted in str(refused.value)


@pytest.mark.parametrize(
    ("option", "wanted"),
    {"n_uniq": "did you mean tying.ties.cycle.n_unique?", "layers": "the tie cycle has no option layers"}.items(),
)
def test_slips_in_an_option_of_a_chosen_scheme_are_answered(option, wanted):
    with pytest.raises(TietrainError) as refused:
        compose_config(["tying=cycle", f"tying.ties.cycle.{option}=2"])
    assert wanted in str(refused.value)


def test_suggestion_of_an_unknown_word_lists_the_settings():
    assert suggestion("xyzzy", ALL) == "`tietrain settings` lists every key"
