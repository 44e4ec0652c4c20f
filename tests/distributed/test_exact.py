"""One, two and four processes do the same mathematics: losses, gradients, weights and buffers in float64."""

from __future__ import annotations

import runpy
from functools import cache
from itertools import product
from pathlib import Path

import pytest
import torch
from broken import FAULTS, three_broken_steps
from double import OBJECTIVES, three_steps, three_steps_of_file

from sslkit.testing import on_ranks

TOLERANCE = 1e-10
DOCS = Path(__file__).parents[2] / "docs"

in_one = cache(three_steps)


def largest_difference(one, many):
    """Return by how much any number on any rank differs from that of a single process."""
    losses, gradients, tensors = one
    pairs = []
    for other_losses, other_gradients, other_tensors in many:
        assert other_tensors.keys() == tensors.keys()
        pairs += zip(losses, other_losses, strict=True)
        pairs += [(tensors[name], other_tensors[name]) for name in tensors]
        for step, others in zip(gradients, other_gradients, strict=True):
            assert others.keys() == step.keys()
            pairs += [(step[name], others[name]) for name in step]
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


def _cases():
    for size, norm, micro_batch_size in product((2, 4), ("none", "head", "everywhere"), (None, 8, 4)):
        is_quick = micro_batch_size != 4 and norm in ({2: ("head", "everywhere"), 4: ("everywhere",)}[size])
        marks = () if is_quick else pytest.mark.slow
        yield pytest.param(size, norm, micro_batch_size, marks=marks)


@pytest.mark.parametrize(("size", "norm", "micro_batch_size"), list(_cases()))
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_ranks_equal_one_process(objective, norm, micro_batch_size, size):
    case = (objective, norm, micro_batch_size)
    assert largest_difference(in_one(*case), on_ranks(three_steps, *case, size=size)) < TOLERANCE


def test_what_is_compared_moves():
    losses, gradients, tensors = in_one("plain", "everywhere", None)
    assert len({float(loss) for loss in losses}) == 3
    assert all(gradient.abs().max() > 1e-4 for step in gradients for gradient in step.values())
    assert tensors["backbone.layers.1.running_mean"].abs().max() > 1e-4
    assert all(tensor.dtype == torch.float64 for name, tensor in tensors.items() if "tracked" not in name)


@pytest.mark.parametrize("size", [2, 4])
def test_a_method_with_forward_only_equals_one_process(size):
    case = ("whole", "everywhere", None)
    assert largest_difference(in_one(*case), on_ranks(three_steps, *case, size=size)) < TOLERANCE


def test_one_image_on_each_rank_is_enough():
    case = ("nt_xent", "everywhere", 4, 4)
    assert largest_difference(in_one(*case), on_ranks(three_steps, *case, size=4)) < TOLERANCE


def test_the_objective_on_the_page_about_distribution_equals_one_process(tmp_path):
    blocks = runpy.run_path(str(DOCS / "blocks.py"))["blocks"]
    page = (DOCS / "explanation" / "distribution.md").read_text(encoding="utf-8")
    (block,) = [block for block in blocks(page) if block.mark == "file: far_apart.py"]
    path = tmp_path / "far_apart.py"
    path.write_text(block.text, encoding="utf-8")
    case = (str(path), "FarApart", "everywhere", None)
    assert largest_difference(three_steps_of_file(*case), on_ranks(three_steps_of_file, *case)) < TOLERANCE


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_shows(fault):
    case = ("plain", "everywhere", 8)
    broken = on_ranks(three_broken_steps, fault, *case)
    if None in broken:
        assert "not tied" in fault  # DDP may notice that itself
    else:
        assert largest_difference(in_one(*case), broken) > 1e4 * TOLERANCE
