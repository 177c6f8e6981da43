"""Tables: what an arm costs, what it scores, and the runs that are in no mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tietrain.report.arms import TASK_TITLES, Arm, Comparison, Stat
from tietrain.report.pages.markup import code, count, escape, fixed, markdown_table, powers
from tietrain.runs.scores import COLUMNS, SCORES, Score
from tietrain.runs.view import Run

MOST_PATHS = 6
COUNTS = (("steps", "steps"), ("tokens", "target tokens"), ("seconds", "training seconds"))


def shown_scores(comparison: Comparison) -> list[Score]:
    """Columns of the score tables of a comparison."""
    names = COLUMNS.get(comparison.task, COLUMNS["mt"])
    if len(comparison.vocabularies) > 1:
        names = tuple(dict.fromkeys(("excess_bits_per_byte", *names, "bits_per_byte")))
        names = tuple(sorted(names, key=lambda name: SCORES[name].per_token))
    return [
        SCORES[name]
        for name in names
        if any(_has(arm, split, name) for arm in comparison.arms for split in comparison.splits)
    ]


def _has(arm: Arm, split: str, name: str) -> bool:
    return arm.score(split, name) is not None or bool(arm.done and arm.reason(split, name))


def cost_table(comparison: Comparison) -> str:
    """One row an arm: seeds, parameters, what tying saved, FLOPs, steps, tokens, seconds."""
    header = [
        "arm",
        "finished",
        "seeds",
        "stored parameters",
        "saved by tying",
        "training FLOPs",
        *(title for _, title in COUNTS),
    ]
    rows = []
    for arm in comparison.arms:
        first = arm.first
        rows.append(
            [
                code(arm.name),
                describe_statuses(arm),
                ", ".join(str(run.seed) for run in arm.done) or "—",
                count(first.params),
                _saved(first),
                stat_text(arm.total("flops"), powers),
                *(stat_text(arm.total(name), count) for name, _ in COUNTS),
            ]
        )
    return markdown_table(header, rows, n_text=3)


def describe_statuses(arm: Arm) -> str:
    """`3 of 3`, or `2 of 3; diverged 1 of 3 (unstable)`."""
    n = len(arm.runs) - len(arm.repeated)
    parts = [f"{len(arm.done)} of {n}"]
    parts += [f"{status.replace('_', ' ')} {k} of {n}" for status, k in arm.statuses.items() if status != "done"]
    return "; ".join(parts) + (" (unstable)" if "diverged" in arm.statuses else "")


def saved_percent(run: Run) -> float | None:
    """Share of the parameters of the untied model that are not stored."""
    return None if run.params_saved is None or not run.params_untied else 100 * run.params_saved / run.params_untied


def _saved(run: Run) -> str:
    saved = saved_percent(run)
    return "—" if saved is None else f"{run.params_saved:,} ({saved:.1f} %)"


def stat_text(stat: Stat | None, show: Callable[[float], str]) -> str:
    """`mean ± sd (n)`; the mean alone for one seed, or where all seeds agree."""
    if stat is None:
        return "—"
    return f"{show(stat.mean)} ± {show(stat.sd)} ({stat.n})" if stat.sd else show(stat.mean)


def score_table(comparison: Comparison, split: str) -> str:
    """One row an arm with its scores on a split, and the reasons of empty cells under it."""
    scores = shown_scores(comparison)
    several = len(comparison.vocabularies) > 1
    header = ["arm", *(["vocabulary"] if several else []), "stored parameters"]
    header += [s.title + (" †" if several and s.per_token else "") for s in scores]
    reasons: dict[str, int] = {}
    rows = []
    for arm in comparison.arms:
        cells = [
            code(arm.name),
            *([comparison.vocabularies[arm.target_vocabulary]] if several else []),
            count(arm.first.params),
        ]
        rows.append(cells + [_score_cell(arm, split, score, reasons) for score in scores])
    notes = [f"({n}) empty: {escape(why)}" for why, n in reasons.items()]
    return "\n".join(
        [markdown_table(header, rows, n_text=2 if several else 1), "", *(f"{note}  " for note in notes)]
    ).rstrip()


def _score_cell(arm: Arm, split: str, score: Score, reasons: dict[str, int]) -> str:
    stat, why = arm.score(split, score.name), arm.reason(split, score.name) or "not recorded by the run"
    if stat is None:
        return f"— ({reasons.setdefault(why, len(reasons) + 1)})"
    scaled = Stat(stat.mean * score.scale, None if stat.sd is None else stat.sd * score.scale, stat.n)
    text = stat_text(scaled, lambda v: fixed(v, score.decimals))
    if stat.n < len(arm.done):
        some = f"in {len(arm.done) - stat.n} of {len(arm.done)} runs: {why}"
        text += f" ({reasons.setdefault(some, len(reasons) + 1)})"
    return text


def left_out_table(runs: Sequence[Run]) -> str:
    """Runs that are in no mean, how they ended and why; those that differ in their seed alone are one row."""
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.status == "not_applicable"):
        groups.setdefault((run.status, run.task, run.label, run.reason), []).append(run)
    header = ["status", "task", "arm", "seeds", "steps", "why", "runs"]
    return markdown_table(header, [_left_out_row(group) for group in groups.values()], n_text=len(header))


def _left_out_row(group: Sequence[Run]) -> list[str]:
    run = group[0]
    seeds = ["—"] if run.status == "unreadable" else dict.fromkeys(str(run.seed) for run in group)
    paths = [code(run.path) for run in group]
    return [
        run.status.replace("_", " "),
        TASK_TITLES.get(run.task, escape(run.task)).lower() or "—",
        code(run.label) or "—",
        ", ".join(seeds),
        ", ".join(dict.fromkeys(count(run.steps) for run in group)),
        escape(run.reason) or _silence(run.status),
        ", ".join(paths[:MOST_PATHS]) + (f" and {len(paths) - MOST_PATHS} more" if len(paths) > MOST_PATHS else ""),
    ]


def _silence(status: str) -> str:
    return "still at work, or ended without a word (killed, power)" if status == "running" else "—"
