"""A scheme with options in one word is the scheme with options in words of their own."""

from pathlib import Path

import pytest

from refusals import refusal
from tietrain.config.compose import compose_config
from tietrain.config.identity import run_name


@pytest.mark.parametrize(
    ("short", "long"),
    {
        "tying=cycle:n_unique:1": "tying=cycle tying.ties.cycle.n_unique=1",
        "tying=cycle:norms:false:n_unique:1": "tying=cycle tying.ties.cycle.n_unique=1 tying.ties.cycle.norms=false",
        "tying=[pre_softmax,cycle:n_unique:1]": "tying=[pre_softmax,cycle] tying.ties.cycle.n_unique=1",
        "tying=alias/mor_middle_cycle:repeats:1": "tying=middle_cycle tying.ties.middle_cycle.repeats=1",
    }.items(),
)
def test_choice_with_options_is_the_same_run(short, long):
    assert run_name(compose_config([short])) == run_name(compose_config(long.split()))


def test_choice_with_options_may_be_a_file_of_the_user(tmp_path):
    (tmp_path / "tying").mkdir()
    mine = "ties:\n  a: {rule: cross_layer}\n  b: {rule: query_key, parts: null}\n"
    Path(tmp_path, "tying", "mine.yaml").write_text(mine)
    config = compose_config(["tying=mine:n_unique:2"], [str(tmp_path)])
    assert config.tying.ties["a"] == {"rule": "cross_layer", "n_unique": 2}
    refused = refusal(compose_config, ["tying=mine:parts:x"], [str(tmp_path)])
    assert refused.problem == "a and b of mine both have it"
