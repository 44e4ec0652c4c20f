from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslkit import RunError
from sslkit.engine.order import Order


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 2**40), st.integers(0, 50))
def test_an_epoch_shows_every_image_at_most_once(num_images, batch_size, seed, epoch):
    if num_images < batch_size:
        with pytest.raises(RunError, match=rf"pretrain.batch_size to at most {num_images}"):
            Order(seed, num_images, batch_size)
        return
    order = Order(seed, num_images, batch_size)
    first = epoch * order.steps_per_epoch
    seen = np.concatenate([order.indices(step) for step in range(first, first + order.steps_per_epoch)])
    assert len(np.unique(seen)) == len(seen) == order.steps_per_epoch * batch_size
    assert seen.min() >= 0
    assert seen.max() < num_images
    assert order.epoch_of(first) == order.epoch_of(first + order.steps_per_epoch - 1) == epoch


def test_a_step_does_not_depend_on_the_steps_before_it():
    going_through = Order(5, 103, 10)
    through = [going_through.indices(step).tolist() for step in range(50)]
    for step in (49, 3, 10, 0):
        assert Order(5, 103, 10).indices(step).tolist() == through[step]


def test_epochs_and_seeds_have_other_orders():
    orders = {tuple(Order(seed, 50, 50).indices(epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_every_image_is_equally_likely_to_be_left_out():
    order = Order(0, 10, 9)
    left_out = np.zeros(10)
    for epoch in range(2000):
        left_out[list(set(range(10)) - set(order.indices(epoch)))] += 1
    assert np.abs(left_out - 200).max() < 70  # 5 standard deviations of a binomial
