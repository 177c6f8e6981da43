"""Tables: what an arm costs, what it scores, and the runs that are in no mean."""

from collections.abc import Callable, Sequence
from itertools import product

from tietrain.report.arms import TASK_TITLES, Arm, Comparison, Stat, count_statuses
from tietrain.report.pages.markup import code, count, escape, fixed, markdown_table, powers, some_words
from tietrain.report.verdicts import ArmVerdict, Verdicts
from tietrain.runs.scores import COLUMNS, SCORES, Score, find_score
from tietrain.runs.view import Run

MOST_PATHS = 6
SAME_FLOPS = "the same"


def shown_scores(comparison: Comparison) -> list[Score]:
    """Columns of the score tables of a comparison: those that some arm has, or gives a reason for not having."""
    names = COLUMNS.get(comparison.task, COLUMNS["mt"])
    if len(comparison.vocabularies) > 1:
        names = tuple(dict.fromkeys(("excess_bits_per_byte", *names, "bits_per_byte")))
        names = tuple(sorted(names, key=lambda name: SCORES[name].per_token))
    places = [*product(comparison.arms, comparison.splits)]
    names = tuple(dict.fromkeys((*names, *comparison.signatures)))
    told = [n for n in names if any(a.score(split, n) or (a.done and a.reason(split, n)) for a, split in places)]
    return [score for name in told if (score := find_score(name, comparison.signatures))]


def cost_table(comparison: Comparison, verdicts: Verdicts) -> str:
    """One row per arm: seeds, parameters, what tying saved, FLOPs, steps, tokens, seconds.

    Where more than ties makes arms smaller, or FLOPs differ, also both against the baseline.
    """
    judged = [verdicts.of(arm) for arm in comparison.arms]
    against = {
        "stored, against the baseline": [stored_text(arm_verdict) for arm_verdict in judged],
        "FLOPs, against the baseline": [flops_text(arm_verdict) for arm_verdict in judged],
    }
    shown = {title: texts for title, texts in against.items() if {*texts} - {"", SAME_FLOPS}}
    header = ["arm", "finished", "seeds", "stored parameters", "saved by tying", "training FLOPs"]
    header += ["steps", "target tokens", "training seconds", *shown]
    rows = []
    for i, arm in enumerate(comparison.arms):
        cells = [
            code(arm.name),
            describe_statuses(arm),
            ", ".join(str(run.seed) for run in arm.done) or "—",
            count(arm.first.params),
            saved_text(arm.first),
            stat_text(arm.total("flops"), powers),
        ]
        cells += [stat_text(arm.total(name), count) for name in ("steps", "tokens", "seconds")]
        rows.append(cells + [texts[i] or "—" for texts in shown.values()])
    return markdown_table(header, rows, n_text=3)


def stored_text(arm_verdict: ArmVerdict) -> str:
    """`12.3 % less`: what the arm stores against its baseline; empty if ties alone make the difference, or it is unknown."""
    ours = arm_verdict.arm.first
    theirs = arm_verdict.base.arm.first if arm_verdict.base else None
    if not ours.params or not theirs or not theirs.params or ours.params_untied == theirs.params:
        return ""
    percent = 100 * (ours.params / theirs.params - 1)
    return f"{abs(percent):.1f} % {'less' if percent < 0 else 'more'}"


def flops_text(arm_verdict: ArmVerdict) -> str:
    """`1.02 times` or `the same`: training FLOPs against the baseline; empty if they are unknown."""
    ours = arm_verdict.arm.total("flops")
    theirs = arm_verdict.base.arm.total("flops") if arm_verdict.base else None
    if not ours or not theirs or theirs.mean <= 0:
        return ""
    ratio = f"{ours.mean / theirs.mean:.3g}"
    return SAME_FLOPS if ratio == "1" else f"{ratio} times"


def describe_statuses(arm: Arm) -> str:
    """`3 of 3`, or `2 of 3; diverged 1 of 3 (unstable)`."""
    n = len(arm.runs) - len(arm.repeated)
    statuses = count_statuses(arm.runs)
    parts = [f"{len(arm.done)} of {n}"]
    parts += [f"{status.replace('_', ' ')} {k} of {n}" for status, k in statuses.items() if status != "done"]
    return "; ".join(parts) + (" (unstable)" if "diverged" in statuses else "")


def saved_percent(run: Run) -> float | None:
    """Share of the parameters of the untied model that are not stored; less than 0 if views add more than ties spare."""
    return None if run.params_saved is None or not run.params_untied else 100 * run.params_saved / run.params_untied


def saved_text(run: Run, unit: str = "") -> str:
    """`128,000 (15.1 %)`, or `128,000 parameters (15.1 %)` with this unit; `nothing: adds 64 (0.1 %)` if it is less than 0."""
    saved = saved_percent(run)
    if saved is None or run.params_saved is None:
        return "not recorded"
    return f"{'nothing: adds ' if saved < 0 else ''}{count(abs(run.params_saved))}{unit} ({abs(saved):.1f} %)"


def stat_text(stat: Stat | None, show: Callable[[float], str]) -> str:
    """`mean ± sd (n)`; only the mean for one seed, or if all seeds agree."""
    if stat is None:
        return "—"
    return f"{show(stat.mean)} ± {show(stat.sd)} ({stat.n})" if stat.sd else show(stat.mean)


def score_text(stat: Stat | None, score: Score) -> str:
    """`stat_text` of a score, in the unit and with the decimals in which it is shown."""
    return stat_text(stat, lambda value: fixed(value * score.scale, score.decimals))


def score_table(comparison: Comparison, split: str) -> str:
    """One row per arm with its scores on a split, and below it the reasons for empty cells."""
    scores = shown_scores(comparison)
    several = len(comparison.vocabularies) > 1
    header = ["arm", *(["vocabulary"] if several else []), "stored parameters"]
    header += [score.title + (" †" if several and score.per_token else "") for score in scores]
    reasons: dict[str, int] = {}
    rows = []
    for arm in comparison.arms:
        cells = [code(arm.name)]
        if several:
            cells.append(comparison.vocabularies[arm.target_vocabulary])
        cells.append(count(arm.first.params))
        rows.append(cells + [_score_cell(arm, split, score, reasons) for score in scores])
    table = markdown_table(header, rows, n_text=2 if several else 1)
    notes = [f"({n}) empty: {escape(reason)}  " for reason, n in reasons.items()]
    return "\n".join([table, "", *notes]).rstrip()


def _score_cell(arm: Arm, split: str, score: Score, reasons: dict[str, int]) -> str:
    """The mean over seeds; a number in brackets refers to the reason why a value is missing."""
    stat = arm.score(split, score.name)
    reason = arm.reason(split, score.name) or "not recorded by the run"
    if stat is None:
        return f"— ({reasons.setdefault(reason, len(reasons) + 1)})"
    text = score_text(stat, score)
    n_done = len(arm.done)
    if stat.n < n_done:
        reason = f"in {n_done - stat.n} of {n_done} runs: {reason}"
        text += f" ({reasons.setdefault(reason, len(reasons) + 1)})"
    return text


def left_out_table(runs: Sequence[Run]) -> str:
    """Runs that are in no mean, how they ended and why; those that differ only in their seed share a row. Empty if none."""
    if not runs:
        return ""
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.status == "not_applicable"):
        groups.setdefault((run.status, run.task, run.label, run.reason), []).append(run)
    rows = []
    for (status, task, label, reason), group in groups.items():
        seeds = ["—"] if status == "unreadable" else dict.fromkeys(str(run.seed) for run in group)
        silent = "still running, or stopped without a message (killed, power failure)" if status == "running" else "—"
        row = [
            status.replace("_", " "),
            TASK_TITLES.get(task, escape(task)).lower() or "—",
            code(label) or "—",
            ", ".join(seeds),
            ", ".join(dict.fromkeys(count(run.steps) for run in group)),
            escape(reason) or silent,
            some_words([code(run.path) for run in group], MOST_PATHS),
        ]
        rows.append(row)
    header = ["status", "task", "arm", "seeds", "steps", "why", "runs"]
    return markdown_table(header, rows, n_text=len(header))
