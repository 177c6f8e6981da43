"""Whether layers that share parameters win by depth or by convergence, in words and as a table."""

from typing import Any

from tietrain.report.arms import make_stat
from tietrain.report.contrasts import LEVEL
from tietrain.report.factorial import (
    CELLS,
    DECIDING,
    GAIN,
    HALF,
    LEFT,
    RATIOS,
    REMOVED,
    Budget,
    Estimate,
    Factorial,
    factorials,
)
from tietrain.report.pages.markup import bullets, code, escape, fixed, join_words, markdown_table
from tietrain.report.pages.tables import score_text
from tietrain.report.pages.verdict_text import p_text, signed
from tietrain.report.verdicts import Declared, Verdicts
from tietrain.runs.scores import Score

QUESTION = (
    "Do layers that share parameters win because the model is deeper, or because it converges better, and does an unshared model "
    "with tuned training match it at half the computation? (Lin et al. 2023, arXiv 2306.09380, abstract; the estimates are not theirs.)"
)
MEANING = {
    LEFT: "what sharing brings after equal tuning",
    REMOVED: "the part of its gain that tuning removes",
    GAIN: "what sharing brings with the recipe's settings",
    HALF: "the tuned unshared model against the shared one of the recipe",
    RATIOS[0]: "part of the recipe's gain that tuning alone reaches",
    RATIOS[1]: "part of the gain of both together that sharing brings",
}
EXPLANATION = (
    "Brackets: 95 % intervals over seeds, of ratios those of Fieller (1954), which exist only if the interval of the bottom leaves "
    "out 0. A tuned mean has the luck of tuning added. All cells with as many tokens estimate one noise if some have fewer than five seeds.",
    "p Holm: of no effect, adjusted over the first three estimates at all numbers of tokens and the two slopes.",
    "A slope is per factor e of tokens. A gain of convergence shrinks with more tokens, one of capacity stays.",
)


def factorial_text(verdicts: Verdicts) -> str:
    """The question, its answer for each number of tokens, the cells and the estimates; empty if the cells are not there."""
    blocks = []
    for found in factorials(verdicts):
        blocks += [f"{code(found.label)}. {QUESTION}", bullets(answers(found, verdicts.declared))]
        blocks += [_cell_table(found, verdicts.declared.score), _estimate_table(found, verdicts.declared.score)]
    return "\n\n".join([*blocks, bullets(EXPLANATION)]) if blocks else ""


def answers(found: Factorial, declared: Declared) -> list[str]:
    """One line for each number of tokens, and one about their course."""
    lines = [f"{_tokens(budget)}: {answer(budget, declared)}" for budget in found.budgets]
    if not found.slopes:
        return lines
    courses = []
    for name, what in ((GAIN, "with the recipe"), (LEFT, "after tuning")):
        slope = found.slopes[name]
        way = "grows" if declared.score.sign * slope.value > 0 else "shrinks"
        shown = way if slope.differs else "shows no course"
        courses.append(f"{what} it {shown} ({_interval(slope, declared.score)})")
    return [*lines, f"As tokens grow, what sharing brings: {join_words(courses)}."]


def answer(budget: Budget, declared: Declared) -> str:
    """What the estimates at one number of tokens say."""
    if budget.doubts:
        return f"no verdict, because {join_words([*budget.doubts])}."
    score = declared.score
    gain, left, removed = (budget.sums[name] for name in (GAIN, LEFT, REMOVED))
    return " ".join([_explained(gain, left, removed, score), _matched(budget, declared)])


def _explained(gain: Estimate, left: Estimate, removed: Estimate, score: Score) -> str:
    before, after = (_helps(estimate, score) for estimate in (gain, left))
    explained = removed.differs and score.sign * removed.value > 0
    if before and explained:
        return "both, part of the gain is left after tuning." if after else "by convergence, tuning removes the gain."
    if before:
        return (
            "not by convergence, the gain stays after equal tuning."
            if after
            else "undecided, the gain is shown with the recipe alone."
        )
    if after:
        return "not by convergence, sharing wins only after tuning."
    worse = [what for what, one in (("with the recipe", gain), ("after tuning", left)) if one.differs]
    return (
        f"sharing is worse {join_words(worse)}."
        if worse
        else "no gain of sharing is shown, so there is none to explain."
    )


def _helps(estimate: Estimate, score: Score) -> bool:
    return estimate.differs and score.sign * estimate.value > 0


def _matched(budget: Budget, declared: Declared) -> str:
    """Whether the tuned unshared model is not worse than the shared one of the recipe."""
    found = budget.sums[HALF]
    costs = [budget.cells[letter].arm.total("flops") for letter in ("C", "B")]
    share = f" at {100 * costs[0].mean / costs[1].mean:.0f} % of its FLOPs" if costs[0] and costs[1] else ""
    if found.p_not_worse is not None and found.p_not_worse < LEVEL:
        return f"The tuned unshared model matches the shared one of the recipe{share}."
    return f"That the tuned unshared model matches the shared one of the recipe{share} is not shown."


def _cell_table(found: Factorial, score: Score) -> str:
    header = ["tokens", "cell", "layers", "settings", "arm", "parameters", "FLOPs", "seeds", score.title]
    rows = []
    for budget in found.budgets:
        for letter, cell in budget.cells.items():
            layers, is_tuned = CELLS[letter]
            flops = cell.arm.total("flops")
            tuning = cell.arm.tuning
            point = tuning.points[tuning.chosen] if is_tuned and tuning and tuning.chosen else {}
            chosen = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in point.items())
            rows.append(
                [
                    _tokens(budget),
                    letter,
                    layers,
                    escape(chosen) or "recipe",
                    code(cell.arm.name),
                    f"{cell.arm.first.params:,}" if cell.arm.first.params else "—",
                    f"{flops.mean:.3g}" if flops else "—",
                    str(len(cell.values)),
                    score_text(make_stat([*cell.values.values()]), score),
                ]
            )
    return markdown_table(header, rows, n_text=5)


def _estimate_table(found: Factorial, score: Score) -> str:
    header = ["estimate", "meaning", *map(_tokens, found.budgets), "slope"]
    rows = []
    for name in DECIDING:
        cells = [_estimate(budget.sums.get(name), score) for budget in found.budgets]
        rows.append([name, MEANING[name], *cells, _estimate(found.slopes.get(name), score)])
    rows.append([HALF, MEANING[HALF], *(_half(budget, score) for budget in found.budgets), "—"])
    for top, bottom in RATIOS:
        row = [f"({top}) / ({bottom})", MEANING[top, bottom]]
        rows.append([*row, *(_ratio(budget, top, bottom) for budget in found.budgets), "—"])
    return markdown_table(header, rows, n_text=2)


def _estimate(estimate: Estimate | None, score: Score) -> str:
    if estimate is None:
        return "—"
    return f"{_interval(estimate, score)}, p {p_text(estimate.p)}"


def _half(budget: Budget, score: Score) -> str:
    estimate = budget.sums.get(HALF)
    return "—" if estimate is None else f"{_interval(estimate, score)}, p not worse {p_text(estimate.p_not_worse)}"


def _interval(estimate: Estimate, score: Score) -> str:
    return f"{signed(estimate.value, score)} [{signed(estimate.low, score)}, {signed(estimate.high, score)}]"


def _ratio(budget: Budget, top: str, bottom: str) -> str:
    found = budget.ratios.get((top, bottom))
    if found is None or found.low is None or found.high is None:
        return "no interval"
    return f"{fixed(found.value, 2)} [{fixed(found.low, 2)}, {fixed(found.high, 2)}]"


def _tokens(budget: Budget) -> str:
    return f"{budget.tokens:,.0f} tokens"


def factorial_rows(verdicts: Verdicts) -> list[dict[str, Any]]:
    """One row per number of tokens and cell or estimate, and one per slope."""
    rows: list[dict[str, Any]] = []
    for found in factorials(verdicts):
        for budget in found.budgets:
            head = {"label": found.label, "tokens": budget.tokens}
            for letter, cell in budget.cells.items():
                rows += [{**head, "what": letter, "seed": seed, "value": value} for seed, value in cell.values.items()]
            of_sums = {name: estimate for name, estimate in budget.sums.items() if name not in budget.cells}
            rows += [{**head, "what": name, **_numbers(estimate)} for name, estimate in of_sums.items()]
            for (top, bottom), one in budget.ratios.items():
                numbers = {"value": one.value, "low": one.low, "high": one.high}
                rows.append({**head, "what": f"({top}) / ({bottom})", **numbers})
        rows += [
            {"label": found.label, "what": f"slope of {name}", **_numbers(slope)}
            for name, slope in found.slopes.items()
        ]
    return rows


def _numbers(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "p": estimate.p}
