"""sacrebleu's paired tests of translations."""

import os

import numpy as np
import pytest
from sacrebleu.significance import PairedTest

from tietrain.report.pair.pair import compare_translations
from tietrain.report.statistics import Draws
from tietrain.runs.scores import METRICS, make_metric

RNG = np.random.default_rng(5)
WORDS = [f"w{i}" for i in range(40)]
REFERENCES = [" ".join(RNG.choice(WORDS, 9)) for _ in range(60)]
FEW = Draws(200, 300, seed=7)


def spoilt(share, seed):
    """The references with that share of their words replaced."""
    rng = np.random.default_rng(seed)
    return [" ".join(w if rng.random() > share else rng.choice(WORDS) for w in line.split()) for line in REFERENCES]


@pytest.mark.parametrize("name", METRICS)
def test_compare_translations_equals_sacrebleu(name, monkeypatch):
    a, b = spoilt(0.3, 1), spoilt(0.35, 2)
    monkeypatch.setenv("SACREBLEU_SEED", "7")
    expected = {}
    for kind, n in (("bs", 200), ("ar", 300)):
        metric = make_metric(name, "13a")
        scores = PairedTest([("a", a), ("b", b)], {name: metric}, [REFERENCES], test_type=kind, n_samples=n)()[1]
        expected[kind] = next(found for title, found in scores.items() if title != "System")
    monkeypatch.setenv("SACREBLEU_SEED", "99")
    found = compare_translations(name, "13a", (a, b), REFERENCES, FEW)
    assert os.environ["SACREBLEU_SEED"] == "99"
    (bs_a, bs_b), (_, ar_b) = expected["bs"], expected["ar"]
    assert (found.a, found.b, found.a_ci, found.b_ci) == (bs_a.score, bs_b.score, bs_a.ci, bs_b.ci)
    assert (found.p_bootstrap, found.p_randomisation) == (bs_b.p_value, ar_b.p_value)
    assert found.signature == str(metric.get_signature()) and found.a != found.b
    monkeypatch.delenv("SACREBLEU_SEED")
    assert compare_translations(name, "13a", (a, b), REFERENCES, FEW) == found
    assert "SACREBLEU_SEED" not in os.environ


def test_compare_translations_finds_clear_differences_only():
    a, b = spoilt(0.1, 1), spoilt(0.6, 2)
    found = compare_translations("bleu", "13a", (a, b), REFERENCES, FEW)
    assert max(found.p_bootstrap, found.p_randomisation) < 0.01
    same = compare_translations("bleu", "13a", (a, list(a)), REFERENCES, FEW)
    assert (same.a, same.p_bootstrap, same.p_randomisation) == (same.b, 1.0, 1.0)
    alike = compare_translations("bleu", "13a", (spoilt(0.3, 3), spoilt(0.3, 4)), REFERENCES, FEW)
    assert min(alike.p_bootstrap, alike.p_randomisation) > 0.05
