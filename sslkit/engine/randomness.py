"""Stateless random numbers: every draw is a pure function of (seed, epoch, sample index, view, operation).

A resumed run, other worker counts and another world size therefore see the same numbers. Enters: integers.
Leaves: uint64 keys, float32 uniforms, torch seeds. Called by `order`, `batches`, `step`, by view generators (through
`sslkit.uniforms`), and by methods (through `Batch.uniforms`). Views are drawn with numpy, on the host, in the loader's
workers; what a method draws is computed where its images are.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Keys = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: the increment of SplitMix64


def mix(value: Keys) -> Keys:
    """Return a 64-bit avalanche hash of each value (the finaliser of SplitMix64, Steele et al. 2014, fig. 15)."""
    z = value + _GOLDEN  # array arithmetic wraps modulo 2**64 without a warning
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def sample_keys(seed: int, epoch: int, indices: npt.NDArray[np.int64]) -> Keys:
    """Return one key per sample, from which all of its random numbers of this epoch follow.

    Args:
        seed: The run's seed.
        epoch: Epoch number from 0.
        indices: int64 [B], positions in the dataset.

    Returns:
        uint64 [B].
    """
    # Seed and epoch go through the hash one after the other: a linear combination would let
    # (epoch, index) pairs collide.
    epoch_key = mix(mix(_as_key(seed)) ^ _as_key(epoch))
    return mix(epoch_key ^ indices.astype(np.uint64))


def uniforms(keys: Keys, num_views: int, num_draws: int) -> npt.NDArray[np.float32]:
    """Return independent uniform numbers for every sample, view and operation.

    Args:
        keys: uint64 [B], one per sample.
        num_views: Views per sample, V.
        num_draws: Numbers per view, K. More of them leave the first ones as they are.

    Returns:
        float32 [B, V, K] in [0, 1), 24 random bits each.
    """
    view, draw = (np.arange(count, dtype=np.uint64) for count in (num_views, num_draws))
    slots = mix((view.reshape(-1, 1) << np.uint64(32)) + draw)
    bits = mix(keys.reshape(-1, 1, 1) ^ slots)
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def uniforms_beside(indices: Tensor, seed: int, num_draws: int) -> Tensor:
    """Return uniform numbers on the device of the indices: those of `uniforms` for one view, without waiting for it.

    Args:
        indices: int64 [B], positions in the dataset.
        seed: Of this step, 64 bits; any two steps have different numbers.
        num_draws: Numbers for each image, K. More of them leave the first ones as they are.

    Returns:
        float32 [B, K] in [0, 1), 24 random bits each.
    """
    keys = _mix(indices ^ _signed(seed))
    slots = _mix(torch.arange(num_draws, device=indices.device))
    bits = _mix(keys[:, None] ^ slots)
    return _shifted(bits, 40).to(torch.float32) * 2.0**-24


def _mix(value: Tensor) -> Tensor:
    """Return `mix` of int64 values: torch wraps modulo 2**64 too, but shifts the sign in."""
    z = value + _signed(0x9E3779B97F4A7C15)
    z = (z ^ _shifted(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shifted(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shifted(z, 31)


def _shifted(value: Tensor, places: int) -> Tensor:
    return (value >> places) & ((1 << (64 - places)) - 1)


def _signed(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


def component_seed(seed: int, path: str) -> int:
    """Return the seed under which a component is constructed: adding a probe must not move the initial weights.

    Args:
        seed: The run's seed.
        path: The component's place in the recipe, such as `pretrain.backbone`.
    """
    digest = hashlib.blake2b(f"{seed}:{path}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # torch takes signed 64-bit seeds


def step_seed(seed: int, step: int, rank: int = 0, micro_batch: int = 0) -> int:
    """Return the torch seed for one forward pass, so that dropout is the same after a resume and in a replay."""
    return component_seed(seed, f"step {step} rank {rank} micro {micro_batch}")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python, numpy and torch's CPU generator inside the block, and put their former states back after it."""
    python, numpy, torch_state = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.random.set_rng_state(torch_state)


def _as_key(value: int) -> Keys:
    return np.array([value % 2**64], dtype=np.uint64)
