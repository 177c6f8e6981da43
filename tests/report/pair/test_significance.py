"""Paired tests: sacrebleu's own for translations, and for nats what exhaustive enumeration says."""

import itertools
import os

import numpy as np
import pytest
from sacrebleu.significance import PairedTest

from tietrain.report.pair import significance
from tietrain.report.pair.significance import Draws, compare_nats, compare_translations
from tietrain.runs.scores import METRICS, make_metric

DRAW = np.random.default_rng(5)
WORDS = [f"w{i}" for i in range(40)]
REFERENCES = [" ".join(DRAW.choice(WORDS, 9)) for _ in range(60)]
FEW = Draws(200, 300, seed=7)


def spoilt(share, seed):
    """The references with that share of their words replaced."""
    draw = np.random.default_rng(seed)
    return [" ".join(w if draw.random() > share else draw.choice(WORDS) for w in line.split()) for line in REFERENCES]


@pytest.mark.parametrize("name", METRICS)
def test_translations_are_tested_as_sacrebleu_does(name, monkeypatch):
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


@pytest.mark.parametrize("name", METRICS)
def test_a_clear_difference_is_seen_and_none_is_not(name):
    a, b = spoilt(0.1, 1), spoilt(0.6, 2)
    found = compare_translations(name, "13a", (a, b), REFERENCES, FEW)
    assert max(found.p_bootstrap, found.p_randomisation) < 0.01
    same = compare_translations(name, "13a", (a, list(a)), REFERENCES, FEW)
    assert (same.a, same.p_bootstrap, same.p_randomisation) == (same.b, 1.0, 1.0)
    alike = compare_translations(name, "13a", (spoilt(0.3, 3), spoilt(0.3, 4)), REFERENCES, FEW)
    assert min(alike.p_bootstrap, alike.p_randomisation) > 0.05


def test_nats_are_tested_as_all_exchanges_and_all_samples_say():
    a, b, units = DRAW.random(5) * 4, DRAW.random(5) * 4 + 0.4, DRAW.integers(1, 6, 5).astype(float)
    difference = (b.sum() - a.sum()) / units.sum()
    found = compare_nats(a, b, units, Draws(40_000, 40_000, seed=1))
    assert (found.a, found.b) == pytest.approx((a.sum() / units.sum(), b.sum() / units.sum()))
    exchanged = [(b - a) @ signs / units.sum() for signs in itertools.product((-1, 1), repeat=5)]
    exact = np.mean(np.abs(exchanged) >= abs(difference) * (1 - 1e-9))
    assert found.p_randomisation == pytest.approx(exact, abs=0.01) and 0 < exact < 1
    rows = np.array(list(itertools.product(range(5), repeat=5)))
    drawn = ((b - a)[rows].sum(1)) / units[rows].sum(1) - difference
    exact = np.mean(np.abs(drawn) >= abs(difference) * (1 - 1e-9))
    assert found.p_bootstrap == pytest.approx(exact, abs=0.01) and 0 < exact < 1
    low, high = np.quantile(a[rows].sum(1) / units[rows].sum(1), [0.025, 0.975])
    assert found.a_ci == pytest.approx((high - low) / 2, rel=0.05)


def test_equal_nats_have_no_difference():
    a = DRAW.random(30)
    found = compare_nats(a, a.copy(), np.ones(30), FEW)
    assert (found.p_bootstrap, found.p_randomisation) == (1.0, 1.0)


def test_chance_alone_is_seldom_called_a_difference():
    """Two models that are one and the same but for noise: p is below 0.05 in about 5 % of sets."""
    units, small = np.ones(50), {"p_bootstrap": 0, "p_randomisation": 0}
    for seed in range(200):
        draw = np.random.default_rng(seed)
        found = compare_nats(draw.normal(3, 1, 50), draw.normal(3, 1, 50), units, Draws(200, 200, seed))
        for name in small:
            small[name] += getattr(found, name) < 0.05
    assert all(2 <= n <= 22 for n in small.values()), small


def test_draws_do_not_depend_on_how_many_fit_in_memory(monkeypatch):
    a, b, units = DRAW.random(40), DRAW.random(40), np.ones(40)
    whole = compare_nats(a, b, units, FEW)
    monkeypatch.setattr(significance, "CHUNK", 400)
    parts = compare_nats(a, b, units, FEW)
    assert (parts.a, parts.b) == (whole.a, whole.b)
    assert parts.p_bootstrap == pytest.approx(whole.p_bootstrap, abs=0.1)
    assert parts.p_randomisation == pytest.approx(whole.p_randomisation, abs=0.1)
    assert compare_nats(a, b, units, Draws(200, 300, seed=8)) != parts
