"""How much alike token tables are, and whether a tied table resembles the input or the output table of untied runs.

A table is compared after its mean row and its strongest direction are removed, which all tables of language share. Measures do not change if
a table is rotated or scaled as a whole: runs of different seeds have no common axes. Tables of one seed are never compared with
each other, because twins begin with the same values; what two untied runs reach is the ceiling.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
# Seed -> role -> table [V, D].
Seeds = Mapping[int, Mapping[str, Floats]]

ROLES = ("input", "output")
# Rows of pieces that are no text: padding, unknown, begin and end.
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


def neighbour_overlap(x: Floats, y: Floats) -> float:
    """Mean share of a row's ten nearest rows, by cosine, that are the same in both tables."""
    rows = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_ROWS)).astype(int))
    of_x, of_y = nearest(x, rows), nearest(y, rows)
    return fmean(len(np.intersect1d(a, b)) / len(a) for a, b in zip(of_x, of_y, strict=True))


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


MEASURES: dict[str, Callable[[Floats, Floats], float]] = {
    "cka": debiased_cka,
    "procrustes": procrustes,
    "neighbours": neighbour_overlap,
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


Pair = tuple[int, int]
# Role -> pair of seeds -> likeness.
Values = Mapping[str, Mapping[Pair, float]]


def resemblance(tied: Seeds, untied: Seeds, measure: str) -> Resemblance | None:
    """Compare prepared tables; None unless there are two untied seeds and a tied one that differs from one of them."""
    compare = MEASURES[measure]
    pairs = [(s, u) for s, u in product(tied, untied) if s != u]
    twins = [(s, u) for s, u in product(untied, untied) if s < u]
    if not pairs or not twins:
        return None
    crossed = {role: {(s, u): compare(tied[s][role], untied[u][role]) for s, u in pairs} for role in ROLES}
    alike = {role: {(s, u): compare(untied[s][role], untied[u][role]) for s, u in twins} for role in ROLES}
    draws = _draw_pairs(sorted(tied), sorted(untied))
    plain = _gap(crossed, pairs)
    ceiling = _gap(alike, twins)
    drawn = np.array([_gap(crossed, ours) for ours, _ in draws])
    drawn_ceiling = np.array([_gap(alike, others) for _, others in draws])
    return Resemblance(
        to={role: fmean(crossed[role].values()) for role in ROLES},
        ceiling={role: fmean(alike[role].values()) for role in ROLES},
        plain=_with_interval(plain, drawn),
        less_ceiling=_with_interval(plain - ceiling, drawn - drawn_ceiling),
        n_pairs=len(pairs),
    )


def _gap(values: Values, pairs: Sequence[Pair]) -> float:
    return fmean(values["output"][pair] for pair in pairs) - fmean(values["input"][pair] for pair in pairs)


def _with_interval(value: float, drawn: Floats) -> Gap:
    if not len(drawn):
        return Gap(value)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Gap(value, float(low), float(high))


def _draw_pairs(tied: Sequence[int], untied: Sequence[int]) -> list[tuple[list[Pair], list[Pair]]]:
    """Pairs of tied and untied seeds, and of untied ones, of samples of seeds with replacement; none of fewer than three seeds."""
    if len(untied) < 3:
        return []
    random = np.random.default_rng(0)
    draws: list[tuple[list[Pair], list[Pair]]] = []
    while len(draws) < N_DRAWS:
        ours = random.choice(tied, len(tied)).tolist()
        others = random.choice(untied, len(untied)).tolist()
        pairs = [(s, u) for s, u in product(ours, others) if s != u]
        twins = [(min(s, u), max(s, u)) for s, u in product(others, others) if s != u]
        if pairs and twins:
            draws.append((pairs, twins))
    return draws
