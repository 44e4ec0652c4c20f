import hashlib

import numpy as np
import pytest

from sslkit.builtin.data.transfer.held_out import held_out, rank_in_class


def test_the_smallest_hashes_of_each_class_are_held_out():
    keys = [f"class/{number}".encode() for number in range(40)]
    labels = np.arange(40) % 2
    mask = held_out(keys, labels, 10)
    for number in (0, 1):
        ours = [key for key, label, held in zip(keys, labels, mask, strict=True) if held and label == number]
        theirs = sorted(keys[number::2], key=lambda key: hashlib.sha256(key).digest())[:5]
        assert sorted(ours) == sorted(theirs)


def test_the_order_of_files_changes_nothing():
    keys = [f"{number}.jpg".encode() for number in range(100)]
    labels = np.random.default_rng(0).integers(0, 7, 100)
    mask = held_out(keys, labels, 23)
    shuffled = np.random.default_rng(1).permutation(100)
    np.testing.assert_array_equal(held_out([keys[i] for i in shuffled], labels[shuffled], 23), mask[shuffled])


@pytest.mark.parametrize("count", [0, 1, 5_067, 49_999, 50_000])
def test_exactly_as_many_as_asked_and_every_class_its_share(count):
    labels = np.random.default_rng(0).integers(0, 100, 50_000)
    mask = held_out((str(number).encode() for number in range(50_000)), labels, count)
    assert mask.sum() == count
    share = np.bincount(labels[mask], minlength=100) - np.bincount(labels) * count / 50_000
    assert np.abs(share).max() < 1


def test_remainders_go_to_the_largest_then_the_lower_class():
    labels = np.repeat([0, 1, 2], [3, 4, 3])  # a third of each: 1.2, 1.6, 1.2 of 4
    mask = held_out((str(number).encode() for number in range(10)), labels, 4)
    assert np.bincount(labels[mask]).tolist() == [1, 2, 1]
    mask = held_out((str(number).encode() for number in range(10)), labels, 2)  # 0.6, 0.8, 0.6
    assert np.bincount(labels[mask], minlength=3).tolist() == [1, 1, 0]


def test_equal_keys_keep_their_order_and_nothing_has_no_rank():
    assert rank_in_class([b"x"] * 4, np.array([1, 0, 1, 1])).tolist() == [0, 0, 1, 2]
    assert held_out([], np.empty(0, dtype=np.int64), 0).tolist() == []


def test_the_rule_is_fixed_for_good():
    keys = (f"apple_pie/{number}".encode() for number in range(1_000_000, 1_000_012))
    ranks = rank_in_class(keys, np.zeros(12, dtype=np.int64))
    assert ranks.tolist() == [9, 2, 7, 6, 3, 8, 4, 0, 10, 1, 11, 5]
