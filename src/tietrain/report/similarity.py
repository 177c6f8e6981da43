"""How much alike token tables are, and whether a tied table resembles the input or the output table of untied runs.

A table is compared after its mean row and its strongest direction are removed, which all tables of language share. Measures do not change if
a table is rotated or scaled as a whole: runs of different seeds have no common axes. Tables of one seed are never compared with
each other, because twins begin with the same values; what two untied runs reach is the ceiling.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
# Seed -> role -> table [V, D].
Seeds = Mapping[int, Mapping[str, Floats]]

ROLES = ("input", "output")
# Rows of pieces that are not text: padding, unknown, begin and end.
N_SPECIAL = 4
NEIGHBOURS = 10
# Rows whose neighbours are looked for, evenly spaced.
MOST_ROWS = 2000
N_DRAWS = 1000


def prepared(table: Floats) -> Floats:
    """A table [N, D] without its mean row and its strongest direction, of norm 1."""
    table = table.astype(np.float64)
    table = table - table.mean(axis=0)
    direction = np.linalg.eigh(table.T @ table)[1][:, -1:]
    table = table - table @ direction @ direction.T
    size = np.linalg.norm(table)
    return table / size if size else table


def debiased_cka(x: Floats, y: Floats) -> float:
    """Linear centred kernel alignment of tables [N, D], with the estimate of HSIC that chance leaves at 0.

    Source: Kornblith et al. 2019, section 3; Song et al. 2012, equation 5 (HSIC_1).
    """
    own = _hsic(x, x) * _hsic(y, y)
    return _hsic(x, y) / own**0.5 if own > 0 else 0.0


def _hsic(x: Floats, y: Floats) -> float:
    """HSIC_1 of the kernels x x^T and y y^T with zero diagonals, without ever holding them."""
    n = len(x)
    of_x, of_y = (x * x).sum(axis=1), (y * y).sum(axis=1)
    sums_x = x @ x.sum(axis=0) - of_x
    sums_y = y @ y.sum(axis=0) - of_y
    trace = ((x.T @ y) ** 2).sum() - of_x @ of_y
    total = sums_x.sum() * sums_y.sum() / ((n - 1) * (n - 2))
    return float((trace + total - 2 / (n - 2) * (sums_x @ sums_y)) / (n * (n - 3)))


def procrustes(x: Floats, y: Floats) -> float:
    """Cosine of tables of norm 1 after the best rotation: 1 less half the square of their Procrustes distance.

    Source: Schoenemann 1966; as a distance of representations, Williams et al. 2021, section 2.
    """
    return float(np.linalg.svd(x.T @ y, compute_uv=False).sum())


def neighbours(table: Floats) -> NDArray[np.intp]:
    """The ten nearest rows of each row, or of evenly spaced ones of a large table."""
    return nearest(table, np.unique(np.linspace(0, len(table) - 1, min(len(table), MOST_ROWS)).astype(int)))


def overlap(x: NDArray[np.intp], y: NDArray[np.intp]) -> float:
    """Mean share of a row's neighbours that are the same in both tables."""
    return float((x[:, :, None] == y[:, None, :]).any(axis=2).mean())


def nearest(table: Floats, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """The ten nearest other rows of some rows of a table, by cosine: [R, 10]."""
    unit = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    cosines = unit[rows] @ unit.T
    cosines[np.arange(len(rows)), rows] = -np.inf
    k = min(NEIGHBOURS, len(table) - 1)
    return np.argpartition(-cosines, k - 1, axis=1)[:, :k]


def purity(table: Floats, classes: Mapping[int, str]) -> tuple[float, float]:
    """Share of a row's ten nearest rows that are of its class, mean over the rows of known class; and what chance gives.

    Args:
        table: prepared. classes: row -> class; other rows are left out.
    """
    rows = np.array(sorted(classes))
    kinds = np.array([classes[row] for row in rows])
    near = nearest(table[rows], np.arange(len(rows)))
    shares = np.unique(kinds, return_counts=True)[1] / len(rows)
    return float((kinds[near] == kinds[:, None]).mean()), float((shares**2).sum())


def agreement(table: Floats, contexts: Floats, pairs: Sequence[tuple[int, int]]) -> float:
    """How far the scores of two words rise and fall together: their correlation over contexts, mean over pairs of rows.

    A word's score is what it gets beyond the mean of all words, so that what raises all of them does not count.

    Args:
        table: of the output, [V, D]. contexts: covariance of what it multiplies, [D, D].
    """
    first, second = np.array(pairs).T
    rows = table.astype(np.float64) - table.mean(axis=0)
    scores = rows @ contexts.astype(np.float64)
    together = (scores[first] * rows[second]).sum(axis=1)
    variance = (scores * rows).sum(axis=1)
    return float((together / np.sqrt(variance[first] * variance[second])).mean())


@dataclass(frozen=True)
class Measure:
    """form: what of a prepared table is compared. compare: how alike two forms are, 1 if they are equal."""

    compare: Callable[[Any, Any], float]
    form: Callable[[Floats], Any] = lambda table: table


MEASURES = {
    "cka": Measure(debiased_cka),
    "procrustes": Measure(procrustes),
    "neighbours": Measure(overlap, neighbours),
}


def bands(n_pieces: int) -> dict[str, slice]:
    """All pieces of text, and thirds of them in the order of the vocabulary, which is by falling frequency for unigram pieces."""
    cuts = np.linspace(N_SPECIAL, n_pieces, 4).astype(int)
    thirds = {name: slice(cuts[i], cuts[i + 1]) for i, name in enumerate(("frequent", "middle", "rare"))}
    return {"all": slice(N_SPECIAL, n_pieces), **thirds}


@dataclass(frozen=True)
class Gap:
    """How much nearer a tied table is to output tables than to input tables.

    low, high: 95 % interval, by drawing seeds with replacement; None with fewer than three untied seeds.
    """

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def side(self) -> str:
        """The role whose tables are nearer; empty if the interval does not say."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return ""
        return "output" if self.value > 0 else "input"


@dataclass(frozen=True)
class Resemblance:
    """How much a tied table is like the input and the output tables of untied runs, by one measure.

    to, ceiling: role -> mean over pairs of a tied and an untied run, and of two untied runs, all of different seeds.
    plain: the gap of the likenesses. less_ceiling: the same, each less its ceiling.
    """

    to: dict[str, float]
    ceiling: dict[str, float]
    plain: Gap
    less_ceiling: Gap
    n_pairs: int


def resemblance(tied: Seeds, untied: Seeds, measure: str) -> Resemblance | None:
    """Compare prepared tables; None unless there are two untied seeds and a tied one that differs from one of them."""
    crossed = {role: _likeness(tied, untied, role, measure) for role in ROLES}
    alike = {role: _likeness(untied, untied, role, measure) for role in ROLES}
    pairs, twins = (~np.isnan(of["input"]) for of in (crossed, alike))
    if not pairs.any() or not twins.any():
        return None
    gaps = [of["output"] - of["input"] for of in (crossed, alike)]
    plain, ceiling = (float(np.nanmean(gap)) for gap in gaps)
    drawn, drawn_ceiling = _drawn(*gaps)
    return Resemblance(
        to={role: float(np.nanmean(crossed[role])) for role in ROLES},
        ceiling={role: float(np.nanmean(alike[role])) for role in ROLES},
        plain=_with_interval(plain, drawn),
        less_ceiling=_with_interval(plain - ceiling, drawn - drawn_ceiling),
        n_pairs=int(pairs.sum()),
    )


def _likeness(ours: Seeds, others: Seeds, role: str, measure: str) -> Floats:
    """Of a table of each run to one of each other, [S, U]; not a number where both have one seed."""
    by = MEASURES[measure]
    forms, other_forms = ({seed: by.form(seeds[seed][role]) for seed in seeds} for seeds in (ours, others))
    found = np.full((len(ours), len(others)), np.nan)
    for (i, s), (j, u) in product(enumerate(sorted(ours)), enumerate(sorted(others))):
        if s == u:
            continue
        is_known = ours is others and j < i
        found[i, j] = found[j, i] if is_known else by.compare(forms[s], other_forms[u])
    return found


def _with_interval(value: float, drawn: Floats) -> Gap:
    if not len(drawn):
        return Gap(value)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Gap(value, float(low), float(high))


def _drawn(crossed: Floats, alike: Floats) -> tuple[Floats, Floats]:
    """Both mean gaps of samples of seeds with replacement, [R] each; empty with fewer than three untied seeds.

    Args:
        crossed, alike: gap of each pair, [S, U] and [U, U]; not a number where there is no pair.
    """
    n_tied, n_untied = crossed.shape
    if n_untied < 3:
        return np.empty(0), np.empty(0)
    random = np.random.default_rng(0)
    ours = random.multinomial(n_tied, np.full(n_tied, 1 / n_tied), N_DRAWS)  # how often each seed was drawn, [R, S]
    others = random.multinomial(n_untied, np.full(n_untied, 1 / n_untied), N_DRAWS)  # [R, U]
    first = _mean_of_drawn(crossed, ours, others)
    second = _mean_of_drawn(alike, others, others)
    has_pairs = ~np.isnan(first + second)
    return first[has_pairs], second[has_pairs]


def _mean_of_drawn(gaps: Floats, ours: NDArray[np.integer], others: NDArray[np.integer]) -> Floats:
    """Mean gap over the pairs of each sample, [R]; not a number of a sample without a pair."""
    is_pair = ~np.isnan(gaps)
    n_pairs = np.einsum("rs,su,ru->r", ours, is_pair.astype(float), others)
    sums = np.einsum("rs,su,ru->r", ours, np.nan_to_num(gaps), others)
    means: Floats = np.divide(sums, n_pairs, out=np.full(len(sums), np.nan), where=n_pairs > 0)
    return means
