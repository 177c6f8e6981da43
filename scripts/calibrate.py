"""How often the report's verdicts err, and what they can show: studies with a known truth, judged by the report's own code.

    python scripts/calibrate.py [--studies N] [--write]

Prints the tables of docs/statistics.md, or writes them there, and exits with 1 if a cell errs too often. A cell is a kind
of study: the noise of a seed, how many arms and seeds, and what is true.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from tietrain.report.combinations import combine, ratio
from tietrain.report.contrasts import (
    BETTER,
    ENOUGH_SEEDS,
    EQUIVALENT,
    LEVEL,
    NOT_WORSE,
    TUNING_LUCK,
    UNSTABLE,
    UNSTABLE_BASELINE,
    WORSE,
    Contrasts,
    Numbers,
    adjust_holm,
    contrast,
    level_at,
)

STUDIES = 20_000
ARMS = (2, 4, 10)
SEEDS = (3, 5, 10)
LOOKS = (3, 6, 10)
# A verdict may err this often, and an interval hold the truth as seldom.
MOST_ERRORS = 0.06
LEAST_COVERAGE = 0.93
# A cell is refused if chance alone would exceed its number of errors as rarely as this.
BY_CHANCE = 1e-3
# Nats per token on valid of ten points of learning rate and warm-up, and the standard deviation of a seed: the curve of
# docs/examples/tuned as of 0.2.0 in which tuning had the most luck.
CURVE = np.array([1.7980, 1.8332, 1.6859, 1.7004, 1.6645, 1.6668, 1.6498, 1.6568, 1.6544, 1.6600])
CURVE_NOISE = 0.004
PAGE = Path(__file__).parents[1] / "docs" / "statistics.md"
BEGIN = "<!-- written by scripts/calibrate.py -->"
END = "<!-- end -->"

Generator = np.random.Generator


@dataclass(frozen=True)
class Noise:
    """How seeds vary around the mean of their arm, in units of one standard deviation.

    baseline, arm: standard deviation of the baseline, and of the first arm; others have 1.
    bad: share of that arm's runs that end ten standard deviations worse.
    """

    name: str
    draw: Callable[[Generator, tuple[int, ...]], Numbers]
    baseline: float = 1.0
    arm: float = 1.0
    bad: float = 0.0

    @property
    def is_equal(self) -> bool:
        """Whether every arm has the same noise."""
        return self.baseline == self.arm and not self.bad


def _normal(rng: Generator, shape: tuple[int, ...]) -> Numbers:
    return rng.standard_normal(shape)


def _heavy(rng: Generator, shape: tuple[int, ...]) -> Numbers:
    return rng.standard_t(4, shape) / 2**0.5


NORMAL = Noise("normal", _normal)
NOISES = (
    NORMAL,
    Noise("heavy tails (t, 4 degrees)", _heavy),
    Noise("one arm has 3 times the noise", _normal, arm=3.0),
    Noise("the baseline has 3 times the noise", _normal, baseline=3.0),
    Noise("one arm has 10 % bad seeds", _normal, bad=0.1),
)


@dataclass(frozen=True)
class Cell:
    """A kind of study in which more is better.

    effect: true difference of every arm to the baseline, in standard deviations of a seed. margin: what was declared.
    n_tuning: tuning seeds of each of ten points; 0 if nothing is tuned. looks: whether the user reads the report at 3 seeds,
    and adds seeds up to 6 and 10 while no arm differs.
    """

    noise: Noise = NORMAL
    n_arms: int = 4
    n_seeds: int = 5
    effect: float = 0.0
    margin: float | None = None
    n_tuning: int = 0
    looks: bool = False

    def __str__(self) -> str:
        kind = f"tuned by {self.n_tuning}" if self.n_tuning else "looks" if self.looks else self.noise.name
        truth = "" if self.margin is None else f", margin {self.margin:g}"
        return f"{kind}, {self.n_arms} arms, {self.n_seeds} seeds, effect {self.effect:g}{truth}"

    @property
    def is_promised(self) -> bool:
        """Whether the report claims its error rates here: with few seeds it says that it takes the noise to be equal."""
        return self.noise.is_equal or self.n_seeds >= ENOUGH_SEEDS

    def problems(self, rates: "Rates", studies: int, by_chance: float = BY_CHANCE) -> list[str]:
        """What is worse than promised, beyond chance."""
        if not self.is_promised:
            return []
        found = []
        most = stats.binom.ppf(1 - by_chance, studies, MOST_ERRORS) / studies
        if rates.errors > most:
            found.append(f"{self}: {100 * rates.errors:.1f} % of studies err, {100 * most:.1f} % are accepted")
        least = stats.binom.ppf(by_chance, studies, LEAST_COVERAGE) / studies
        if not self.noise.bad and rates.coverage < least:
            found.append(
                f"{self}: {100 * rates.coverage:.1f} % of intervals hold the truth, {100 * least:.1f} % are needed"
            )
        return found


@dataclass(frozen=True)
class Rates:
    """errors: of studies with a false verdict. shown, unstable: of verdicts that call a difference, or an arm unstable.
    coverage: of intervals that hold the true difference.
    """

    errors: float
    shown: float
    unstable: float
    coverage: float


def simulate(cell: Cell, studies: int, seed: int = 0) -> Rates:
    """The rates of a cell."""
    rng = np.random.default_rng(seed)
    scores = _tuned(cell, rng, studies) if cell.n_tuning else _drawn(cell, rng, studies)
    if cell.looks:
        found, differs = _looked(cell, scores)
    else:
        found = _judged(cell, scores)
        differs = np.isin(found.verdict, (BETTER, WORSE))
    false = differs if cell.margin is None else np.isin(found.verdict, (EQUIVALENT, NOT_WORSE))
    if cell.margin is not None and cell.effect > 0:
        false = found.verdict == EQUIVALENT
    return Rates(
        errors=float(false.any(axis=-1).mean()) if cell.effect == 0 or cell.margin else 0.0,
        shown=float(differs.mean()),
        unstable=float(np.isin(found.verdict, (UNSTABLE, UNSTABLE_BASELINE)).mean()),
        coverage=float(((found.low <= cell.effect) & (cell.effect <= found.high)).mean()),
    )


def _judged(cell: Cell, scores: Numbers, level: float | None = None) -> Contrasts:
    arms = range(1, cell.n_arms)
    luck = TUNING_LUCK / cell.n_tuning if cell.n_tuning else 0.0
    options = {} if level is None else {"level": level}
    return contrast(scores, arms, [0] * len(arms), margin=cell.margin, luck=luck, **options)


def _drawn(cell: Cell, rng: Generator, studies: int) -> Numbers:
    """[studies, arms, seeds]."""
    noise = cell.noise
    drawn = noise.draw(rng, (studies, cell.n_arms, cell.n_seeds))
    drawn[:, 0] *= noise.baseline
    drawn[:, 1] *= noise.arm
    drawn[:, 1] -= 10.0 * (rng.random((studies, cell.n_seeds)) < noise.bad)
    drawn[:, 1:] += cell.effect
    return drawn


@dataclass(frozen=True)
class Four:
    """Studies of four cells A, B, C and D (docs/convergence_or_complexity.md), of which C and D choose among ten points.

    gain: true D - C and B - A, in standard deviations of a seed. Tuning adds 3 to shared and unshared layers.
    """

    n_seeds: int
    gain: float

    def __str__(self) -> str:
        return f"four cells, {self.n_seeds} seeds, gain {self.gain:g}"

    def rates(self, studies: int, seed: int = 0) -> "FourRates":
        """How often intervals hold the truth, and answers call what is not so."""
        rng = np.random.default_rng(seed)
        curve = -CURVE / CURVE_NOISE
        tried = curve + rng.standard_normal((studies, 2, len(curve)))
        chosen = curve[tried.argmax(axis=-1)] - curve.max()  # [studies, 2]
        scores = rng.standard_normal((studies, 4, self.n_seeds))
        scores[:, 2:] += chosen[..., None] + 3.0
        scores[:, [1, 3]] += self.gain
        found = combine(scores, FOUR_SUMS, np.array([0.0, 0.0, TUNING_LUCK, TUNING_LUCK]))
        ends, bounded = ratio(found, 2, 3)
        # What tuning by this list brings, chance of the choice included.
        share = self.gain / (3.0 + float(chosen.mean()) + self.gain)
        truth = np.array([0.0, self.gain, self.gain])
        called = adjust_holm(found.p[:, :3]) < LEVEL
        return FourRates(
            errors=float((called & (truth == 0)).any(axis=-1).mean()),
            sums=float(((found.low[:, :3] <= truth) & (truth <= found.high[:, :3])).mean(axis=0).min()),
            ratios=float(((ends[bounded, 0] <= share) & (share <= ends[bounded, 1])).mean()),
            no_ratio=float(1 - bounded.mean()),
        )

    def problems(self, rates: "FourRates", studies: int) -> list[str]:
        """What is worse than promised, beyond chance."""
        least = stats.binom.ppf(BY_CHANCE, studies, LEAST_COVERAGE) / studies
        most = stats.binom.ppf(1 - BY_CHANCE, studies, MOST_ERRORS) / studies
        coverage = f"{self}: {100 * min(rates.sums, rates.ratios):.1f} % of intervals hold the truth"
        found = [coverage] if min(rates.sums, rates.ratios) < least else []
        return found + ([f"{self}: {100 * rates.errors:.1f} % of studies err"] if rates.errors > most else [])


@dataclass(frozen=True)
class FourRates:
    """errors: of studies that call a gain, or a part that tuning removes, where there is none. sums: of intervals of sums that hold the
    truth, of the worst sum; ratios: the same of ratios that have an interval. no_ratio: of ratios without one.
    """

    errors: float
    sums: float
    ratios: float
    no_ratio: float


# (B - A) - (D - C), B - A, D - C and D - A, of A, B, C, D.
FOUR_SUMS = np.array([[-1.0, 1.0, 1.0, -1.0], [-1.0, 1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 1.0], [-1.0, 0.0, 0.0, 1.0]])


def _tuned(cell: Cell, rng: Generator, studies: int) -> Numbers:
    """Each arm chooses the best of ten points by its tuning seeds, and reports fresh seeds of it: [studies, arms, seeds]."""
    curve = -CURVE / CURVE_NOISE  # in seed deviations, more is better
    tried = curve + rng.standard_normal((studies, cell.n_arms, len(curve))) / cell.n_tuning**0.5
    chosen = curve[tried.argmax(axis=-1)]  # [studies, arms]
    drawn = chosen[..., None] + rng.standard_normal((studies, cell.n_arms, cell.n_seeds))
    drawn[:, 1:] += cell.effect
    return drawn


def _looked(cell: Cell, scores: Numbers) -> tuple[Contrasts, np.ndarray]:
    """What is found at the last look, and whether an arm was called different at any."""
    differs = np.zeros((len(scores), cell.n_arms - 1), dtype=bool)
    for n in LOOKS:
        found = _judged(cell, scores[..., :n], level_at(LOOKS, n))
        differs |= np.isin(found.verdict, (BETTER, WORSE))
    return found, differs


def _cells() -> Iterator[Cell]:
    for noise in NOISES:
        for n_arms in ARMS:
            for n_seeds in SEEDS:
                yield Cell(noise, n_arms, n_seeds)
    for n_arms in ARMS:
        for n_seeds in SEEDS:
            yield Cell(NORMAL, n_arms, n_seeds, effect=1.5, margin=1.5)
            yield Cell(NORMAL, n_arms, n_seeds, effect=-1.5, margin=1.5)
    for n_arms in ARMS:
        yield Cell(NORMAL, n_arms, LOOKS[-1], looks=True)
        for n_seeds in LOOKS:
            yield from (Cell(NORMAL, n_arms, n_seeds, n_tuning=n) for n in (1, 3))


CELLS = tuple(_cells())


Table = tuple[str, Sequence[str], list[list[str]]]
RatesOf = Callable[[Cell], Rates]
PER_SEEDS = [f"{n} seeds" for n in SEEDS]


def tables(studies: int, log: Callable[[str], None]) -> tuple[list[str], list[str]]:
    """Lines of Markdown, and what is worse than promised."""
    problems: list[str] = []

    def rates_of(cell: Cell) -> Rates:
        log(str(cell))
        found = simulate(cell, studies)
        problems.extend(cell.problems(found, studies))
        return found

    lines: list[str] = []
    for make in (_alike, _power, _at_the_margin, _tuning, _looking):
        title, header, rows = make(rates_of)
        table = [header, ["---"] * len(header), *rows]
        lines += ["", title, "", *(f"| {' | '.join(row)} |" for row in table)]
    lines += _four_cells(studies, log, problems)
    return lines, problems


def _four_cells(studies: int, log: Callable[[str], None], problems: list[str]) -> list[str]:
    title = (
        "Four cells, two of them tuned with one seed: studies that call a gain, or a part that tuning removes, where there is none / "
        "intervals of sums that hold the truth / intervals of (D - C) / (D - A) that do / ratios without an interval, in percent."
    )
    lines = ["", title, "", f"| gain | {' | '.join(PER_SEEDS)} |", f"| {' | '.join(['---'] * 4)} |"]
    for gain in (0.0, 3.0):
        cells = []
        for n_seeds in SEEDS:
            kind = Four(n_seeds, gain)
            log(str(kind))
            found = kind.rates(studies)
            problems += kind.problems(found, studies)
            cells.append(" / ".join(map(_percent, (found.errors, found.sums, found.ratios, found.no_ratio))))
        lines.append(f"| {gain:g} | {' | '.join(cells)} |")
    return lines


def _alike(rates_of: RatesOf) -> Table:
    def shown(cell: Cell) -> str:
        found = rates_of(cell)
        return f"{_percent(found.errors)} / {_percent(found.coverage)}"

    title = "Arms that are alike: studies with any call of a difference / intervals that hold the truth, in percent."
    return title, ["noise of a seed", "arms", *PER_SEEDS], _per_noise(shown)


def _power(rates_of: RatesOf) -> Table:
    def shown(cell: Cell) -> str:
        small, large = (rates_of(replace(cell, effect=effect)) for effect in (1.5, 5.0))
        return f"{_percent(small.shown)} / {_percent(large.shown)} / {_percent(large.unstable)}"

    title = "Power: arms called different that differ by 1.5 / by 5 seed deviations / arms called unstable, in percent."
    return title, ["noise of a seed", "arms", *PER_SEEDS], _per_noise(shown)


def _per_noise(shown: Callable[[Cell], str]) -> list[list[str]]:
    """A row per noise and number of arms, a column per number of seeds."""
    kinds = itertools.product(NOISES, ARMS)
    return [[noise.name, str(n_arms), *(shown(Cell(noise, n_arms, n)) for n in SEEDS)] for noise, n_arms in kinds]


def _at_the_margin(rates_of: RatesOf) -> Table:
    def shown(cell: Cell) -> str:
        above, below = (rates_of(replace(cell, effect=effect)) for effect in (1.5, -1.5))
        return f"{_percent(above.errors)} / {_percent(below.errors)}"

    title = "At the margin: studies with a false `equivalent` / a false `not worse` or `equivalent`, in percent."
    rows = [[str(a), *(shown(Cell(NORMAL, a, n, margin=1.5)) for n in SEEDS)] for a in ARMS]
    return title, ["arms", *PER_SEEDS], rows


def _tuning(rates_of: RatesOf) -> Table:
    def shown(cell: Cell) -> str:
        return f"{_percent(rates_of(cell).errors)} / {_percent(rates_of(replace(cell, effect=3.0)).shown)}"

    title = (
        "Tuned arms that are alike: studies with any call / arms called different that differ by 3 seed deviations, in "
        "percent. Each arm chose among the ten points of docs/examples as of 0.2.0 by its own tuning seeds."
    )
    kinds = itertools.product((1, 3), ARMS)
    rows = [[str(t), str(a), *(shown(Cell(NORMAL, a, n, n_tuning=t)) for n in LOOKS)] for t, a in kinds]
    return title, ["tuning seeds", "arms", *(f"{n} seeds" for n in LOOKS)], rows


def _looking(rates_of: RatesOf) -> Table:
    title = (
        f"A user who reads the report at {', '.join(map(str, LOOKS))} seeds, as declared, and stops at the first difference: "
        "studies of arms that are alike with any call, in percent."
    )
    rows = [[str(n), _percent(rates_of(Cell(NORMAL, n, LOOKS[-1], looks=True)).errors)] for n in ARMS]
    return title, ["arms", "false"], rows


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}"


def main(argv: Sequence[str] | None = None) -> int:
    """0 if every cell errs as rarely as promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=STUDIES, help=f"studies per cell; {STUDIES:,} by default")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/statistics.md")
    options = parser.parse_args(argv)
    lines, problems = tables(options.studies, lambda text: print(text, file=sys.stderr, flush=True))
    text = "\n".join([f"{options.studies:,} studies per cell.", *lines])
    if options.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n\n{END}{after}", encoding="utf-8")
    else:
        print(text)
    for problem in problems:
        print(f"refused: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
