"""The primary score is known before the first step: it exists, another one stands for it by name, or the run is refused."""

import pytest

from tietrain.config.compose import compose_config
from tietrain.data.prepare import prepare
from tietrain.errors import SettingsError
from tietrain.train.primary import settle_primary

TEXT = ["the cat sat on the mat", "the dog ran to the cat", "a mat is on the dog"] * 9


def config_of(folder, *words, test=("the cat ran",)):
    """A word-level language model on three small files; no test split if `test` is None."""
    for name, lines in (("train", TEXT), ("valid", TEXT[:3]), ("test", test)):
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines or ()), encoding="utf-8")
    files = ", ".join(f"{name}: [{folder / name}.txt]" for name in ("train", "valid", *(["test"] if test else [])))
    words = ("data=text", f"data.splits={{{files}}}", "data.kind=word", "model=tiny", "task.window=16", *words)
    return compose_config([*words, f"data.cache={folder / 'cache'}"])


def settled(config):
    return settle_primary(config, prepare(config))


def test_settle_primary_takes_what_is_declared_if_it_exists(tmp_path):
    declared, notes = settled(config_of(tmp_path))
    assert (declared["metric"], declared["split"], notes) == ("bits_per_byte", "test", [])


def test_settle_primary_names_the_score_that_stands_for_another(tmp_path):
    declared, (note,) = settled(config_of(tmp_path, test=("the cat met a horse",)))
    assert declared["metric"] == "ppl_token"
    assert note.startswith("primary score: ppl_token, not bits_per_byte") and "2 tokens are <unk>" in note


def test_settle_primary_refuses_a_score_that_was_asked_for_and_cannot_be(tmp_path):
    for metric in ("bits_per_byte", "excess_nats"):
        with pytest.raises(SettingsError) as refused:
            settled(config_of(tmp_path, f"report.metric={metric}", test=("the cat met a horse",)))
        assert refused.value.setting == f"report.metric={metric}"


def test_settle_primary_refuses_a_split_that_is_not_scored(tmp_path):
    with pytest.raises(SettingsError) as refused:
        settled(config_of(tmp_path, "report.split=held"))
    assert refused.value.setting == "report.split=held" and "valid, test" in refused.value.remedy


@pytest.mark.parametrize("words", [(), ("+data.splits.test=[]",)])
def test_declared_split_is_valid_if_no_other_has_files(tmp_path, words):
    config = config_of(tmp_path, *words, test=None)
    assert settled(config)[0]["split"] == "valid"


def test_declared_split_of_several_directions_is_their_mean(tmp_path):
    words = ["task=mt", "data.preset=tiny", "data.difficulty=1", "data.columns=[a,b]", "task.directions=[a-b,b-a]"]
    config = compose_config([*words, f"data.cache={tmp_path}", "model=tiny"])
    assert settled(config)[0]["split"] == "test.mean"


def test_settle_primary_takes_the_excess_over_a_generator_whose_probabilities_are_known(tmp_path):
    words = ["data=xor", "report.metric=excess_nats", "model=tiny", "model.vocab_size=69", f"data.cache={tmp_path}"]
    assert settled(compose_config(words))[0]["metric"] == "excess_nats"
    with pytest.raises(SettingsError) as refused:  # a masked model gives no probability of the text
        settled(compose_config([*words, "task=mlm"]))
    assert refused.value.setting == "report.metric=excess_nats"
