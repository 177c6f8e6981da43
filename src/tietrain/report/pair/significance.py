"""Could two models' scores on one test set differ by chance in the choice of its lines? Paired tests, from stored output.

Two null hypotheses: the set is one of many that could have been drawn (bootstrap resampling of its lines, Koehn 2004), and
the two models write alike, so that each line's outputs may be exchanged (approximate randomisation, Riezler & Maxwell
2005). Both hold the trained models fixed: they know nothing of other seeds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tietrain.runs.scores import make_metric

# Numbers held at once while drawing.
CHUNK = 2**22

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Draws:
    """How much chance is drawn: bootstrap samples, exchanges of outputs, and the seed of each; as sacrebleu does."""

    n_bootstrap: int = 1000
    n_exchanged: int = 10_000
    seed: int = 12345


@dataclass(frozen=True)
class Paired:
    """One metric of two models on the same lines.

    a, b: the scores. a_ci, b_ci: half of the interval that holds 95 % of the bootstrap samples.
    p_bootstrap, p_randomisation: of no difference, two-sided; of translations p_bootstrap is sacrebleu's. signature: sacrebleu's, of the score.
    """

    a: float
    b: float
    a_ci: float
    b_ci: float
    p_bootstrap: float
    p_randomisation: float
    signature: str = ""


def compare_translations(
    name: str,
    tokenize: str,
    hypotheses: tuple[Sequence[str], Sequence[str]],
    references: Sequence[str],
    draws: Draws,
) -> Paired:
    """sacrebleu's paired tests of two translations of the same lines.

    Its bootstrap p is the share of samples whose absolute difference exceeds the mean one by more than the measured one:
    where all samples favour one model that is one tail, half of a two-sided p.

    Args:
        name, tokenize: see `metrics.make_metric`.
    """
    from sacrebleu.significance import PairedTest

    systems = list(zip("AB", hypotheses, strict=True))
    metric = make_metric(name, tokenize)

    def run(kind: str, n: int) -> list[Any]:
        """sacrebleu's results for both systems."""
        _, scores = PairedTest(systems, {name: metric}, [references], test_type=kind, n_samples=n)()
        return next(found for title, found in scores.items() if title != "System")

    with _sacrebleu_seed(draws.seed):
        (a, b), (_, exchanged) = run("bs", draws.n_bootstrap), run("ar", draws.n_exchanged)
    # Of two equal scores sacrebleu says the smallest p there is, because no draw passes their difference of nothing.
    is_same = a.score == b.score
    return Paired(
        a=a.score,
        b=b.score,
        a_ci=float(a.ci),
        b_ci=float(b.ci),
        p_bootstrap=1.0 if is_same else b.p_value,
        p_randomisation=1.0 if is_same else exchanged.p_value,
        signature=str(metric.get_signature()),
    )


def compare_nats(a: Numbers, b: Numbers, units: Numbers, draws: Draws) -> Paired:
    """The same tests of two language models by their nats a unit, sum(nats) / sum(units).

    The bootstrap's p is the share of samples whose difference lies as far from the measured one as that lies from 0 (Efron
    & Tibshirani 1993).

    Args:
        a, b: nats of each line. units: tokens, or bytes times ln 2, of each line.
    """
    draw, n = np.random.default_rng(draws.seed), len(a)
    difference = (b.sum() - a.sum()) / units.sum()

    def bootstrap(n_draws: int) -> Numbers:
        counts = draw.multinomial(n, np.full(n, 1 / n), size=n_draws).astype(float)
        return (counts @ np.stack([a, b], axis=1)) / (counts @ units)[:, None]

    def exchange(n_draws: int) -> Numbers:
        return draw.choice([-1.0, 1.0], size=(n_draws, n)) @ (b - a) / units.sum()

    resampled = _in_chunks(bootstrap, draws.n_bootstrap, n)
    exchanged = _in_chunks(exchange, draws.n_exchanged, n)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    a_ci, b_ci = ((high - low) / 2).tolist()
    return Paired(
        a=float(a.sum() / units.sum()),
        b=float(b.sum() / units.sum()),
        a_ci=a_ci,
        b_ci=b_ci,
        p_bootstrap=_share_as_large(resampled[:, 1] - resampled[:, 0] - difference, difference),
        p_randomisation=_share_as_large(exchanged, difference),
    )


def _in_chunks(draw: Callable[[int], Numbers], n_draws: int, n: int) -> Numbers:
    step = max(1, CHUNK // n)
    return np.concatenate([draw(min(step, n_draws - start)) for start in range(0, n_draws, step)])


def _share_as_large(drawn: Numbers, difference: float) -> float:
    """Share of the draws at least as far from 0, the measured one among them; rounding makes none smaller."""
    n_as_large = int((np.abs(drawn) >= abs(difference) * (1 - 1e-9)).sum())
    return (n_as_large + 1) / (len(drawn) + 1)


@contextmanager
def _sacrebleu_seed(seed: int) -> Iterator[None]:
    """What sacrebleu draws with inside; it is told nowhere else."""
    before = os.environ.get("SACREBLEU_SEED")
    os.environ["SACREBLEU_SEED"] = str(seed)
    try:
        yield
    finally:
        del os.environ["SACREBLEU_SEED"]
        if before is not None:
            os.environ["SACREBLEU_SEED"] = before
