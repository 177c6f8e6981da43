"""Learning rates stay within bounds at every fraction, and a longer budget is taken only where none would have differed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tietrain.config import OptimConfig, RunConfig, TrainConfig
from tietrain.config.identity import result_settings
from tietrain.errors import SettingsError
from tietrain.train.optim import fraction_spent, learning_rate
from tietrain.train.resume import check_longer_budget

SCHEDULES = ("inverse_sqrt", "cosine", "wsd", "constant")


def optim(schedule, **options):
    return OptimConfig(schedule=schedule, **{"lr": 2.0, "warmup": 0.1, "decay": 0.4, "min_lr_ratio": 0.25, **options})


@given(
    st.sampled_from(SCHEDULES),
    st.floats(0.01, 0.5),
    st.floats(0, 0.5),
    st.floats(0, 1),
    st.floats(0, 1, allow_nan=False),
)
def test_rates_are_positive_and_never_above_the_peak(schedule, warmup, decay, lowest, fraction):
    rate = learning_rate(optim(schedule, warmup=warmup, decay=decay, min_lr_ratio=lowest), fraction)
    assert 0 <= rate <= 2.0 * (1 + 1e-12)
    if fraction < 1:
        assert rate > 0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_is_linear_and_ends_at_the_peak(schedule):
    config = optim(schedule)
    assert learning_rate(config, 0.05) == pytest.approx(1.0)
    assert learning_rate(config, 0.1) == pytest.approx(2.0)
    assert learning_rate(config, 0.0) > 0


@pytest.mark.parametrize(
    ("schedule", "half", "end"),
    [
        ("constant", 2.0, 2.0),
        ("wsd", 2.0, 0.5),
        ("cosine", 0.5 + 1.5 * 0.5868240888334652, 0.5),
        ("inverse_sqrt", 2 / 5**0.5, 2 / 10**0.5),
    ],
)
def test_rates_after_warm_up(schedule, half, end):
    assert learning_rate(optim(schedule), 0.5) == pytest.approx(half)
    assert learning_rate(optim(schedule), 1.0) == pytest.approx(end)
    assert learning_rate(optim(schedule), 1.5) == pytest.approx(end)


def test_wsd_is_half_way_down_half_way_through_its_decay():
    assert learning_rate(optim("wsd", min_lr_ratio=0.0), 0.8) == pytest.approx(1.0)


def test_fraction_is_that_of_the_budget_spent_most():
    used = {"steps": 10, "tokens": 900, "flops": 5, "seconds": 1.0}
    assert fraction_spent(used, {"steps": 100, "tokens": 1000}) == 0.9
    assert fraction_spent(used, {"steps": 100}) == 0.1


def test_inverse_sqrt_needs_a_warm_up():
    with pytest.raises(SettingsError, match=r"optim\.warmup=0"):
        OptimConfig(schedule="inverse_sqrt", warmup=0.0)


def settings_of(schedule="constant", warmup=0.0, decay=0.4, **train):
    config = RunConfig(optim=optim(schedule, warmup=warmup, decay=decay), train=TrainConfig(**train))
    return result_settings(config)


@pytest.mark.parametrize(
    ("before", "now", "used"),
    [
        ({"max_steps": 100}, {"max_steps": 101}, 100),
        ({"max_steps": 100, "warmup": 0.1}, {"max_steps": 200, "warmup": 0.05}, 100),
        ({}, {"max_steps": 800}, 400),  # what is not stated is 400 steps
        ({"schedule": "inverse_sqrt", "max_steps": 100, "warmup": 0.1}, {"max_steps": 150, "warmup": 10 / 150}, 100),
        ({"schedule": "wsd", "max_steps": 100, "warmup": 0.1}, {"max_steps": 200, "warmup": 0.05}, 60),
        ({"schedule": "wsd", "max_steps": 100, "decay": 0.1}, {"max_steps": 200, "decay": 0.5}, 90),
        ({"schedule": "cosine", "max_steps": 100}, {"max_steps": 200}, 0),
    ],
)
def test_a_longer_budget_whose_rates_were_used_so_far(before, now, used):
    check_longer_budget(settings_of(**before), settings_of(**{**before, **now}), {"steps": used})


@pytest.mark.parametrize(
    ("before", "now", "used", "message"),
    [
        ({"max_steps": 100}, {"max_steps": 99}, 50, r"train\.max_steps=99: the run was made with max_steps=100"),
        ({"max_steps": 100}, {"max_steps": None, "max_tokens": 1e6}, 50, r"train\.max_tokens=1000000\.0: the run"),
        ({"max_steps": 100}, {"max_steps": 200, "max_tokens": 1e6}, 50, "made with max_steps=100"),
        ({"max_steps": 100}, {"warmup": 0.1}, 50, r"optim\.warmup=0\.1: the run was made with 0\.0"),
        (
            {"max_steps": 100, "warmup": 0.1},
            {"max_steps": 200},
            50,
            r"optim\.schedule=constant.*try optim\.warmup=0\.05",
        ),
        ({"schedule": "cosine", "max_steps": 100}, {"max_steps": 200}, 50, r"optim\.schedule=cosine"),
        ({"schedule": "wsd", "max_steps": 100}, {"max_steps": 200}, 61, r"optim\.schedule=wsd"),
        ({"schedule": "wsd", "max_steps": 100}, {"max_steps": 110, "decay": 0.9}, 60, r"optim\.schedule=wsd"),
    ],
)
def test_another_budget_is_refused(before, now, used, message):
    with pytest.raises(SettingsError, match=message):
        check_longer_budget(settings_of(**before), settings_of(**{**before, **now}), {"steps": used})
