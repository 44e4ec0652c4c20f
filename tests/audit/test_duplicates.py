"""Near duplicates, against the comparison of all pairs."""

import time

import numpy as np
import pytest

from sslkit.audit.duplicates import equal_groups, near_groups


def flipped(value, bits):
    return value ^ sum(1 << int(bit) for bit in bits)


def plain_groups(hashes, bits):
    """Connected components of the pairs within `bits`, one pair at a time."""
    label = list(range(len(hashes)))
    for i in range(len(hashes)):
        for j in range(i):
            if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= bits and label[i] != label[j]:
                label = [label[j] if found == label[i] else found for found in label]
    return sorted(
        group for name in set(label) if len(group := [k for k, found in enumerate(label) if found == name]) > 1
    )


def ramps(amount):
    return np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(16, 16), (amount, 16, 16))


def test_equal_keys_make_groups():
    assert equal_groups(["a", "b", None, "a", None, "c", "b", "a"]) == [[0, 3, 7], [1, 6]]


@pytest.mark.parametrize("bits", [0, 1, 4, 6, 8])
def test_no_pair_within_the_distance_is_missed_and_none_beyond_is_taken(bits):
    generator = np.random.default_rng(bits)
    seeds = generator.integers(0, 2**64, 40, dtype=np.uint64).tolist()
    hashes = [
        flipped(seed, generator.choice(64, distance, replace=False))
        for seed in seeds
        for distance in (0, 1, 3, 5, 7, 9)
    ]
    hashes = np.array([hashes[k] for k in generator.permutation(len(hashes))], dtype=np.uint64)
    alike = ramps(len(hashes))
    groups = near_groups(hashes, alike, bits)
    assert sorted(groups) == plain_groups(hashes, bits)
    assert groups == sorted(groups)


def test_every_place_of_the_differing_bits_is_found():
    for bit in range(64):
        hashes = np.array([0, 1 << bit, (1 << 64) - 1], dtype=np.uint64)
        assert near_groups(hashes, ramps(3), 1) == [[0, 1]]


def test_equal_hashes_of_unlike_pictures_are_no_duplicates():
    generator = np.random.default_rng(0)
    details = generator.integers(0, 256, (3, 16, 16), dtype=np.uint8)
    details[2] = np.clip(details[0] * 0.7 + 20, 0, 255)  # brightness and contrast change, the picture does not
    assert near_groups(np.zeros(3, dtype=np.uint64), details) == [[0, 2]]


def test_none_and_one_are_no_group():
    for amount in (0, 1):
        assert near_groups(np.zeros(amount, dtype=np.uint64), ramps(amount)) == []


def test_a_hundred_thousand_hashes_take_seconds():
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**64, 100_000, dtype=np.uint64)
    hashes[50_000] = hashes[7] ^ np.uint64(0b1011)
    details = ramps(len(hashes))
    start = time.process_time()
    assert near_groups(hashes, details) == [[7, 50_000]]
    assert time.process_time() - start < 20  # all pairs would take minutes


def test_many_images_of_one_hash_take_seconds():
    # Plain objects on plain ground share hashes; only their small copies tell them apart.
    details = np.random.default_rng(0).integers(0, 256, (4000, 16, 16), dtype=np.uint8)
    details[3000] = details[5]
    start = time.process_time()
    assert near_groups(np.zeros(4000, dtype=np.uint64), details) == [[5, 3000]]
    assert time.process_time() - start < 20


def test_correlation_decides_at_its_threshold():
    generator = np.random.default_rng(0)
    coarse = generator.normal(0, 1, (2, 4, 4))  # the harder case: all of the difference shows in coarse patches too
    first, noise = np.kron(coarse, np.ones((4, 4))).reshape(2, 256)
    first -= first.mean()
    noise -= noise.mean() + first * (first @ noise) / (first @ first)
    noise *= np.linalg.norm(first) / np.linalg.norm(noise)
    for correlation, groups in ((0.975, [[0, 1]]), (0.965, [])):
        second = correlation * first + (1 - correlation**2) ** 0.5 * noise
        details = (128 + 30 * np.stack([first, second])).astype(np.uint8).reshape(2, 16, 16)
        assert near_groups(np.zeros(2, dtype=np.uint64), details) == groups
