"""sacrebleu's paired tests of two translations of the same lines.

Two null hypotheses: the test set is one of many that could have been drawn (bootstrap resampling of its lines, Koehn 2004),
and the two models write alike, so that each line's outputs may be exchanged (approximate randomisation, Riezler & Maxwell
2005). Both hold the trained models fixed: they say nothing about other seeds.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tietrain.report.statistics import Draws, PairedLines
from tietrain.runs.scores import make_metric


def compare_translations(
    name: str,
    tokenize: str,
    hypotheses: tuple[Sequence[str], Sequence[str]],
    references: Sequence[str],
    draws: Draws,
) -> PairedLines:
    """One metric of two translations, with sacrebleu's tests.

    Its bootstrap p is the share of samples whose absolute difference exceeds the mean one by more than the measured one:
    if all samples favour one model that is one tail, half of a two-sided p.

    Args:
        name, tokenize: see `scores.make_metric`.
    """
    from sacrebleu.significance import PairedTest

    systems = list(zip("AB", hypotheses, strict=True))
    metric = make_metric(name, tokenize)

    def run(kind: str, n: int) -> list[Any]:
        """sacrebleu's results for both systems."""
        _, scores = PairedTest(systems, {name: metric}, [references], test_type=kind, n_samples=n)()
        return next(found for title, found in scores.items() if title != "System")

    with _sacrebleu_seed(draws.seed):
        a, b = run("bs", draws.n_bootstrap)
        _, exchanged = run("ar", draws.n_exchanged)
    # For two equal scores sacrebleu returns the smallest possible p, because no draw exceeds their difference of 0.
    is_same = a.score == b.score
    return PairedLines(
        a=a.score,
        b=b.score,
        a_ci=float(a.ci),
        b_ci=float(b.ci),
        p_bootstrap=1.0 if is_same else b.p_value,
        p_randomisation=1.0 if is_same else exchanged.p_value,
        signature=str(metric.get_signature()),
    )


@contextmanager
def _sacrebleu_seed(seed: int) -> Iterator[None]:
    """Set the seed that sacrebleu draws with; it reads it from this variable only."""
    before = os.environ.get("SACREBLEU_SEED")
    os.environ["SACREBLEU_SEED"] = str(seed)
    try:
        yield
    finally:
        del os.environ["SACREBLEU_SEED"]
        if before is not None:
            os.environ["SACREBLEU_SEED"] = before
