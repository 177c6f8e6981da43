"""The reader is told of every difference between arms that is not the tie."""

from dataclasses import replace

from fabricated import MACHINE, make_config, write_run, write_study

from tietrain.report.arms import compare, make_arms
from tietrain.report.collect import collect
from tietrain.report.differences import (
    describe_differences,
    differing_settings,
    fingerprint_warnings,
    machine_warnings,
)


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
    assert machine_warnings(comparison) == fingerprint_warnings(comparison) == []


def test_machine_and_hardware_are_flagged(tmp_path):
    write_run(tmp_path, make_config("lm", "none", 1))
    config = make_config("lm", "pre_softmax", 1)
    config = replace(config, hardware=replace(config.hardware, compile=True))
    write_run(tmp_path, config, machine=MACHINE | {"threads": 4, "hostname": "b", "torch": "2.14.0"})
    comparison = comparison_of(tmp_path)
    text = "\n".join(machine_warnings(comparison))
    assert "`hardware.compile`" in text and "`machine threads`" in text and "`machine torch`" in text
    assert "hostname" not in text
    assert differing_settings(comparison) == {}


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
