"""Parts of a report as Markdown, one by one: both of its pages are made of them."""

from __future__ import annotations

from collections.abc import Sequence

from tietrain.report.arms import Comparison, count_statuses, show_value
from tietrain.report.differences import (
    describe_differences,
    describe_matching,
    differing_settings,
    fingerprint_warnings,
    machine_warnings,
    signature_warnings,
)
from tietrain.report.pages.markup import code, escape, join_words, markdown_table
from tietrain.report.pages.tables import score_table, shown_scores
from tietrain.report.pages.tuning_text import doubts, tuned_arms
from tietrain.report.ties import describe_ties
from tietrain.report.verdicts import Verdicts
from tietrain.runs.view import Run

INTRODUCTION = """An arm is everything but the seed: tying plan, vocabulary and every setting. Numbers are means over
finished runs, one a seed, as mean ± sample standard deviation (number of seeds) where there are several. Parameters
count a shared tensor once; FLOPs count every use.""".replace("\n", " ")


def title(found: Sequence[Run]) -> str:
    """What the report is about, in a line."""
    studies = [code(study) for study in sorted({run.study for run in found if run.study})]
    if not studies:
        return "Runs without a readable study"
    return f"{'Study' if len(studies) == 1 else 'Studies'} {join_words(studies)}"


def counted(found: Sequence[Run], comparisons: Sequence[Comparison]) -> str:
    """How many runs, arms and comparisons there are."""
    counts = join_words([f"{n} {status.replace('_', ' ')}" for status, n in count_statuses(found).items()])
    n_arms = sum(len(c.arms) for c in comparisons)
    nothing = "" if comparisons else " No run got as far as an arm, so there is nothing to compare."
    return f"{_n(len(found), 'run')}: {counts}. {_n(n_arms, 'arm')} in {_n(len(comparisons), 'comparison')}.{nothing}"


def _n(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def bullets(lines: Sequence[str]) -> str:
    """A list."""
    return "\n".join(f"- {line}" for line in lines)


def warnings(comparison: Comparison) -> list[str]:
    """Whatever makes the table less than a clean comparison."""
    checks = (signature_warnings, machine_warnings, fingerprint_warnings)
    found = [f"**Warning:** {text}." for check in checks for text in check(comparison)]
    tuned = tuned_arms(comparison)
    found += [f"**Warning:** {code(arm.name)}: {text}." for arm, tuning in tuned for text in doubts(tuning)]
    seeds = {tuple(run.seed for run in arm.done) for arm in comparison.arms if arm.done}
    if len(seeds) > 1:
        found.append("**Warning:** the arms were not run with the same seeds; see the column.")
    for arm in comparison.arms:
        again = f"of {code(arm.name)} and is not counted again."
        found += [f"{code(run.path)} repeats seed {run.seed} {again}" for run in arm.repeated]
        found += [f"{code(run.path)} has no curve: {escape(run.no_curve)}." for run in arm.runs if run.no_curve]
    return found


def scores(comparison: Comparison, judgement: Verdicts) -> list[tuple[str, str]]:
    """Heading and table of every scored split."""
    found = []
    for split in comparison.splits:
        about = ["chose the checkpoint"] if split.partition(".")[0] == "valid" else []
        about += [] if judgement.declared.is_primary(split) else ["exploratory"]
        head = f"Scores on {escape(split)}" + (f" ({', '.join(about)})" if about else "")
        found.append((head, score_table(comparison, split)))
    return found


def score_notes(comparison: Comparison) -> list[str]:
    """What the score tables need said."""
    notes = []
    if len(comparison.vocabularies) > 1:
        sizes = [f"{letter}: {_vocabulary(comparison, content)}" for content, letter in comparison.vocabularies.items()]
        notes.append(
            f"† Target vocabularies differ ({'; '.join(sizes)}): perplexities and nats a token are comparable only "
            "between arms of one vocabulary and are not ranked across them; bits per byte, BLEU and chrF may be."
        )
    notes += [score.meaning + "." for score in shown_scores(comparison) if score.meaning]
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


def differences(comparison: Comparison) -> str:
    """In what arms differ besides the tie: sentences, and a table of settings."""
    if len(comparison.arms) == 1:
        return "There is one arm."
    lines = describe_differences(comparison) or ["There is no untied arm to read the others against."]
    lines += describe_matching(comparison)
    settings = differing_settings(comparison)
    if not settings:
        return bullets([*lines, "No setting besides the tie and the hardware differs between the arms."])
    rows = [
        [code(a.name), *(code(show_value(values[a.name])) for values in settings.values())] for a in comparison.arms
    ]
    table = markdown_table(["arm", *map(code, settings)], rows, n_text=1 + len(settings))
    return f"{bullets(lines)}\n\nSettings besides the tie that differ:\n\n{table}"


def ties(comparison: Comparison) -> str:
    """Tie groups of each arm, from its plan."""
    lines: list[str] = []
    for arm in comparison.arms:
        ties = describe_ties(arm.first.owner)
        unknown = "not recorded" if not arm.first.owner else "nothing"
        plan = f" (plan {code(arm.first.plan_hash)})" if arm.first.plan_hash else ""
        lines.append(f"- {code(arm.name)}{plan}: {'; '.join(ties) or unknown}")
    return "\n".join(lines)
