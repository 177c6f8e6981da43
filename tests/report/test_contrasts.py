"""Arms against baselines over seeds: against scipy, by counting, and by simulated studies whose truth is known."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from calibrate import CELLS, simulate
from tietrain.report import contrasts
from tietrain.report.contrasts import ENOUGH_SEEDS, LEVEL, Design, adjust_holm, bad_seeds, contrast, level_at

scores = st.lists(st.integers(-1000, 1000), min_size=2, max_size=9).filter(lambda d: len(set(d)) > 1)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=7)


def study(*arms):
    """Scores as [A, N], padded with NaN."""
    longest = max(map(len, arms))
    return np.array([[*map(float, arm), *[np.nan] * (longest - len(arm))] for arm in arms])


def against_first(*arms, **options):
    """Every arm against the first."""
    return contrast(study(*arms), range(1, len(arms)), [0] * (len(arms) - 1), **options)


@given(scores, scores)
def test_contrast_of_enough_seeds_is_welchs_test(base, arm):
    assume(min(len(base), len(arm)) >= ENOUGH_SEEDS)
    found, theirs = against_first(base, arm), stats.ttest_ind(arm, base, equal_var=False)
    assert found.p[0] == pytest.approx(theirs.pvalue, rel=1e-9)
    interval = theirs.confidence_interval(0.95)
    assert (found.low[0], found.high[0]) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert not found.equal_noise[0]


@given(scores, scores)
def test_contrast_of_few_seeds_is_students_test_of_two_samples(base, arm):
    assume(min(len(base), len(arm)) < ENOUGH_SEEDS)
    found, theirs = against_first(base, arm), stats.ttest_ind(arm, base)
    assume(not found.bad.any())
    assert found.p[0] == pytest.approx(theirs.pvalue, rel=1e-9)
    assert found.equal_noise[0]


def test_contrast_of_few_seeds_takes_the_noise_from_all_arms():
    """The same difference is told from noise by four arms and not by two."""
    noise = ([0.0, 1.0, 2.0], [0.1, 1.1, 2.1], [0.2, 1.2, 2.2])
    alone = against_first(noise[0], [3.3, 4.4, 5.5])
    together = against_first(noise[0], [3.3, 4.4, 5.5], *noise[1:])
    assert together.se[0] < alone.se[0] and together.df[0] == 8 > alone.df[0] == 4
    assert together.verdict[0] == "better" and alone.p[0] < together.p[0] * 3


@given(scores, scores, st.sampled_from([-1, 1]))
def test_contrast_is_symmetric(base, arm, sign):
    one, other = against_first(base, arm, sign=sign), against_first(arm, base, sign=sign)
    assert one.p[0] == pytest.approx(other.p[0]) and one.difference[0] == -other.difference[0]
    assert (one.low[0], one.high[0]) == (pytest.approx(-other.high[0]), pytest.approx(-other.low[0]))


@given(st.lists(scores, min_size=2, max_size=5), st.floats(0.1, 500))
def test_contrast_of_many_studies_is_that_of_each(arms, margin):
    one = study(*arms)
    studies = np.stack([one, one[:, ::-1] * 1.5 + 1])
    tested, bases = range(1, len(arms)), [0] * (len(arms) - 1)
    together = contrast(studies, tested, bases, margin=margin)
    for i in range(2):
        alone = contrast(studies[i], tested, bases, margin=margin)
        for name in ("difference", "low", "high", "p", "p_equivalent", "p_not_worse"):
            np.testing.assert_allclose(getattr(together, name)[i], getattr(alone, name))
        assert (together.verdict[i] == alone.verdict).all()


@given(scores, scores, st.floats(0.1, 2000))
def test_equivalence_is_two_one_sided_tests_and_not_worse_is_one(base, arm, margin):
    few = min(len(base), len(arm)) < ENOUGH_SEEDS
    found = against_first(base, arm, margin=margin, sign=1)
    assume(not found.bad.any())
    above, below = (
        stats.ttest_ind(np.array(arm) + shift, base, equal_var=few, alternative=side).pvalue
        for shift, side in ((margin, "greater"), (-margin, "less"))
    )
    assert found.p_equivalent[0] == pytest.approx(max(above, below), rel=1e-6, abs=1e-12)
    assert found.p_not_worse[0] == pytest.approx(above, rel=1e-6, abs=1e-12)


def test_luck_of_tuning_widens_the_interval_by_its_variance():
    base, arm = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2.0, 3.0, 4.0, 5.0, 6.0, 7.5]
    plain, tuned = against_first(base, arm), against_first(base, arm, luck=0.5)
    assert tuned.se[0] ** 2 / plain.se[0] ** 2 == pytest.approx((1 / 6 + 0.5) / (1 / 6))
    assert tuned.sd[0] == pytest.approx(plain.sd[0])


@pytest.mark.parametrize(
    ("arm", "sign", "margin", "verdict"),
    [
        ([9, 10, 11, 10, 9], 1, None, "better"),
        ([9, 10, 11, 10, 9], -1, None, "worse"),
        ([0, 1, 2, 1, 0], 1, None, "no difference shown"),
        ([0, 1, 2, 1, 0.1], 1, 5, "equivalent"),
        ([9, 10, 11, 10, 9], 1, 50, "equivalent"),  # significant, and smaller than what matters
        ([2, 0, 3, 1, 2], 1, 1.5, "not worse"),
        ([2, 0, 3, 1, 2], -1, 1.5, "no difference shown"),
        ([5], 1, None, "one seed"),
    ],
)
def test_verdict(arm, sign, margin, verdict):
    assert against_first([0, 1, 2, 1, 0], arm, sign=sign, margin=margin).verdict[0] == verdict


def test_verdict_of_scores_that_do_not_vary():
    same, apart = against_first([1.0, 1.0], [1.0, 1.0 + 1e-16], [2.0, 2.0], margin=0.1).verdict
    assert (same, apart) == ("equivalent", "seeds do not vary")


@pytest.mark.parametrize("sign", [-1, 1])
def test_bad_seed_makes_an_arm_unstable_and_its_baseline_useless(sign):
    noise = [0.0, 1.0, -1.0, 0.5, -0.5]
    bad = [*noise[:4], -sign * 40.0]
    assert against_first(noise, bad, noise, sign=sign).verdict.tolist() == ["unstable", "no difference shown"]
    assert against_first(bad, noise, noise, sign=sign).verdict.tolist() == ["unstable baseline"] * 2
    good = [*noise[:4], sign * 40.0]
    assert not bad_seeds(study(noise, good), sign).any(), "a seed that ends far better is not bad"
    assert bad_seeds(study(noise, bad), sign).sum() == 1


def test_diverged_arm_is_unstable():
    found = contrast(study([0, 1, 2], [5, 6, 7]), [1], [0], diverged=np.array([False, True]))
    assert found.verdict[0] == "unstable"


def test_adjust_holm_equals_r():
    """p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")"""
    found = adjust_holm(np.array([0.01, 0.02, 0.03, 0.04, 0.05]))
    assert found.tolist() == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])


@given(p_values)
def test_adjust_holm_is_the_closure_of_bonferroni(ps):
    """Marcus, Peritz & Gabriel 1976: a hypothesis is rejected if every set that contains it is rejected."""
    sets = [s for n in range(1, len(ps) + 1) for s in itertools.combinations(range(len(ps)), n)]
    bonferroni = {s: min(1.0, len(s) * min(ps[i] for i in s)) for s in sets}
    expected = [max(p for s, p in bonferroni.items() if i in s) for i in range(len(ps))]
    assert adjust_holm(np.array(ps)).tolist() == pytest.approx(expected)


@given(st.sets(st.integers(2, 40), min_size=1, max_size=5))
def test_levels_of_all_looks_add_up_to_the_level(looks):
    assert sum(level_at(sorted(looks), n) for n in looks) == pytest.approx(LEVEL)


def test_seeds_needed_equals_g_power():
    """G*Power 3.1, t tests, two independent means, two-tailed, 0.05, power 0.80: seeds per arm."""
    for effect, n in ((0.2, 394), (0.5, 64), (0.8, 26)):
        assert Design().seeds_needed(effect, 1.0) == Design().seeds_needed(-3 * effect, 3.0) == n


def test_seeds_needed_of_extremes():
    cases = [((0.0, 1.0), None), ((0.0, 0.0), None), ((0.1, 0.0), 2), ((1e-200, 1.0), None), ((1e200, 1.0), 2)]
    assert [Design().seeds_needed(*case) for case, _ in cases] == [n for _, n in cases]
    assert Design(luck=0.5).seeds_needed(1.0, 1.0) is None, "more seeds do not take the luck of tuning away"


@given(st.floats(0.2, 1e4), st.sampled_from([2, 5, 10]))
def test_seeds_needed_is_the_fewest(effect, n_arms):
    design = Design(n_arms)
    n = design.seeds_needed(effect, 1.0)
    assert design.power(n, effect) >= 0.8
    assert n in (2, ENOUGH_SEEDS) or design.power(n - 1, effect) < 0.8


@pytest.mark.parametrize(("n", "effect"), [(3, 3.0), (6, 1.5)])
def test_power_equals_that_of_simulated_studies(n, effect):
    drawn = np.random.default_rng(0).standard_normal((20_000, 2, n))
    drawn[:, 1] += effect
    found = (contrast(drawn, [1], [0]).p < LEVEL).mean()
    assert Design().power(n, effect) == pytest.approx(found, abs=0.02), (
        "Welch's degrees of freedom vary; here they do not"
    )


@given(st.integers(2, 200), st.floats(1e-3, 1e3), st.sampled_from([0.05, 0.05 / 7]), st.sampled_from([0.0, 0.5]))
def test_smallest_effect_has_the_power(n, sd, level, luck):
    design = Design(4, level, luck)
    effect = design.smallest_effect(n, sd)
    assert design.power(n, effect / sd) == pytest.approx(0.8)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_simulated_studies_err_as_rarely_as_documented(cell):
    """Every cell of `make calibrate`, with few studies: an excess that chance alone gives once in 100,000 fails."""
    problems = cell.problems(simulate(cell, 1000), 1000, by_chance=1e-5)
    assert not problems


def test_pairs_of_seeds_are_not_used():
    """Which seed has which score of an arm decides nothing."""
    base = [1.0, 2.0, 4.0, 8.0, 16.0]
    arm = [2.0, 3.0, 5.0, 9.0, 17.0]
    assert against_first(base, arm).p[0] == pytest.approx(against_first(base, arm[::-1]).p[0])
    assert len(base) == contrasts.ENOUGH_SEEDS
