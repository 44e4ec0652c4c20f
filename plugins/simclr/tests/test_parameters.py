"""Random numbers and what becomes of them: which number goes where, and the laws of all parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sslkit_simclr import TwoCrops
from sslkit_simclr.policy import COLUMNS
from view_samples import EVERYTHING, EXTRAS, ORDERS, SEMANTICS, keys, parameters_of


def test_draws_are_functions_of_the_key_alone():
    views = TwoCrops(**EVERYTHING)
    draws = views.draw(keys(64))
    assert draws.shape == (64, 2, COLUMNS["motion_blur"].stop)
    assert draws.dtype == np.float32
    parts = np.concatenate([views.draw(part) for part in np.array_split(keys(64), 5)])
    np.testing.assert_array_equal(parts, draws)
    assert len(np.unique(draws)) > 0.999 * draws.size  # no view, image or operation shares its numbers
    assert (views.draw(keys(64, epoch=1)) != draws).mean() > 0.999
    assert (views.draw(keys(64, seed=1)) != draws).mean() > 0.999
    assert TwoCrops(num_views=1, blur_probability=0).draw(keys(3)).shape == (3, 1, COLUMNS["colour"].stop)


def test_columns_neither_overlap_nor_leave_gaps():
    ends = [(part.start, part.stop) for part in COLUMNS.values()]
    assert [start for start, _ in ends] == [0, *(stop for _, stop in ends[:-1])]
    assert all(start < stop for start, stop in ends)


def test_the_numbers_of_views_images_and_operations_are_uncorrelated():
    draws = TwoCrops(**EVERYTHING).draw(keys(20_000))
    flat = draws.reshape(20_000, -1)
    correlation = np.corrcoef(flat.T) - np.eye(flat.shape[1])
    assert abs(correlation).max() < 5 / 20_000**0.5
    following = np.corrcoef(flat[:-1].T, flat[1:].T)[: flat.shape[1], flat.shape[1] :]
    assert abs(following).max() < 5 / 20_000**0.5
    assert abs(draws.mean((0, 1)) - 0.5).max() < 5 * (1 / 12 / 40_000) ** 0.5


@pytest.mark.parametrize("extra", [*EXTRAS, "everything", "auto_augment"])
def test_switching_an_operation_on_moves_no_number_of_another(extra):
    options = {f"{extra}_probability": 0.5}
    if extra == "everything":
        options = EVERYTHING
    elif extra == "auto_augment":
        options = {"auto_augment": "imagenet"}
    plain, more = TwoCrops(), TwoCrops(**options)
    before, after = plain.draw(keys(50)), more.draw(keys(50))
    np.testing.assert_array_equal(after[..., : before.shape[-1]], before)
    known, now = parameters_of(plain, before), parameters_of(more, after)
    for name in ("colour", "blur", "flip"):
        assert repr(known[name]) == repr(now[name])
    without_colour = parameters_of(TwoCrops(jitter_probability=0, grayscale_probability=0), before)
    assert torch.equal(without_colour["blur"].sigma, known["blur"].sigma)


# The laws of the parameters


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_rates_ranges_and_order(semantics):
    draws = TwoCrops(semantics=semantics).draw(keys(20_000))
    parameters = parameters_of(TwoCrops(semantics=semantics), draws)
    (jitter, gray), blurred = parameters["colour"], parameters["blur"]

    def rate(chosen):
        return chosen.float().mean().item()

    assert rate(parameters["flip"].chosen) == pytest.approx(0.5, abs=0.01)
    assert rate(gray) == pytest.approx(0.2, abs=0.01)
    assert rate(blurred.chosen) == pytest.approx(0.5, abs=0.01)
    jittered = jitter.contrast != 1
    assert rate(jittered) == pytest.approx(0.8, abs=0.01)
    assert rate(gray & jittered) == pytest.approx(0.16, abs=0.01)  # grayscale does not depend on the jitter
    addend = semantics == "paper"
    for values, low, high, still in (
        (jitter.brightness, -0.8 if addend else 0.2, 0.8 if addend else 1.8, 0.0 if addend else 1.0),
        (jitter.contrast, 0.2, 1.8, 1.0),
        (jitter.saturation, 0.2, 1.8, 1.0),
        (jitter.hue, -0.2, 0.2, 0.0),
    ):
        assert (values[~jittered] == still).all()
        position = (values[jittered] - low) / (high - low)
        assert -1e-6 <= position.min() < 0.01
        assert 0.99 < position.max() <= 1 + 1e-6
        assert position.mean().item() == pytest.approx(0.5, abs=0.01)
        assert position.std().item() == pytest.approx(12**-0.5, abs=0.01)  # uniform
    assert 0.1 <= blurred.sigma.min() < 0.11
    assert 1.99 < blurred.sigma.max() <= 2.0
    assert blurred.sigma[blurred.chosen].mean().item() == pytest.approx(1.05, abs=0.02)
    orders, counts = torch.unique(jitter.places, dim=0, return_counts=True)
    assert orders.tolist() == ORDERS.tolist()
    assert (counts - 40_000 / 24).abs().max() < 5 * (40_000 / 24) ** 0.5
    weaker = parameters_of(TwoCrops(semantics=semantics, colour_strength=0.5), draws)["colour"].jitter
    assert weaker.brightness.max().item() == pytest.approx(0.4 if addend else 1.4, abs=0.01)
    assert weaker.hue.min().item() == pytest.approx(-0.1, abs=0.01)
    paler = parameters_of(TwoCrops(semantics=semantics, saturation_strength=0.5), draws)["colour"].jitter
    assert paler.saturation.max().item() == pytest.approx(1.4, abs=0.01)
    assert paler.saturation.min().item() == pytest.approx(0.6, abs=0.01)
    assert torch.equal(paler.contrast, jitter.contrast)


@pytest.mark.parametrize("extra", EXTRAS)
def test_rates_of_the_others(extra):
    views = TwoCrops(**{f"{extra}_probability": 0.3})
    found = parameters_of(views, views.draw(keys(10_000)))[extra]
    chosen = found.quarters > 0 if extra == "rotation" else found.chosen
    assert chosen.float().mean().item() == pytest.approx(0.3, abs=0.012)
    for name, values in found._asdict().items():  # what else is drawn does not depend on that
        if name != "chosen":
            middle = {"quarters": 2, "angle": 90}.get(name, 0.5)
            assert values[chosen].mean().item() == pytest.approx(middle, rel=0.03)


def test_with_three_quarters_all_four_angles_are_equally_likely():
    views = TwoCrops(rotation_probability=0.75)
    quarters = parameters_of(views, views.draw(keys(10_000)))["rotation"].quarters
    assert (torch.bincount(quarters.long(), minlength=4) / 20_000 - 0.25).abs().max() < 0.012


def test_strong_factors_end_at_zero():
    for semantics in SEMANTICS:
        views = TwoCrops(colour_strength=1.5, semantics=semantics)
        jitter = parameters_of(views, views.draw(keys(5000)))["colour"].jitter
        assert 0 <= jitter.contrast.min() < 0.01
        assert 2.19 < jitter.contrast.max() <= 2.2
