"""The trials of a comparison in words: how many each arm had, what each scored, what was chosen, and what to doubt."""

import math

from tietrain.report.arms import Arm, Comparison, show_value
from tietrain.report.pages.markup import bullets, code, fixed, markdown_table
from tietrain.report.tuning import Tuning, edge_keys, expected_best

DECIMALS = 4
EXPLANATION = (
    "A trial is one point of the list; its score is the mean nats/token on valid over the tuning seeds. Its runs are in no "
    "other mean or figure. The chosen point has the lowest score. Expected best of n: the lowest score of n trials drawn "
    "with replacement from the trials that were made; diverged trials are left out (Dodge et al. 2019)."
)
UNLIKE = "Nats per token compare the points of one arm, but not arms, because their vocabularies differ."


def tuned_arms(comparison: Comparison) -> list[tuple[Arm, Tuning]]:
    """The arms that were tuned, with their trials."""
    return [(arm, arm.tuning) for arm in comparison.arms if arm.tuning]


def tuning_heading(comparison: Comparison) -> str:
    """`tuned: rates, 10 trials per arm`, plain text; empty if no arm was tuned."""
    tuned = tuned_arms(comparison)
    if not tuned:
        return ""
    if not comparison.tuned:
        return "not every arm tuned in the same way"
    tuning = tuned[0][1]
    n = len(tuning.points)
    return f"tuned: {tuning.name}, {n} trial{'' if n == 1 else 's'} per arm"


def method_sentence(comparison: Comparison) -> str:
    """How the arms of a tuned comparison were tuned, what was chosen and what to doubt, as plain text."""
    tuned = tuned_arms(comparison)
    tuning = tuned[0][1]
    keys = ", ".join(dict.fromkeys(key for point in tuning.points.values() for key in point))
    seeds = ", ".join(map(str, tuning.seeds))
    chosen = [f"{arm.name} {_settings(its, its.chosen)}" for arm, its in tuned if its.chosen is not None]
    doubted = [f"{arm.name}: {text.replace('`', '')}" for arm, its in tuned for text in doubts(its)]
    every = "Every arm that was not converted" if any(arm.converted for arm in comparison.arms) else "Every arm"
    return (
        f"{every} was tuned with the same list of {len(tuning.points)} points ({tuning.name}: {keys}). Each point was "
        f"trained with tuning seeds {seeds}; the point with the lowest mean loss on valid was chosen, and trained again "
        f"with the seeds reported here. Chosen: {'; '.join([*chosen, *doubted])}."
    )


def _settings(tuning: Tuning, place: int) -> str:
    return ", ".join(f"{key} {show_value(value)}" for key, value in tuning.points[place].items())


def tuning_text(comparison: Comparison) -> str:
    """Tables, and what they mean; empty if no arm was tuned."""
    tuned = tuned_arms(comparison)
    if not tuned:
        return ""
    lines = [EXPLANATION, *([UNLIKE] if len(comparison.vocabularies) > 1 else [])]
    return "\n\n".join([_summary(tuned), *_trials(tuned), bullets(lines)])


def _summary(tuned: list[tuple[Arm, Tuning]]) -> str:
    sizes = _sizes(max(len(tuning.points) for _, tuning in tuned))
    header = ["arm", "list", "chosen point", "trials", "diverged", *(f"expected best of {n}" for n in sizes)]
    rows = []
    for arm, tuning in tuned:
        means = list(tuning.means.values())
        expected = [expected_best(means, n) if means else None for n in sizes]
        chosen = "not recorded" if tuning.chosen is None else _point(tuning, tuning.chosen)
        counts = [f"{len(means)} of {len(tuning.points)}", str(sum(math.isinf(mean) for mean in means))]
        rows.append([code(arm.name), code(tuning.name), chosen, *counts, *map(_score, expected)])
    return markdown_table(header, rows, n_text=3)


def _sizes(n: int) -> list[int]:
    """Numbers of trials that are shown: all, half of them, and so on down to one."""
    return [n] if n <= 1 else [*_sizes(n // 2), n]


def _trials(tuned: list[tuple[Arm, Tuning]]) -> list[str]:
    """One table per list, with one row per point and one column per arm; the chosen point is in bold."""
    tables = []
    for budget in dict.fromkeys(tuning.budget for _, tuning in tuned):
        members = [(arm, tuning) for arm, tuning in tuned if tuning.budget == budget]
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
    """Why the chosen point may not be the best."""
    if tuning.best is None:
        ended = sum(map(len, tuning.scores.values()))
        expected = len(tuning.points) * len(tuning.seeds)
        return [f"only {ended} of its {expected} tuning runs are here, so the best point is unknown"]
    lines = []
    if tuning.best != tuning.chosen:
        lines.append(f"the tuning runs that are here choose point {tuning.best}, not the point that is reported")
    if math.isinf(tuning.means[tuning.best]):
        return [*lines, "every point diverged"]
    for key, side in edge_keys(tuning.points, tuning.best).items():
        value = show_value(tuning.points[tuning.best][key])
        lines.append(f"the best {code(key)} ({value}) is the {side} of the list; a better value may lie beyond it")
    return lines
