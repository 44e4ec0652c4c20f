"""BatchNorm over the rows of two ranks is BatchNorm over all of them."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from layers import LAYERS, drift_in_half_precision, layer_on_images, of_layer

from sslkit.testing import on_ranks

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}


def dealt(parts):
    """Return the rows of all ranks in the order of a single process."""
    return torch.stack(parts, dim=1).flatten(0, 1)


def require_equal(tolerance, name, dtype, size=2, **options):
    outputs, gradients, of_parameters, buffers = of_layer(name, dtype, **options)
    found = on_ranks(partial(of_layer, name, dtype, **options), size=size)
    for place in range(len(outputs)):
        near(dealt([rank[0][place] for rank in found]), outputs[place], tolerance)
        near(dealt([rank[1][place] for rank in found]), gradients[place], tolerance)
    for place, expected in enumerate(of_parameters):
        near(sum(rank[2][place] for rank in found), expected, 10 * tolerance)
    for rank in found:
        for buffer, expected in zip(rank[3], buffers, strict=True):
            near(buffer, expected, tolerance)


def near(value, expected, tolerance):
    assert value.shape == expected.shape
    assert value.dtype == expected.dtype
    assert float((value.double() - expected.double()).abs().max() / expected.abs().max().clamp(min=1)) < tolerance


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_gradients_and_statistics_are_those_of_one_process(name, dtype):
    require_equal(TOLERANCE[dtype], name, dtype)


@pytest.mark.parametrize("name", ["1d", "2d", "timm's with an activation"])
def test_four_ranks_too(name):
    require_equal(1e-12, name, torch.float64, size=4)


@pytest.mark.parametrize("name", ["2d", "timm's with an activation", "with an average of all batches"])
def test_evaluation_takes_the_running_statistics(name):
    require_equal(1e-12, name, torch.float64, train=False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_images_may_have_their_channels_last(dtype):
    require_equal(TOLERANCE[dtype], "2d", dtype, channels_last=True)


@pytest.mark.parametrize("name", ["1d", "2d", "timm's with an activation", "without scale and shift"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_bfloat16_is_summed_in_float32(name, channels_last):
    options = {"autocast": True, "channels_last": channels_last and name != "1d"}
    require_equal(0.02, name, torch.bfloat16, **options)
    buffers = on_ranks(partial(of_layer, name, torch.bfloat16, **options))[0][3]
    for buffer, expected in zip(buffers, of_layer(name, torch.float32)[3], strict=True):
        assert buffer.dtype == expected.dtype
        near(buffer, expected, 2e-3)  # the rows themselves are rounded


def test_in_half_precision_no_channels_gradient_drifts():
    # Over all ranks it sums to zero; coefficients in bfloat16 would put the same error on every row.
    assert sum(on_ranks(drift_in_half_precision)).abs().max() < 0.05


def test_a_small_variance_beside_a_large_mean_does_not_cancel():
    options = {"offset": 1e4, "spread": 0.1}
    found = on_ranks(partial(of_layer, "2d", torch.float32, **options))
    exact = of_layer("2d", torch.float64, **options)
    for place in (0, 1):
        for batch in (0, 1):
            value, expected = dealt([rank[place][batch] for rank in found]).double(), exact[place][batch]
            assert float((value - expected).abs().max() / expected.abs().max()) < 3e-3  # torch's own is as far off
    assert torch.allclose(found[0][3][1].double(), exact[3][1], rtol=1e-4)


@pytest.mark.parametrize("freeze", [False, True])
def test_only_what_is_needed_gets_a_gradient(freeze):
    found = on_ranks(layer_on_images, freeze)
    near(dealt(found) if freeze else sum(found), layer_on_images(freeze), 1e-12)
