"""The page of a report: prose and tables that a colleague can read without having seen the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tietrain.report.arms import Comparison, count_statuses, show_value
from tietrain.report.canvas import Drawing
from tietrain.report.collect import Run, Scalar
from tietrain.report.differences import (
    describe_differences,
    differing_settings,
    fingerprint_warnings,
    machine_warnings,
    signature_warnings,
)
from tietrain.report.markup import code, count, escape, join_words, markdown_table
from tietrain.report.tables import MEANINGS, cost_table, left_out_table, score_table, shown_scores
from tietrain.report.ties import describe_ties

# Fewer seeds than this show no spread worth the name.
FEW_SEEDS = 3

Drawings = Mapping[str, Sequence[Drawing]]

INTRODUCTION = """An arm is everything but the seed: tying plan, vocabulary and every setting. Numbers are means over
finished runs, one a seed, as mean ± sample standard deviation (number of seeds) where there are several. Parameters
count a shared tensor once; FLOPs count every use.""".replace("\n", " ")


def make_page(found: Sequence[Run], comparisons: Sequence[Comparison], drawings: Drawings) -> str:
    """The whole of `report.md`; equal runs give equal text."""
    blocks = [f"# {_title(found)}", _summary(found, comparisons)]
    for comparison in comparisons:
        blocks += _comparison(comparison, drawings.get(comparison.slug, ()))
    left_out = [run for run in found if run.status != "done"]
    if left_out:
        blocks += ["## Runs left out of every mean", left_out_table(left_out)]
    blocks += ["## Files", _files()]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _title(found: Sequence[Run]) -> str:
    studies = [code(study) for study in sorted({run.study for run in found if run.study})]
    if not studies:
        return "Runs without a readable study"
    return f"{'Study' if len(studies) == 1 else 'Studies'} {join_words(studies)}"


def _summary(found: Sequence[Run], comparisons: Sequence[Comparison]) -> str:
    counts = join_words([f"{n} {status.replace('_', ' ')}" for status, n in count_statuses(found).items()])
    n_arms = sum(len(c.arms) for c in comparisons)
    counted = f"{_n(len(found), 'run')}: {counts}. {_n(n_arms, 'arm')} in {_n(len(comparisons), 'comparison')}."
    nothing = "" if comparisons else " No run got as far as an arm, so there is nothing to compare."
    return f"{counted} {INTRODUCTION}{nothing}"


def _n(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _verdict(comparison: Comparison) -> str:
    """What the numbers can carry, said before they are shown.

    Fewer than three seeds carry no verdict, nor does one learning rate: another could favour another arm.
    """
    low, high = comparison.seeds
    seeds = _n(high, "seed") if low == high else f"{low} to {high} seeds"
    rate = "one rate" if comparison.n_rates == 1 else f"{comparison.n_rates} rates"
    if high == 0:
        return "no finished run"
    if low < FEW_SEEDS:
        return f"illustration, no verdict: {rate}, {seeds}"
    return f"spread without a verdict: {rate}, {seeds}"


def _comparison(comparison: Comparison, drawings: Sequence[Drawing]) -> list[str]:
    blocks = [f"## {escape(comparison.title)}", f"### Comparison: {_verdict(comparison)}", cost_table(comparison)]
    blocks.append(_bullets(_warnings(comparison)))
    for split in comparison.splits:
        chosen = " (chose the checkpoint)" if split == "valid" else ""
        blocks += [f"#### Scores on {escape(split)}{chosen}", score_table(comparison, split)]
    blocks.append(_bullets(_score_notes(comparison)))
    if drawings:
        blocks.append("### Figures")
        blocks += [_figure(comparison, drawing) for drawing in drawings]
    blocks += ["### What differs between the arms", _differences(comparison)]
    blocks += ["### What is tied", _ties(comparison)]
    blocks += ["### Method", _bullets(_method(comparison))]
    return blocks


def _figure(comparison: Comparison, drawing: Drawing) -> str:
    stem = f"{comparison.slug}_{drawing.name}"
    links = f"Data: [{stem}.csv]({stem}.csv), vector: [{stem}.svg]({stem}.svg)"
    return f"![{drawing.name.replace('_', ' ')}]({stem}.png)\n\n*{drawing.caption}* {links}"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _warnings(comparison: Comparison) -> list[str]:
    """Whatever makes the table less than a clean comparison."""
    warnings = [warn(comparison) for warn in (signature_warnings, machine_warnings, fingerprint_warnings)]
    found = [f"**Warning:** {text}." for texts in warnings for text in texts]
    seeds = {tuple(run.seed for run in arm.done) for arm in comparison.arms if arm.done}
    if len(seeds) > 1:
        found.append("**Warning:** the arms were not run with the same seeds; see the column.")
    for arm in comparison.arms:
        again = f"of {code(arm.name)} and is not counted again."
        found += [f"{code(run.path)} repeats seed {run.seed} {again}" for run in arm.repeated]
    return found


def _score_notes(comparison: Comparison) -> list[str]:
    notes = []
    if len(comparison.vocabularies) > 1:
        sizes = [f"{letter}: {_vocabulary(comparison, content)}" for content, letter in comparison.vocabularies.items()]
        notes.append(
            f"† Target vocabularies differ ({'; '.join(sizes)}): perplexities and nats a token are comparable only "
            "between arms of one vocabulary and are not ranked across them; bits per byte, BLEU and chrF may be."
        )
    notes += [MEANINGS[score.name] + "." for score in shown_scores(comparison) if score.name in MEANINGS]
    signatures = dict.fromkeys(
        f"{escape(name)}: {code(signature, in_table=False)}"
        for arm in comparison.arms
        for run in arm.done
        for name, signature in run.signatures.items()
    )
    return notes + [f"Signature of {text}" for text in signatures]


def _vocabulary(comparison: Comparison, content: str) -> str:
    """Size and fingerprint of a target vocabulary."""
    size = next(arm.vocab_size for arm in comparison.arms if arm.target_vocabulary == content)
    return (f"{size:,} pieces, " if size else "") + (code(content[:12]) if content else "not recorded")


def _differences(comparison: Comparison) -> str:
    if len(comparison.arms) == 1:
        return "There is one arm."
    lines = describe_differences(comparison) or ["There is no untied arm to read the others against."]
    settings = differing_settings(comparison)
    if not settings:
        return _bullets([*lines, "No setting besides the tie and the hardware differs between the arms."])
    rows = [
        [code(a.name), *(code(show_value(values[a.name])) for values in settings.values())] for a in comparison.arms
    ]
    table = markdown_table(["arm", *map(code, settings)], rows, n_text=1 + len(settings))
    return f"{_bullets(lines)}\n\nSettings besides the tie that differ:\n\n{table}"


def _ties(comparison: Comparison) -> str:
    """Tie groups of each arm, from its plan."""
    lines: list[str] = []
    for arm in comparison.arms:
        ties = describe_ties(arm.first.owner)
        unknown = "not recorded" if not arm.first.owner else "nothing"
        plan = f" (plan {code(arm.first.plan_hash)})" if arm.first.plan_hash else ""
        lines.append(f"- {code(arm.name)}{plan}: {'; '.join(ties) or unknown}")
    return "\n".join(lines)


def _method(comparison: Comparison) -> list[str]:
    """How the runs were made, from their records; a value that is not the same in all of them says so."""
    runs = [run for arm in comparison.arms for run in (arm.done or (arm.first,))]
    settings = _values([run.settings for run in runs])

    def listed(prefix: str, otherwise: str = "not recorded") -> str:
        return _listed({k.removeprefix(prefix) or k: v for k, v in settings.items() if k.startswith(prefix)}, otherwise)

    budget = listed("train.max_", "no limit stated, the default number of steps")
    lines = [
        f"Task: {listed('task.')}.",
        f"Corpus: {listed('data.')}; {_fingerprints(runs, 'corpus')}.",
        f"Vocabulary: {_fingerprints(runs, 'vocabulary')}.",
        f"Model: {listed('model.')}.",
        f"Budget: {budget}; target tokens a step: {listed('train.batch_tokens')}.",
        f"Optimizer and schedule: {listed('optim.')}.",
        f"Hardware: {listed('hardware.')}.",
        f"Machine: {_listed(_values([run.machine for run in runs]))}.",
        f"FLOPs: {_either([run.convention for run in runs])}, forward and backward, over real lengths.",
        f"Scored weights: {_either([run.chosen_by for run in runs])}, "
        f"at step {_either([count(run.checkpoint_step) for run in runs])}.",
    ]
    if any(run.windows for run in runs):
        lines.append(f"Windows of the language model: {_listed(_values([run.windows for run in runs]))}.")
    if parents := sorted({run.parent for run in runs if run.parent}):
        lines.append(f"Started from the weights of {join_words([code(parent) for parent in parents])}.")
    return lines + [escape(note) for note in dict.fromkeys(note for run in runs for note in run.notes)]


def _values(maps: Sequence[Mapping[str, Scalar]]) -> dict[str, dict[str, None]]:
    """Key -> every value it has in some map, in order; a key that is empty everywhere is left out."""
    values: dict[str, dict[str, None]] = {}
    for found in maps:
        for key, value in found.items():
            values.setdefault(key, {})[show_value(value)] = None
    return {key: found for key, found in values.items() if found.keys() - {"null", ""}}


def _listed(values: Mapping[str, Mapping[str, None]], otherwise: str = "not recorded") -> str:
    """`key=value` of each key; several values are all said, up to a few."""
    shown = [
        code(f"{key}={' or '.join(list(found)[:4])}{' or …' if len(found) > 4 else ''}")
        for key, found in values.items()
    ]
    return ", ".join(shown) or otherwise


def _fingerprints(runs: Sequence[Run], name: str) -> str:
    found = _values([run.fingerprints for run in runs])
    short = {k: {value[:16]: None for value in v} for k, v in found.items() if k == name or k.startswith(name + ".")}
    return f"fingerprint {_listed(short)}" if short else "no fingerprint recorded"


def _either(texts: Sequence[str]) -> str:
    return " or ".join(code(text) for text in dict.fromkeys(texts) if text) or "not recorded"


def _files() -> str:
    return _bullets(
        [
            "[arms.csv](arms.csv), [arms.json](arms.json): an arm a row; every score with its sd and number of seeds",
            "[runs.csv](runs.csv), [runs.json](runs.json): a run a row, whatever became of it",
        ]
    )
