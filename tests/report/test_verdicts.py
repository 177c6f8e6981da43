"""Each arm against the baseline that its runs stated: its verdict and score, or why it has none."""

import json
import math
from dataclasses import replace

import pytest
from scipy import stats

from fabricated import digest, make_config, write_run
from tietrain.config import ReportConfig
from tietrain.report.arms import compare, make_arms
from tietrain.report.contrasts import TUNING_LUCK
from tietrain.report.pages.headline import make_headline
from tietrain.report.pages.method import method_details, method_sentences
from tietrain.report.pages.verdict_text import notes
from tietrain.report.verdicts import add_two_level, judge, median_with_diverged
from tietrain.runs import record as runs
from tietrain.runs.view import collect

LOSSES = (2.500, 2.506, 2.497, 2.503)


def write_arm(root, task, label, losses, report=None, *, diverged=(), converted=None, **changes):
    """One run per loss, with seeds from 1 on; a nat of loss costs 12 BLEU and 0.34 bits per byte."""
    for seed, loss in enumerate(losses, start=1):
        config = replace(make_config(task, label, seed), report=report or ReportConfig(), converted=converted)
        write_run(root, config, loss=loss, status="diverged" if seed in diverged else "done", **changes)


def judged(root, *, tuned=True):
    """Verdicts of the only comparison, and name -> ArmVerdict."""
    (comparison,) = compare(make_arms(collect(root)))
    verdicts = judge(comparison, tuned=tuned)
    return verdicts, {one.arm.name: one for one in verdicts.arms}


def shifted(by, *extra):
    """The baseline's losses and more of them, seed by seed."""
    jitter = (0.002, -0.001, 0.0, 0.001)
    return [loss + by + j for loss, j in zip(LOSSES, jitter, strict=True)] + list(extra)


@pytest.mark.parametrize(
    ("by", "margin", "tuned", "at_one_rate"),
    [
        (-0.1, None, "better", "no verdict (differs at this rate)"),
        (0.1, 0.01, "worse", "no verdict (differs at this rate)"),
        (0.0, None, "no difference shown", "no difference shown"),
        (0.0, 0.0001, "no difference shown", "no difference shown"),
        (0.0, 0.01, "equivalent", "equivalent at this rate"),
        (0.02, 0.05, "equivalent", "equivalent at this rate"),  # significant, and smaller than what matters
        (-0.006, 0.002, "not worse", "not worse at this rate"),
    ],
)
def test_judge_verdicts(tmp_path, by, margin, tuned, at_one_rate):
    report = ReportConfig(metric="bits_per_byte", margin=margin)
    write_arm(tmp_path, "lm", "none", LOSSES, report)
    write_arm(tmp_path, "lm", "pre_softmax", shifted(by), report)
    verdicts, arms = judged(tmp_path)
    assert arms["none"].verdict == "baseline" and arms["none"].test is None
    assert arms["pre_softmax"].verdict == tuned
    assert (verdicts.declared.score.name, verdicts.declared.split) == ("bits_per_byte", "test")
    _, arms = judged(tmp_path, tuned=False)
    assert arms["pre_softmax"].verdict == at_one_rate


def test_judge_compares_converted_arms_with_those_of_the_same_conversion_alone(tmp_path):
    report = ReportConfig(metric="bits_per_byte", margin=0.01)
    write_arm(tmp_path, "lm", "none", shifted(0.1), report)
    write_arm(tmp_path, "lm", "pre_softmax", shifted(0.0), report)
    converted = "tying=pre_softmax at step 30 by mean, arm 0123456789ab"
    write_arm(tmp_path, "lm", "cross_layer", shifted(0.001), report, converted=converted, parent="run-7")
    verdicts, arms = judged(tmp_path)
    assert arms["pre_softmax"].verdict == "better"
    assert arms["cross_layer (converted)"].base is None
    assert arms["cross_layer (converted)"].verdict == "no verdict (no arm none of the same conversion)"
    (said,) = [line for line in notes(verdicts) if "run-7" in line]
    assert said.startswith(
        "`cross_layer (converted)` was converted from `run-7` (`tying=pre_softmax at step 30 by mean"
    )
    (comparison,) = compare(make_arms(collect(tmp_path)))
    assert said.replace("`", "") in method_sentences(comparison, replace(verdicts, tuned=False))
    assert "Runs started from" not in " ".join(method_details(comparison))

    write_arm(tmp_path, "lm", "none", shifted(0.0), report, converted=converted, parent="run-7")
    verdicts, arms = judged(tmp_path)
    of_conversion = arms["none (converted)"]
    assert arms["cross_layer (converted)"].base.arm is of_conversion.arm
    assert arms["cross_layer (converted)"].verdict == "equivalent at this rate"  # converted arms are not tuned
    assert arms["pre_softmax"].base.arm.converted == ""
    assert "Both were converted" in make_headline(comparison, verdicts).answer


def test_judge_bleu_more_is_better(tmp_path):
    write_arm(tmp_path, "mt", "none", LOSSES)
    write_arm(tmp_path, "mt", "pre_softmax", shifted(-0.1))
    _, arms = judged(tmp_path)
    assert arms["pre_softmax"].verdict == "better"
    assert arms["pre_softmax"].difference == pytest.approx(1.2, abs=0.02)


def test_judge_compares_arms_of_other_seeds(tmp_path):
    """Seeds are not paired, so an arm needs none in common with its baseline."""
    write_arm(tmp_path, "lm", "none", LOSSES)
    for seed, loss in enumerate(shifted(-0.3), start=11):
        write_run(tmp_path, make_config("lm", "pre_softmax", seed), loss=loss)
    _, arms = judged(tmp_path)
    assert arms["pre_softmax"].verdict == "better" and list(arms["pre_softmax"].deviations) == [11, 12, 13, 14]


def test_judge_adjusts_p_over_all_arms(tmp_path):
    write_arm(tmp_path, "lm", "none", LOSSES)
    write_arm(tmp_path, "lm", "pre_softmax", shifted(0.003))
    write_arm(tmp_path, "lm", "cross_layer", shifted(0.1))
    verdicts, arms = judged(tmp_path)
    weak, strong = arms["pre_softmax"].test, arms["cross_layer"].test
    assert (verdicts.level, verdicts.design.level) == (0.05, 0.025)
    alone = stats.t.sf(abs(strong.difference) / (strong.sd * math.sqrt(2 * (1 / 4 + TUNING_LUCK))), 3 * (4 - 1)) * 2
    assert strong.p == pytest.approx(2 * alone, rel=1e-3) and weak.p > strong.p


@pytest.mark.parametrize("n", [2, 6])
def test_judge_gives_no_verdict_if_seeds_do_not_vary(tmp_path, n):
    """A t test of them has p 0 with any two seeds; a coarse score or rounding can cause it."""
    report = ReportConfig(metric="bits_per_byte", margin=0.01)
    write_arm(tmp_path, "lm", "none", [2.5] * n, report)
    write_arm(tmp_path, "lm", "pre_softmax", [2.4] * n, report)
    write_arm(tmp_path, "lm", "cross_layer", [2.5 * (1 + 1e-15)] * n, report)
    _, arms = judged(tmp_path)
    assert arms["pre_softmax"].verdict == "no verdict (seeds do not vary)"
    same = arms["cross_layer"]  # the same scores, but for rounding
    assert (same.difference, same.test.p, same.verdict) == (0.0, 1.0, "equivalent")


def test_judge_names_a_bad_seed_and_calls_the_arm_unstable(tmp_path):
    write_arm(tmp_path, "lm", "none", LOSSES)
    write_arm(tmp_path, "lm", "pre_softmax", [*shifted(-0.1)[:3], 4.0])
    write_arm(tmp_path, "lm", "cross_layer", shifted(0.0))
    _, arms = judged(tmp_path)
    assert (arms["pre_softmax"].verdict, arms["pre_softmax"].bad) == ("unstable", (4,))
    assert arms["cross_layer"].verdict == "no difference shown"


def test_judge_bounds_an_interval_by_the_score(tmp_path):
    """BLEU lies between 0 and 100."""
    for label, losses in (("none", (2.0, 4.9)), ("pre_softmax", (2.0, 4.8))):
        write_arm(tmp_path, "mt", label, losses)
    _, arms = judged(tmp_path)
    assert (arms["pre_softmax"].test.low, arms["pre_softmax"].test.high) == (-100, 100)


LOOKS = ReportConfig(metric="bits_per_byte", looks=[3, 4, 8])


@pytest.mark.parametrize(
    ("n", "report", "read_at", "verdict", "level"),
    [
        (3, LOOKS, (), "better", 0.05 * 3 / 8),
        (4, LOOKS, (3,), "better", 0.05 / 8),
        (2, LOOKS, (), "no verdict (exploratory)", 0.05),
        (3, ReportConfig(), (), "better", 0.05),
        (3, ReportConfig(), (3,), "better", 0.05),  # read again
        (4, ReportConfig(), (3,), "no verdict (exploratory)", 0.05),  # seeds were added after a look
    ],
)
def test_judge_spends_the_level_over_declared_looks(tmp_path, n, report, read_at, verdict, level):
    write_arm(tmp_path, "lm", "none", LOSSES[:n], report)
    write_arm(tmp_path, "lm", "pre_softmax", shifted(-0.9)[:n], report)
    (comparison,) = compare(make_arms(collect(tmp_path)))
    found = judge(comparison, tuned=True, read_at=read_at)
    assert found.arms[1].verdict == verdict and found.level == pytest.approx(level)


def test_judge_counts_diverged_seeds(tmp_path):
    write_arm(tmp_path, "lm", "none", LOSSES)
    write_arm(tmp_path, "lm", "pre_softmax", shifted(-0.1, 2.4), diverged=(5,))
    write_arm(tmp_path, "lm", "cross_layer", shifted(-0.1), diverged=(1, 2, 3))
    _, arms = judged(tmp_path)
    few, many = arms["pre_softmax"], arms["cross_layer"]
    assert (few.n_diverged, few.n_ended, few.verdict) == (1, 5, "unstable")
    assert few.median == sorted(few.values.values())[2]
    assert (many.n_diverged, many.n_ended, many.median, many.test) == (3, 4, math.inf, None)


def test_judge_counts_a_seed_that_was_run_again_as_it_ended(tmp_path):
    write_arm(tmp_path, "lm", "none", LOSSES)
    write_run(tmp_path, make_config("lm", "none", 1), status="diverged", folder="first")
    _, arms = judged(tmp_path)
    assert (arms["none"].n_diverged, arms["none"].n_ended, arms["none"].verdict) == (0, 4, "baseline")


def test_median_with_diverged_of_a_score_that_is_better_high():
    assert median_with_diverged([30.0, 31.0, 32.0], 1, 1) == 30.5
    assert median_with_diverged([30.0], 1, 1) == -math.inf


def test_judge_gives_no_verdict_against_an_unstable_baseline(tmp_path):
    write_arm(tmp_path, "lm", "none", [*LOSSES, 2.5], diverged=(5,))
    write_arm(tmp_path, "lm", "pre_softmax", shifted(-0.1))
    _, arms = judged(tmp_path)
    assert [one.verdict for one in arms.values()] == ["baseline, unstable", "no verdict (unstable baseline)"]


def test_judge_gives_no_verdict_on_one_seed(tmp_path):
    write_arm(tmp_path, "lm", "none", LOSSES[:1])
    write_arm(tmp_path, "lm", "pre_softmax", [2.4])
    _, arms = judged(tmp_path)
    assert arms["pre_softmax"].verdict == "no verdict (one seed)"
    assert arms["pre_softmax"].difference == pytest.approx(-0.1 * 10_000 / math.log(2) / 42_000)


def test_judge_compares_with_the_declared_baseline(tmp_path):
    for i, label in enumerate(("shared_vocab", "three_way")):
        losses = [loss * (1 + 0.04 * i) for loss in LOSSES]
        write_arm(tmp_path / "stated", "mt", label, losses, ReportConfig(baseline="shared_vocab"))
        write_arm(tmp_path / "missing", "mt", label, losses)
    _, arms = judged(tmp_path / "stated")
    assert {name: one.verdict for name, one in arms.items()} == {"shared_vocab": "baseline", "three_way": "worse"}
    _, arms = judged(tmp_path / "missing")
    assert {name: one.verdict for name, one in arms.items()} == {
        "shared_vocab": "no verdict (no arm none)",
        "three_way": "worse",
    }


def test_judge_compares_a_tie_with_the_untied_arm_of_its_vocabulary(tmp_path):
    """`none` has two vocabularies: against it a tie of both languages would be judged with its vocabulary."""
    for label, by in (("none", 0.0), ("shared_vocab", 0.3), ("three_way", 0.2), ("pre_softmax", 0.1)):
        write_arm(tmp_path, "mt", label, shifted(by))
    verdicts, arms = judged(tmp_path)
    bases = {name: one.base.arm.name for name, one in arms.items() if one.base}
    assert bases == {"shared_vocab": "none", "three_way": "shared_vocab", "pre_softmax": "none"}
    assert (arms["shared_vocab"].verdict, arms["three_way"].verdict) == ("worse", "better")
    assert len(verdicts.arms) == 4 and verdicts.design.level == pytest.approx(0.05 / 3)


def test_judge_compares_each_rate_with_its_own_baseline(tmp_path):
    for label, by in (("none", 0.0), ("pre_softmax", 0.05)):
        for lr in (0.001, 0.004):
            for seed, loss in enumerate(shifted(by + 100 * lr), start=1):
                config = make_config("lm", label, seed)
                write_run(tmp_path, replace(config, optim=replace(config.optim, lr=lr)), loss=loss)
    _, arms = judged(tmp_path, tuned=False)
    for lr in ("0.001", "0.004"):
        found = arms[f"pre_softmax (lr={lr})"]
        assert found.base.arm.name == f"none (lr={lr})"
        assert found.difference == pytest.approx(0.05 * 10_000 / math.log(2) / 42_000)


def test_judge_is_exploratory_if_nothing_was_stated(tmp_path):
    unknown = {"metric": "luck", "split": "test", "baseline": "none", "margin": None}
    for name, declared in (("nothing", {}), ("unknown", unknown)):
        write_arm(tmp_path / name, "lm", "none", LOSSES, declared=declared)
        write_arm(tmp_path / name, "lm", "pre_softmax", shifted(-0.1), declared=declared)
        verdicts, arms = judged(tmp_path / name)
        assert arms["pre_softmax"].verdict == "no verdict (exploratory)" and arms["pre_softmax"].test
        assert verdicts.declared.doubt


def test_judge_is_exploratory_if_runs_stated_different_margins(tmp_path):
    write_arm(tmp_path, "lm", "none", LOSSES)
    write_arm(tmp_path, "lm", "pre_softmax", shifted(0.0), ReportConfig(metric="bits_per_byte", margin=0.5))
    verdicts, arms = judged(tmp_path)
    assert arms["pre_softmax"].verdict == "no verdict (exploratory)"
    assert verdicts.declared.margin is None and verdicts.declared.doubt


def test_read_declared_replaces_perplexity_if_vocabularies_differ(tmp_path):
    report = ReportConfig(metric="ppl_token", margin=5.0)
    other = {"corpus": digest("corpus"), "vocabulary.decoder": digest("other")}
    write_arm(tmp_path, "lm", "none", LOSSES, report)
    write_arm(tmp_path, "lm", "pre_softmax", shifted(0.1), report, fingerprints=other)
    verdicts, arms = judged(tmp_path)
    declared = verdicts.declared
    assert (declared.score.name, declared.instead_of.name, declared.margin) == ("bits_per_byte", "ppl_token", None)
    assert arms["pre_softmax"].verdict == "worse"


def with_documents(root, n_documents=30):
    """Give every run documents that add up to its scores of the test split."""
    for directory in runs.find_runs(root):
        body = json.loads((directory / runs.EVAL).read_text())
        scores = body["splits"]["test"]
        share = scores["nats"] / n_documents
        rows = [
            {"nats": share + (0.5 if i % 2 else -0.5), "tokens": 100, "bytes": 1400, "sha256": f"{i:x}"}
            for i in range(n_documents)
        ]
        scores |= {"nats": math.fsum(row["nats"] for row in rows), "tokens": 100 * n_documents}
        scores["bytes"] = 1400 * n_documents
        runs.write_json(directory / runs.EVAL, body)
        text = "".join(json.dumps({"split": "test", **row}) + "\n" for row in rows)
        runs.write_text(directory / runs.DOCUMENTS, text)


def two_levels(root):
    verdicts, _ = judged(root)
    return add_two_level(verdicts, root)


@pytest.mark.parametrize("n_seeds", [7, 8])
def test_add_two_level_from_eight_seeds_on(tmp_path, n_seeds):
    losses = [2.5 + 0.01 * (seed % 3) for seed in range(n_seeds)]
    write_arm(tmp_path, "lm", "none", losses)
    write_arm(tmp_path, "lm", "pre_softmax", [loss - 0.1 + 0.001 * (i % 2) for i, loss in enumerate(losses)])
    with_documents(tmp_path)
    verdicts = two_levels(tmp_path)
    one = verdicts.arms[1]
    assert verdicts.notes == ()
    if n_seeds < 8:
        assert one.two_level is None
    else:
        low, high = one.two_level
        assert low < one.difference < high < 0 and high - low == pytest.approx(one.test.high - one.test.low, rel=0.4)


def test_add_two_level_of_a_mean_over_directions(tmp_path):
    """One direction has ten times the bytes: the mean is over directions, as the score's own."""
    write_arm(tmp_path, "lm", "none", [2.5] * 8)
    write_arm(tmp_path, "lm", "pre_softmax", [2.4] * 8)
    for directory in runs.find_runs(tmp_path):
        body = json.loads((directory / runs.EVAL).read_text())
        nats, of, lines = body["splits"]["test"]["nats_per_token"], {}, []
        for i, (name, size) in enumerate((("a-b", 1.0), ("a-c", 10.0))):
            rows = [{"nats": size * (nats + i), "tokens": 1, "bytes": int(size), "sha256": f"{j:x}"} for j in range(20)]
            lines += [json.dumps({"split": f"test.{name}", **row}) + "\n" for row in rows]
            sums = {key: math.fsum(row[key] for row in rows) for key in ("nats", "tokens", "bytes")}
            of[f"test.{name}"] = sums | {"bits_per_byte": sums["nats"] / sums["bytes"] / math.log(2)}
        mean = sum(scores["bits_per_byte"] for scores in of.values()) / 2
        body["splits"] = of | {"test.mean": {"bits_per_byte": mean, "directions": ["a-b", "a-c"]}}
        runs.write_json(directory / runs.EVAL, body)
        runs.write_text(directory / runs.DOCUMENTS, "".join(lines))
        record = json.loads((directory / runs.RUN).read_text())
        record["declared"]["split"] = "test.mean"
        runs.write_json(directory / runs.RUN, record)
    verdicts = two_levels(tmp_path)
    one = next(one for one in verdicts.arms if one.arm.name == "pre_softmax")
    assert verdicts.notes == () and one.difference == pytest.approx(-0.1 / math.log(2))
    assert one.two_level == (pytest.approx(one.difference), pytest.approx(one.difference))


def test_add_two_level_notes_missing_and_other_documents(tmp_path):
    write_arm(tmp_path, "lm", "none", [2.5] * 8)
    write_arm(tmp_path, "lm", "pre_softmax", [2.4] * 8)
    with_documents(tmp_path)
    paths = [directory / runs.DOCUMENTS for directory in runs.find_runs(tmp_path)]
    paths[3].write_text(paths[3].read_text().replace('"sha256": "a"', '"sha256": "b"'))
    verdicts = two_levels(tmp_path)
    assert verdicts.arms[1].two_level is None
    assert "`pre_softmax`" in verdicts.notes[0] and "is not the text of" in verdicts.notes[0]
    paths[0].unlink()
    assert "cannot be read" in two_levels(tmp_path).notes[0]
