"""The reader is told every difference between arms that is not the tie, and in what they were made equal."""

from dataclasses import replace

from fabricated import MACHINE, make_config, write_run, write_study
from tietrain.config import MatchConfig, TrainConfig, TuneConfig
from tietrain.config.match import solve
from tietrain.report import differences
from tietrain.report.arms import compare, make_arms
from tietrain.report.differences import (
    base_of,
    describe_differences,
    describe_matching,
    differing_settings,
    distinct_settings,
    fingerprint_warnings,
    machine_warnings,
    signature_warnings,
)
from tietrain.runs import record as runs
from tietrain.runs.view import collect


def comparison_of(root):
    return compare(make_arms(collect(root)))[-1]


def distinct(comparison):
    """Name of an arm -> the arm it is compared with, and in what they differ."""
    found = {}
    for arm in comparison.arms:
        if base := base_of(arm, comparison):
            found[arm.name] = (base.name, distinct_settings(arm, base))
    return found


def write_rates(root):
    for label, lr in (("none", 0.002), ("pre_softmax", 0.01)):
        made = make_config("lm", label, 1)
        write_run(root, replace(made, optim=replace(made.optim, lr=lr)))
    return comparison_of(root)


def test_distinct_settings_of_schemes(tmp_path):
    found = distinct(comparison_of(write_study(tmp_path)))
    assert found["pre_softmax"] == ("none", ["tying"])
    assert found["shared_vocab"] == ("none", ["vocabulary"])
    assert found["three_way"] == ("none", ["tying", "vocabulary"])


def test_distinct_settings_besides_the_tie(tmp_path):
    comparison = write_rates(tmp_path)
    assert differing_settings(comparison) == {"optim.lr": {"none": 0.002, "pre_softmax": 0.01}}
    assert distinct(comparison)["pre_softmax"] == ("none", ["tying", "`optim.lr` (`0.01`, not `0.002`)"])


def test_a_tuning_list_is_one_difference(tmp_path):
    for name, rates in {"short": [0.002], "long": [0.002, 0.004]}.items():
        made = make_config("lm", "none", 1)
        points = [{"optim.lr": rate, "model.dropout": 0.0} for rate in rates]
        tune = TuneConfig(name, points, seeds=[101], reporting_seeds=[1], role="reporting", point=1)
        write_run(tmp_path, replace(made, tune=tune))
    comparison = comparison_of(tmp_path)
    assert set(differing_settings(comparison)) == {"tune.name", "tune.points"}
    (found,) = (differences for _, differences in distinct(comparison).values())
    assert found[0] == "`tune.name` (`short`, not `long`)" and found[1].startswith("`tune.points`") and len(found) == 2


def test_describe_differences_wording(tmp_path, golden):
    for label in ("none", "three_way"):
        write_run(tmp_path / "missing", make_config("mt", label, 1))
    for arm in ("aaaaaaaaaa", "bbbbbbbbbb"):
        write_run(tmp_path / "equal", make_config("lm", "none", 1), arm=arm, folder=arm)
    comparisons = {
        "all schemes": comparison_of(write_study(tmp_path / "study")),
        "the arm between was not run": comparison_of(tmp_path / "missing"),
        "two rates": write_rates(tmp_path / "rates"),
        "no recorded difference": comparison_of(tmp_path / "equal"),
    }
    golden("differences", {name: "\n".join(describe_differences(c)) for name, c in comparisons.items()})


def test_warnings_of_equal_arms_are_empty(tmp_path):
    comparison = comparison_of(write_study(tmp_path))
    assert differing_settings(comparison) == {}
    assert machine_warnings(comparison) == fingerprint_warnings(comparison) == signature_warnings(comparison) == []


def test_machine_warnings(tmp_path):
    write_run(tmp_path, make_config("lm", "none", 1))
    made = make_config("lm", "pre_softmax", 1)
    made = replace(made, hardware=replace(made.hardware, precision="bf16"))
    other = {
        "threads": 4,
        "hostname": "b",
        "torch": "2.14.0",
        "compile": True,
        "device_batch_tokens": 512,
        "processes": 2,
    }
    write_run(tmp_path, made, machine=MACHINE | other)
    comparison = comparison_of(tmp_path)
    warnings = machine_warnings(comparison)
    keys = [warning.split("`")[1] for warning in warnings]
    of_machine = ("compile", "device_batch_tokens", "processes", "threads", "torch")
    assert keys == ["hardware.precision", *(f"machine {key}" for key in of_machine)]
    assert "`512` in `pre_softmax`" in warnings[2]
    assert "`1` in `none` seed 1; `2` in `pre_softmax` seed 1" in warnings[3]
    assert differing_settings(comparison) == {}


def sign(directory, **signatures):
    body = runs.read_json(directory / runs.EVAL)
    runs.write_json(directory / runs.EVAL, body | {"signatures": signatures})


def test_signature_warnings(tmp_path):
    for label, tokenize, beam in (("none", "13a", 1), ("three_way", "none", 5), ("shared_vocab", "13a", 1)):
        directory = write_run(tmp_path, make_config("mt", label, 1))
        sign(directory, bleu=f"tok:{tokenize}", chrf="nc:6", decoding=f"beam:{beam}")
    sign(write_run(tmp_path, make_config("mt", "none", 2)), bleu="tok:13a", ter="tok:tercom", decoding="beam:1")
    bleu, decoding = signature_warnings(comparison_of(tmp_path))  # chrf and ter are equal in all runs that have them
    assert bleu.startswith("`bleu` ") and "decoded" in decoding
    assert "`tok:none` in `three_way` seed 1" in bleu and "`tok:13a` in `none` seed 1, `none` seed 2" in bleu
    assert "`beam:5` in `three_way` seed 1" in decoding


def test_fingerprint_warnings_of_one_vocabulary(tmp_path):
    write_run(tmp_path, make_config("lm", "none", 1))
    directory = write_run(tmp_path, make_config("lm", "pre_softmax", 1))
    record = directory / "run.json"
    before = collect(directory)[0].fingerprints["batches"]
    record.write_text(record.read_text().replace(str(before), "other"))
    comparison = comparison_of(tmp_path)
    (warning,) = fingerprint_warnings(comparison)
    assert warning.startswith("seed 1: ") and warning.endswith("(`none` against `pre_softmax`)")
    assert distinct(comparison)["pre_softmax"] == ("none", ["tying", "batches"])


def test_fingerprint_warnings_of_two_vocabularies(tmp_path):
    """Batches that are cut by characters hold the same text; those cut by tokens do not, and the remedy is named."""

    def warnings_of(name, batch_by, batches):
        for size, how, fingerprint in zip((200, 400), batch_by, batches, strict=True):
            made = make_config("lm", "none", 1)
            made = replace(made, model=replace(made.model, vocab_size=size), train=replace(made.train, batch_by=how))
            fingerprints = {"corpus": "c", "vocabulary.decoder": str(size), "batches": fingerprint}
            write_run(tmp_path / name, made, fingerprints=fingerprints)
        return fingerprint_warnings(comparison_of(tmp_path / name))

    assert warnings_of("chars", ("chars", "chars"), ("b", "b")) == []
    (tokens,) = warnings_of("tokens", ("tokens", "tokens"), ("b", "c"))
    (one,) = warnings_of("one", ("chars", "tokens"), ("b", "c"))
    assert tokens.endswith(f"; {differences.REMEDY}") and one.endswith(f"; {differences.REMEDY}")
    (no_remedy,) = warnings_of("other text", ("chars", "chars"), ("b", "c"))
    assert no_remedy.endswith(")")


def test_given_vocabularies_are_told_apart_by_their_content(tmp_path):
    for content in ("a" * 64, "b" * 64):
        made = make_config("lm", "none", 1)
        made = replace(made, data=replace(made.data, vocabulary_contents={"decoder": content}))
        fingerprints = {"corpus": "c", "vocabulary.decoder": content, "batches": content}
        write_run(tmp_path, made, fingerprints=fingerprints)
    comparison = comparison_of(tmp_path)
    (warning,) = fingerprint_warnings(comparison)
    assert warning.endswith(f"; {differences.REMEDY}")
    ((_, found),) = distinct(comparison).values()
    assert found == ["vocabulary", f"`data.vocabulary_contents.decoder` (`{'b' * 12}`, not `{'a' * 12}`)"]


def matched(label, base="none", layers=3, **match):
    made = replace(make_config("lm", label, 1), match=MatchConfig(**{"by": "params", **match}))
    baseline = f"{base} model.n_layers={layers}" if layers != 3 else base
    made = replace(made, match=replace(made.match, baseline=baseline))
    return solve(made, {base: {"rule": base}}, {"n_layers": layers} if layers != 3 else {})


def steps_matched(label):
    match = MatchConfig(by="flops", vary="steps", baseline="none")
    made = replace(make_config("lm", label, 1), train=TrainConfig(max_steps=900), match=match)
    return solve(made, {"none": {"rule": "none"}}, {})


NOTES = ["train and test share 0 lines", "match: model.d_ff from 512 to 680, +0.12 %", "match: shapes differ"]


def test_describe_matching(tmp_path, golden):
    cases = {
        "by parameters": [matched("none"), matched("pre_softmax")],
        "too far apart": [matched("none", vary="n_layers"), matched("pre_softmax", vary="n_layers")],
        "the baseline has another shape": [matched("none"), matched("pre_softmax", layers=4)],
        "by depth, every run of a shared layer counts": [
            matched(label, by="depth", vary="n_layers") for label in ("none", "cross_layer")
        ],
        "by training FLOPs": [steps_matched("none"), steps_matched("pre_softmax")],
        "one arm was not matched": [make_config("lm", "none", 1), matched("pre_softmax")],
    }
    texts = {}
    for name, configs in cases.items():
        for made in configs:
            write_run(tmp_path / name, made)
        texts[name] = "\n".join(describe_matching(comparison_of(tmp_path / name)))
    write_run(tmp_path / "notes", matched("pre_softmax", layers=4), notes=NOTES)
    (texts["the baseline is no arm here, its runs have notes"],) = describe_matching(comparison_of(tmp_path / "notes"))
    assert "847,744 against 846,720, +0.12 %" in texts["by parameters"]
    assert "+8.13 %: these are **not matched**" in texts["too far apart"]
    assert "`model.n_layers` 3, was 3): 3 against 3" in texts["by depth, every run of a shared layer counts"]
    golden("matching", texts)


def test_describe_matching_without_matching_is_empty(tmp_path):
    for label in ("none", "pre_softmax"):
        write_run(tmp_path, make_config("lm", label, 1))
    assert describe_matching(comparison_of(tmp_path)) == []
