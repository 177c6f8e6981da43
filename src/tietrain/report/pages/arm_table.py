"""The table of arms of `report.html`: what each scores, stores and costs, and its verdict, sortable by every column."""

from __future__ import annotations

from dataclasses import dataclass

from tietrain.report.arms import Comparison, Stat, make_stat
from tietrain.report.figures.canvas import Looks
from tietrain.report.figures.svg import variable
from tietrain.report.pages.markup import count, fixed, powers
from tietrain.report.pages.tables import saved_percent
from tietrain.report.pages.verdict_text import difference_text
from tietrain.report.statistics import half_width
from tietrain.report.verdicts import ArmVerdict, Verdicts
from tietrain.runs.scores import Score


@dataclass(frozen=True)
class Cell:
    """A cell; by: what it is sorted by; note: small print."""

    text: str
    by: float | str = ""
    note: str = ""


@dataclass(frozen=True)
class Row:
    """An arm; key, colour, mark: as in the figures."""

    key: str
    name: str
    colour: str
    mark: str
    cells: tuple[Cell, ...]


def make_header(judgement: Verdicts) -> tuple[str, ...]:
    """Titles of the columns after the arm's."""
    declared = judgement.declared
    better = "higher" if declared.score.sign > 0 else "lower"
    return (
        f"{declared.score.title} on {declared.split}, mean [95\u00a0%], {better} is better",
        "difference [95\u00a0%]",
        "verdict",
        "stored parameters",
        "saved by tying",
        "training FLOPs a target token",
        "training FLOPs",
        "training seconds",
        "seeds",
        "diverged",
    )


def make_rows(comparison: Comparison, judgement: Verdicts, looks: Looks) -> list[Row]:
    """One an arm, in the order of the comparison."""
    rows = []
    for arm in comparison.arms:
        one, run, look = judgement.of(arm), arm.first, looks.of(arm)
        saved = saved_percent(run)
        per_token = arm.stat(lambda run: run.flops / run.tokens if run.flops and run.tokens else None)
        cells = (
            _quality(one, judgement.declared.score),
            _difference(one, judgement.declared.score),
            Cell(one.verdict, one.verdict),
            Cell(count(run.params), _by(run.params)),
            Cell("—" if saved is None else f"{saved:.1f} %", _by(saved), count(run.params_saved) if saved else ""),
            _mean(per_token, powers_of_ten=True),
            _mean(arm.total("flops"), powers_of_ten=True),
            _mean(arm.total("seconds")),
            Cell(str(len(arm.done)), len(arm.done)),
            Cell(f"{one.n_diverged} of {one.n_ended}", one.n_diverged),
        )
        rows.append(Row(look.key, arm.name, variable(look.colour), look.glyph, cells))
    return rows


def _by(value: float | None) -> float | str:
    return "" if value is None else value


def _mean(stat: Stat | None, *, powers_of_ten: bool = False) -> Cell:
    if stat is None:
        return Cell("—")
    show = powers if powers_of_ten else count
    return Cell(show(stat.mean), stat.mean, f"± {show(stat.sd)}" if stat.sd else "")


def _quality(one: ArmVerdict, score: Score) -> Cell:
    stat = make_stat([value * score.scale for value in one.values.values()])
    if stat is None:
        return Cell("—")
    half = half_width(stat.n, stat.sd) if stat.sd is not None else None
    low_high = (
        "one seed"
        if half is None
        else f"[{fixed(stat.mean - half, score.decimals)}, {fixed(stat.mean + half, score.decimals)}]"
    )
    return Cell(fixed(stat.mean, score.decimals), stat.mean, low_high)


def _difference(one: ArmVerdict, score: Score) -> Cell:
    text, _, interval = difference_text(one, score).partition(" ")
    by = one.paired.mean if one.paired else next(iter(one.differences), "")
    return Cell(text, by, interval)
