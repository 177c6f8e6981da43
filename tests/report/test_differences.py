"""The reader is told of every difference between arms that is not the tie."""

from dataclasses import replace

import pytest

from fabricated import MACHINE, make_config, write_run, write_study
from tietrain import config
from tietrain.report import differences
from tietrain.report.arms import compare, make_arms
from tietrain.report.differences import (
    describe_differences,
    differing_settings,
    fingerprint_warnings,
    machine_warnings,
    signature_warnings,
)
from tietrain.report.write import write_report
from tietrain.runs import record as runs
from tietrain.runs.view import collect


def comparison_of(root):
    return compare(make_arms(collect(root)))[-1]


def test_chain_from_none_over_shared_vocab_to_three_way(tmp_path):
    lines = describe_differences(comparison_of(write_study(tmp_path)))
    assert "`pre_softmax` differs from `none` in one thing: tying." in lines
    assert "`shared_vocab` differs from `none` in one thing: vocabulary." in lines
    chain = "read the chain `none` → `shared_vocab` → `three_way`"
    assert f"`three_way` differs from `none` in two things: tying and vocabulary ({chain})." in lines


def test_chain_is_missed_where_the_arm_between_was_not_run(tmp_path):
    for label in ("none", "three_way"):
        write_run(tmp_path, make_config("mt", label, 1))
    (line,) = describe_differences(comparison_of(tmp_path))
    assert "no arm here has one of the two alone" in line


def test_settings_besides_the_tie(tmp_path):
    for label, lr in (("none", 0.002), ("pre_softmax", 0.01)):
        config = make_config("lm", label, 1)
        write_run(tmp_path, replace(config, optim=replace(config.optim, lr=lr)))
    comparison = comparison_of(tmp_path)
    assert differing_settings(comparison) == {"optim.lr": {"none": 0.002, "pre_softmax": 0.01}}
    (line,) = describe_differences(comparison)
    assert "in two things: tying and `optim.lr` (`0.01`, not `0.002`)" in line


def test_equal_arms_have_no_differences(tmp_path):
    comparison = comparison_of(write_study(tmp_path))
    assert differing_settings(comparison) == {}
    assert machine_warnings(comparison) == fingerprint_warnings(comparison) == signature_warnings(comparison) == []


def test_machine_and_hardware_are_flagged(tmp_path):
    write_run(tmp_path, make_config("lm", "none", 1))
    config = make_config("lm", "pre_softmax", 1)
    config = replace(config, hardware=replace(config.hardware, precision="bf16"))
    other = {"threads": 4, "hostname": "b", "torch": "2.14.0", "compile": True, "device_batch_tokens": 512}
    write_run(tmp_path, config, machine=MACHINE | other)
    comparison = comparison_of(tmp_path)
    text = "\n".join(machine_warnings(comparison))
    for key in ("hardware.precision", "machine threads", "machine torch", "machine compile"):
        assert f"`{key}`" in text
    assert "`machine device_batch_tokens` is not the same in all runs: " in text and "`512` in `pre_softmax`" in text
    assert "hostname" not in text
    assert differing_settings(comparison) == {}


def sign(directory, **signatures):
    body = runs.read_json(directory / runs.EVAL)
    runs.write_json(directory / runs.EVAL, body | {"signatures": signatures})


def test_scores_under_other_signatures_are_never_compared_silently(tmp_path):
    for label, tokenize, beam in (("none", "13a", 1), ("three_way", "none", 5), ("shared_vocab", "13a", 1)):
        directory = write_run(tmp_path, make_config("mt", label, 1))
        sign(directory, bleu=f"tok:{tokenize}", chrf="nc:6", decoding=f"beam:{beam}")
    sign(write_run(tmp_path, make_config("mt", "none", 2)), bleu="tok:13a", ter="tok:tercom", decoding="beam:1")
    bleu, decoding = signature_warnings(comparison_of(tmp_path))  # chrf and ter are alike wherever they are
    assert bleu.startswith("`bleu` was not computed alike and is not comparable: ")
    assert "`tok:none` in `three_way` seed 1" in bleu and "`tok:13a` in `none` seed 1, `none` seed 2" in bleu
    assert "searched for alike" in decoding and "`beam:5` in `three_way` seed 1" in decoding
    page = write_report(tmp_path).markdown.read_text(encoding="utf-8")
    assert f"**Warning:** {bleu}." in page and "Signature of bleu: `tok:none`" in page


def test_other_batches_under_one_vocabulary_are_flagged(tmp_path):
    write_run(tmp_path, make_config("lm", "none", 1))
    directory = write_run(tmp_path, make_config("lm", "pre_softmax", 1))
    record = directory / "run.json"
    before = collect(directory)[0].fingerprints["batches"]
    record.write_text(record.read_text().replace(str(before), "other"))
    comparison = comparison_of(tmp_path)
    assert fingerprint_warnings(comparison) == [
        "seed 1: the arms did not see the same batches (`none` against `pre_softmax`)"
    ]
    assert "in two things: tying and batches" in describe_differences(comparison)[0]


def write_sizes(root, batch_by, batches):
    """Two arms of two vocabulary sizes, cut in the given ways into the given batches."""
    for size, how, fingerprint in zip((200, 400), batch_by, batches, strict=True):
        made = make_config("lm", "none", 1)
        made = replace(made, model=replace(made.model, vocab_size=size), train=replace(made.train, batch_by=how))
        fingerprints = {"corpus": "c", "vocabulary.decoder": str(size), "batches": fingerprint}
        write_run(root, made, fingerprints=fingerprints)
    return comparison_of(root)


def test_batches_cut_by_characters_are_the_same_text_under_two_vocabularies(tmp_path):
    comparison = write_sizes(tmp_path, ("chars", "chars"), ("b", "b"))
    assert fingerprint_warnings(comparison) == []
    assert "two things: vocabulary and `model.vocab_size`" in describe_differences(comparison)[0]


@pytest.mark.parametrize("batch_by", [("tokens", "tokens"), ("chars", "tokens")])
def test_batches_cut_by_tokens_of_two_vocabularies_have_a_remedy(tmp_path, batch_by):
    (line,) = fingerprint_warnings(write_sizes(tmp_path, batch_by, ("b", "c")))
    assert line.startswith("seed 1: the arms did not see the same batches (")
    assert line.endswith("`train.batch_by=chars` makes them the same text")


def test_no_remedy_is_named_where_it_would_not_help(tmp_path):
    (line,) = fingerprint_warnings(write_sizes(tmp_path, ("chars", "chars"), ("b", "c")))
    assert line.endswith(")")


def test_the_report_knows_what_decides_a_vocabulary():
    assert differences.VOCABULARY_KEYS == config.VOCABULARY_KEYS
