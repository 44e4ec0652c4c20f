"""Compiled colour operations: the same views, compiled once."""

from __future__ import annotations

import pickle
import shutil

import pytest
import torch
from sslkit_simclr import TwoCrops
from sslkit_simclr.one_branch import OneBranch
from view_samples import close, keys, prepared, smooth_images

# torch's compiler imports it. Newer ones check then that nobody has loaded Python's own distutils before them, which in
# a long session somebody has: so it is loaded while tests are collected.
pytest.importorskip("setuptools", reason="torch.compile may need setuptools")

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))), reason="torch.compile needs a C++ compiler"
)


def compiled_and_not(views, others, epochs=3):
    """Compare the views of several epochs; return how many graphs were compiled."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for epoch in range(epochs):
        groups, draws = prepared(views, smooth_images(6, 40, 48, seed=epoch), views.draw(keys(6, epoch)))
        for ours, theirs in zip(views.apply(groups, draws), others.apply(groups, draws), strict=True):
            close(ours, theirs)
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.mark.parametrize("semantics", ["paper", "torchvision"])
def test_compiled_views_are_the_same_and_compiled_once(semantics):
    options = {"image_size": 32, "semantics": semantics, "rotation_probability": 0.5}
    views = TwoCrops(**options)
    views.compile()
    again = pickle.loads(pickle.dumps(views))  # workers get the views before the first use
    assert compiled_and_not(views, TwoCrops(**options)) == 1
    assert pickle.dumps(views) == pickle.dumps(again)  # and after
    groups, draws = prepared(views, smooth_images(6, 40, 48), views.draw(keys(6, 9)))
    for ours, theirs in zip(views.apply(groups, draws), again.apply(groups, draws), strict=True):
        assert torch.equal(ours, theirs)


def test_large_images_are_compiled_too():
    views = TwoCrops(image_size=184)
    views.compile()
    assert compiled_and_not(views, TwoCrops(image_size=184), epochs=1) == 1


def test_one_branch_compiles_its_colours():
    views = OneBranch(operations=["colour", "blur"], image_size=32)
    views.compile()
    assert compiled_and_not(views, OneBranch(operations=["colour", "blur"], image_size=32), epochs=2) == 1
    plain = OneBranch(operations=["rotate"], image_size=32)
    plain.compile()
    assert compiled_and_not(plain, OneBranch(operations=["rotate"], image_size=32), epochs=1) == 0
