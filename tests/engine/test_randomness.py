from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from sslkit.engine.interfaces import Batch, Progress
from sslkit.engine.randomness import component_seed, mix, sample_keys, seeded, step_seed, uniforms, uniforms_beside


def splitmix64(value: int) -> int:
    """SplitMix64 in Python integers, literally."""
    mask = 2**64 - 1
    z = (value + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_mix_is_splitmix64():
    values = [0, 1, 2**63, 2**64 - 1, 0x123456789ABCDEF]
    assert mix(np.array(values, dtype=np.uint64)).tolist() == [splitmix64(value) for value in values]
    assert splitmix64(0) == 0xE220A8397B1DCDAF  # first output of the published generator at seed 0


def test_keys_are_the_same_for_any_batch_split():
    indices = np.arange(100)
    whole = sample_keys(3, 7, indices)
    parts = np.concatenate([sample_keys(3, 7, part) for part in np.split(indices, [1, 17, 64])])
    assert (whole == parts).all()


def test_keys_do_not_collide_over_seeds_epochs_and_images():
    keys = [sample_keys(seed, epoch, np.arange(2000)) for seed in (0, 1, -1) for epoch in range(20)]
    assert len(np.unique(np.concatenate(keys))) == 3 * 20 * 2000


def test_uniforms_are_uniform_and_independent():
    numbers = uniforms(sample_keys(0, 0, np.arange(50_000)), 2, 3)
    assert numbers.shape == (50_000, 2, 3)
    assert numbers.dtype == np.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    flat = numbers.reshape(-1, 6).astype(np.float64)
    assert np.abs(flat.mean(axis=0) - 0.5).max() < 0.006  # 4.6 standard errors
    assert np.abs(flat.var(axis=0) - 1 / 12).max() < 0.002
    correlation = np.corrcoef(flat.T) - np.eye(6)
    assert np.abs(correlation).max() < 0.02
    neighbours = np.corrcoef(flat[:-1, 0], flat[1:, 0])[0, 1]
    assert abs(neighbours) < 0.02


def test_more_draws_or_views_are_new_numbers_of_the_same_sample():
    keys = sample_keys(0, 0, np.arange(10))
    assert not np.isin(uniforms(keys, 2, 3)[:, 0], uniforms(keys, 2, 3)[:, 1]).any()


def test_component_and_step_seeds_depend_on_everything():
    assert component_seed(0, "pretrain.head") != component_seed(0, "pretrain.backbone")
    assert component_seed(0, "pretrain.head") != component_seed(1, "pretrain.head")
    seeds = {step_seed(s, step, rank, micro) for s in (0, 1) for step in (0, 1) for rank in (0, 1) for micro in (0, 1)}
    assert len(seeds) == 16
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_seeded_is_repeatable_and_leaves_no_trace(seed):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    drawn = []
    for _ in range(2):
        with seeded(seed):
            drawn.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
    assert drawn[0] == drawn[1]
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_numbers_made_on_the_device_are_those_made_on_the_host(seed):
    indices = torch.tensor([0, 1, 77, 2**40])
    keys = mix(indices.numpy().astype(np.uint64) ^ np.uint64(seed))
    assert uniforms_beside(indices, seed, 5).numpy().tolist() == uniforms(keys, 1, 5)[:, 0].tolist()


def batch_of(indices, step=3, seed=0):
    indices = torch.tensor(indices)
    return Batch([indices[:, None].float()], indices, indices, Progress(step, 10, 10), seed)


def test_an_image_draws_the_same_numbers_in_any_part_of_a_batch():
    whole = batch_of([5, 2, 9, 4])
    drawn = whole.uniforms(6)
    assert drawn.shape == (4, 6)
    assert torch.equal(torch.cat([whole[2:].uniforms(6), whole[:2].uniforms(6)]), drawn[[2, 3, 0, 1]])
    assert torch.equal(batch_of([9]).uniforms(3)[0], drawn[2, :3])


def test_other_steps_seeds_and_images_draw_others():
    rows = [batch_of([5]), batch_of([6]), batch_of([5], step=4), batch_of([5], seed=1)]
    assert len({tuple(row.uniforms(2)[0].tolist()) for row in rows}) == 4


def test_a_batch_draws_uniform_numbers():
    numbers = batch_of(range(20_000)).uniforms(3)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert (numbers.mean(dim=0) - 0.5).abs().max() < 0.01
    assert torch.corrcoef(numbers.T).fill_diagonal_(0).abs().max() < 0.03
