"""The trials of a comparison in words: how many an arm had, what each scored, what is chosen, and what to doubt."""

from __future__ import annotations

import math

from tietrain.report.arms import Arm, Comparison, show_value
from tietrain.report.pages.markup import code, fixed, markdown_table
from tietrain.report.tuning import Tuning, edge_keys, expected_best

DECIMALS = 4
UNLIKE = "Nats a token compare the points of one arm, and not arms: their vocabularies differ."


def tuned_arms(comparison: Comparison) -> list[tuple[Arm, Tuning]]:
    """The arms that were tuned, with their trials."""
    return [(arm, arm.tuning) for arm in comparison.arms if arm.tuning]


def heading_words(comparison: Comparison) -> str:
    """`tuned: rates, 10 trials an arm`, plain text; empty where no arm was tuned."""
    found = tuned_arms(comparison)
    if not found:
        return ""
    if not comparison.tuned:
        return "not every arm tuned alike"
    return f"tuned: {found[0][1].name}, {count_trials(found[0][1])} an arm"


def count_trials(tuning: Tuning) -> str:
    n = len(tuning.points)
    return f"{n} trial{'' if n == 1 else 's'}"


def method_sentence(comparison: Comparison) -> str:
    """How the arms of a tuned comparison were tuned, what was chosen and what to doubt, as plain text."""
    found = tuned_arms(comparison)
    tuning = found[0][1]
    keys = ", ".join(dict.fromkeys(key for point in tuning.points.values() for key in point))
    seeds = ", ".join(map(str, tuning.seeds))
    chosen = [f"{arm.name} {_settings(its, its.chosen)}" for arm, its in found if its.chosen is not None]
    doubted = [f"{arm.name}: {text.replace('`', '')}" for arm, its in found for text in doubts(its)]
    return (
        f"Every arm was tuned by the same list of {len(tuning.points)} points ({tuning.name}: {keys}): each was trained with "
        f"seed {seeds}, the lowest mean loss on valid chose one, and that one was trained again with the seeds reported here. "
        f"Chosen: {'; '.join([*chosen, *doubted])}."
    )


def _settings(tuning: Tuning, place: int) -> str:
    return ", ".join(f"{key} {show_value(value)}" for key, value in tuning.points[place].items())


def tuning_text(comparison: Comparison) -> str:
    """Tables, and what they mean; empty where no arm was tuned."""
    found = tuned_arms(comparison)
    if not found:
        return ""
    lines = [
        "A trial is one point of the list, its score the mean nats/token on valid over the tuning seeds; its runs are in no "
        "other mean or figure. The chosen point has the lowest. Expected best of n: lowest of n trials drawn from those "
        "made, with replacement, those that diverged left out (Dodge et al. 2019).",
        *([UNLIKE] if len(comparison.vocabularies) > 1 else []),
    ]
    bullets = "\n".join(f"- {line}" for line in lines)
    return "\n\n".join([_summary(found), *_trials(found), bullets])


def _summary(found: list[tuple[Arm, Tuning]]) -> str:
    """One row an arm."""
    sizes = _sizes(max(len(tuning.points) for _, tuning in found))
    header = ["arm", "list", "chosen point", "trials", "diverged", *(f"expected best of {n}" for n in sizes)]
    rows = []
    for arm, tuning in found:
        means = list(tuning.means.values())
        expected = [expected_best(means, n) if means else None for n in sizes]
        n_diverged = sum(math.isinf(mean) for mean in means)
        counts = [f"{len(means)} of {len(tuning.points)}", str(n_diverged)]
        said = "not recorded" if tuning.chosen is None else _point(tuning, tuning.chosen)
        rows.append([code(arm.name), code(tuning.name), said, *counts, *map(_score, expected)])
    return markdown_table(header, rows, n_text=3)


def _sizes(n: int) -> list[int]:
    """Numbers of trials that are told: all, half of them, and so on down to one."""
    return [n] if n <= 1 else [*_sizes(n // 2), n]


def _trials(found: list[tuple[Arm, Tuning]]) -> list[str]:
    """A table for each list: one row a point, one column an arm; the chosen is in bold."""
    tables = []
    for budget in dict.fromkeys(tuning.budget for _, tuning in found):
        members = [(arm, tuning) for arm, tuning in found if tuning.budget == budget]
        first = members[0][1]
        rows = [[_point(first, place), *(_cell(tuning, place) for _, tuning in members)] for place in first.points]
        tables.append(markdown_table([f"point of {code(first.name)}", *(code(arm.name) for arm, _ in members)], rows))
    return tables


def _point(tuning: Tuning, place: int) -> str:
    return f"{place}: {', '.join(code(f'{key}={show_value(value)}') for key, value in tuning.points[place].items())}"


def _cell(tuning: Tuning, place: int) -> str:
    text = _score(tuning.means.get(place))
    return f"**{text}**" if place == tuning.chosen else text


def _score(mean: float | None) -> str:
    if mean is None:
        return "—"
    return fixed(mean, DECIMALS) if math.isfinite(mean) else "diverged"


def doubts(tuning: Tuning) -> list[str]:
    """What makes a tuned arm less than tuned."""
    if tuning.best is None:
        ended = sum(map(len, tuning.scores.values()))
        return [
            f"{ended} of its {len(tuning.points) * len(tuning.seeds)} tuning runs are here, so nothing shows what is best"
        ]
    found = []
    if tuning.best != tuning.chosen:
        found.append(f"the tuning runs that are here choose point {tuning.best}, not the one that is reported")
    if math.isinf(tuning.means[tuning.best]):
        found.append("every point diverged")
        return found
    for key, side in edge_keys(tuning.points, tuning.best).items():
        value = show_value(tuning.points[tuning.best][key])
        found.append(f"the best {code(key)} ({value}) is the {side} of the list, and a better one may lie beyond it")
    return found
