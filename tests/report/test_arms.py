"""Arms, their names and means; comparisons, their splits, vocabularies and titles."""

import json
from dataclasses import replace

import pytest

from fabricated import TIES, digest, make_config, write_run, write_study
from tietrain.config import DataConfig, TyingConfig
from tietrain.report.arms import Arm, Stat, compare, count_statuses, make_arms, make_stat
from tietrain.runs import record as runs
from tietrain.runs.view import collect


def arms_of(root) -> dict[str, Arm]:
    return {arm.name: arm for arm in make_arms(collect(root))}


def test_make_stat():
    assert make_stat([]) is None
    assert make_stat([2.0]) == Stat(2.0, None, 1)
    assert make_stat([1.0, 3.0]) == Stat(2.0, 2**0.5, 2)


def test_make_arms_joins_seeds_and_leaves_unfinished_runs_out_of_means(tmp_path):
    for seed, loss in ((1, 2.0), (2, 3.0)):
        write_run(tmp_path, make_config("lm", "none", seed), loss=loss)
    write_run(tmp_path, make_config("lm", "none", 3), loss=9.0, status="diverged")
    arm = arms_of(tmp_path)["none"]
    assert count_statuses(arm.runs) == {"done": 2, "diverged": 1}
    assert arm.score("valid", "nats_per_token") == Stat(2.5, 0.5**0.5, 2)


def test_done_counts_a_repeated_seed_once(tmp_path):
    for folder in ("a", "b"):
        write_run(tmp_path, make_config("lm", "none", 1), folder=folder)
    arm = arms_of(tmp_path)["none"]
    assert [run.path for run in arm.done] == ["a"] and [run.path for run in arm.repeated] == ["b"]


def test_make_arms_names_what_differs(tmp_path):
    config = make_config("lm", "cross_layer", 1)
    for n in (1, 2):
        tie = {**TIES["cross_layer"]["cross_layer"], "n_unique": n}
        write_run(tmp_path, replace(config, tying=TyingConfig({"cross_layer": tie})))
    fast = replace(config, optim=replace(config.optim, lr=0.01))
    write_run(tmp_path, fast)
    assert arms_of(tmp_path).keys() == {
        "cross_layer (n_unique=1, lr=0.002)",
        "cross_layer (n_unique=2, lr=0.002)",
        "cross_layer (n_unique=1, lr=0.01)",
    }


def test_make_arms_names_fall_back_to_the_hash(tmp_path):
    for arm in ("aaaaaaaaaa", "bbbbbbbbbb"):
        write_run(tmp_path, make_config("lm", "none", 1), arm=arm, folder=arm)
    assert arms_of(tmp_path).keys() == {"none (aaaaaa)", "none (bbbbbb)"}


def test_compare_groups_by_task_and_corpus(tmp_path):
    write_study(tmp_path)
    other = {"corpus": digest("other"), "vocabulary.decoder": digest("v")}
    write_run(tmp_path, make_config("lm", "none", 1), folder="other", arm="other", fingerprints=other)
    write_run(tmp_path, make_config("lm", "none", 7), folder="never", arm="", status="failed")
    comparisons = compare(make_arms(collect(tmp_path)))
    assert [c.slug for c in comparisons] == ["lm", "lm2", "mt"]
    assert sorted(len(c.arms) for c in comparisons) == [1, 3, 6]
    mt = comparisons[2]
    assert [arm.name for arm in mt.arms][:2] == ["none", "shared_vocab"]
    assert mt.arms[-1].name == "cross_layer"  # the fewest stored parameters come last
    assert mt.splits == ["test", "held", "valid"]
    assert list(mt.vocabularies.values()) == ["A", "B"]


def test_splits_order_is_primary_then_test_then_valid(tmp_path):
    found = ["valid.a-b", "valid.mean", "test.a-b", "test.mean", "held.mean", "train.a-b"]
    scores = {"bleu": 1.0}
    for name, stated in (("mean", "test.mean"), ("other", "held.mean")):
        declared = {"metric": "bleu", "split": stated, "baseline": "none", "margin": None}
        directory = write_run(tmp_path / name, make_config("mt", "none", 1), declared=declared)
        body = json.loads((directory / runs.EVAL).read_text())
        runs.write_json(directory / runs.EVAL, body | {"splits": dict.fromkeys(found, scores)})
    rest = ["test.a-b", "valid.mean", "valid.a-b"]
    (mean,), (other,) = (compare(make_arms(collect(tmp_path / name))) for name in ("mean", "other"))
    assert mean.splits == ["test.mean", "test.a-b", "held.mean", *rest[1:]]
    assert other.splits == ["held.mean", "test.mean", *rest]


def test_vocabularies_are_those_of_every_decoder(tmp_path):
    """Two decoders, and in one arm one of them has another vocabulary: perplexities are not compared."""
    slots = [
        {"slot": f"decoder_{x}.{part}.weight", "owner": "", "shape": [9, 4]}
        for x in "ab"
        for part in ("embed", "output")
    ]
    for arm, contents in (("one", ("v", "v")), ("two", ("v", "w"))):
        own = {f"vocabulary.decoder_{x}": content for x, content in zip("ab", contents, strict=True)}
        config = make_config("mt", "none", 1)
        directory = write_run(tmp_path, config, folder=arm, arm=arm, fingerprints={"corpus": "c", **own})
        runs.write_json(directory / runs.PLAN, {"slots": slots})
    (comparison,) = compare(make_arms(collect(tmp_path)))
    assert set(comparison.vocabularies) == {"v", "v+w"}
    assert {arm.vocab_size for arm in comparison.arms} == {9}


def test_n_rates_counts_within_one_way_of_tying(tmp_path):
    for rates in ((0.002,), (0.001, 0.002, 0.004)):
        root = tmp_path / str(len(rates))
        for label in ("none", "pre_softmax"):
            for rate in rates:
                config = make_config("lm", label, 1)
                write_run(root, replace(config, optim=replace(config.optim, lr=rate)))
        (comparison,) = compare(make_arms(collect(root)))
        assert comparison.n_rates == len(rates)


def test_excess_bits_per_byte_needs_bits_per_byte(tmp_path):
    write_run(tmp_path, make_config("mt", "none", 1), loss=2.5)
    arm = arms_of(tmp_path)["none"]
    stat = arm.score("valid", "excess_bits_per_byte")
    assert stat is not None and stat.mean == pytest.approx(0.5 * 10_000 / 0.6931471805599453 / 42_000)
    assert arm.reason("held", "excess_bits_per_byte").startswith("3 tokens")


def test_title_names_the_corpus(tmp_path):
    write_run(tmp_path, make_config("lm", "none", 1), folder="generated")
    files = make_config("mt", "none", 1)
    files = replace(
        files, data=DataConfig(format="text", splits={"train": ["a.en", "a.de"], "valid": ["v.en", "v.de"]})
    )
    write_run(tmp_path, files, folder="files", fingerprints={"corpus": digest("files")})
    for meanings in ("crossed", "aligned"):
        strings = replace(make_config("lm", "none", 1), data=DataConfig(format="xor", meanings=meanings))
        write_run(tmp_path, strings, folder=meanings, fingerprints={"corpus": digest(meanings)})
    titles = {c.title for c in compare(make_arms(collect(tmp_path)))}
    of_lm = {f"Language model, {text} corpus" for text in ("grammar small", "xor crossed", "xor aligned")}
    assert titles == {*of_lm, "Translation, a.en, a.de"}
