"""Schedules against the values of the official SimCLR code, and short runs."""

import math

import pytest

from sslkit import Progress, constant, cosine

IMAGENET = {"total_steps": 31_279, "steps_per_epoch": 1_281_167 / 4096}
CIFAR = {"total_steps": 97_657, "steps_per_epoch": 50_000 / 512}


# Source: the official code's formula at batch 4096, 100 epochs, base rate 4.8 (five printed digits).
@pytest.mark.parametrize(
    ("step", "rate"), [(0, 0.0), (1000, 1.53502), (3127, 4.8), (10_000, 4.12801), (17_203, 2.4), (31_279, 0.0)]
)
def test_cosine_has_the_values_of_the_paper_s_code(step, rate):
    assert 4.8 * cosine(warmup_epochs=10)(Progress(step, **IMAGENET)) == pytest.approx(rate, abs=5e-6)


def test_cifar_warm_up_is_976_steps():
    schedule = cosine(warmup_epochs=10)
    assert schedule(Progress(976, **CIFAR)) == 1.0
    assert schedule(Progress(975, **CIFAR)) == 975 / 976
    assert schedule(Progress(977, **CIFAR)) < 1.0


def test_without_warm_up_the_first_step_has_the_full_value():
    assert cosine(warmup_epochs=0)(Progress(0, 10, 5.0)) == 1.0
    assert constant()(Progress(0, 10, 5.0)) == 1.0


@pytest.mark.parametrize("final", [0.0, 0.1, 10.0])
def test_cosine_ends_at_the_final_factor(final):
    schedule = cosine(warmup_epochs=1, final_factor=final)
    assert schedule(Progress(100, 100, 10.0)) == pytest.approx(final, abs=1e-15)
    assert schedule(Progress(55, 100, 10.0)) == pytest.approx((1 + final) / 2)


def test_a_run_shorter_than_its_warm_up_only_rises():
    for schedule in (cosine(warmup_epochs=10), constant(warmup_epochs=10)):
        assert [schedule(Progress(step, 4, 2.0)) for step in range(4)] == [0.0, 0.25, 0.5, 0.75]
        assert math.isfinite(schedule(Progress(4, 4, 2.0)))


def test_constant_rises_then_stays():
    schedule = constant(warmup_epochs=0.5)
    assert [schedule(Progress(step, 10, 4.0)) for step in (0, 1, 2, 9)] == [0.0, 0.5, 1.0, 1.0]


def test_rounding_of_the_product_does_not_lose_a_step():
    assert constant(warmup_epochs=0.29)(Progress(28, 1000, 100.0)) == 28 / 29
