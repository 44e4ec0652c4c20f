"""VICReg and Barlow Twins against loops, limits that can be calculated by hand, and without what they live from."""

from __future__ import annotations

import math

import pytest
import torch
from redundancy_samples import CASES, LITERAL, SHAPES, random_views, redundancy, trained
from sslkit_vicreg import BarlowTwins, VICReg
from torch.utils._python_dispatch import TorchDispatchMode

from sslkit import JointEmbedding, RunError

KINDS = [VICReg, BarlowTwins]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_value_and_gradient_equal_the_loops(kind, options, shape):
    views = [view.requires_grad_() for view in random_views(*shape)]
    expected = LITERAL[kind](views, **options)
    expected_gradients = torch.autograd.grad(expected, views)
    loss = kind(**options)(views).loss
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss, expected, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(torch.autograd.grad(loss, views), expected_gradients, rtol=1e-8, atol=1e-9)

    singles = [view.detach().float().requires_grad_() for view in views]
    loss = kind(**options)(singles).loss
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected.detach(), rtol=1e-4, atol=1e-4)
    scale = max(part.abs().max().item() for part in expected_gradients)
    for ours, theirs in zip(torch.autograd.grad(loss, singles), expected_gradients, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-3 * scale)


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind):
    for shape in ((2, 6, 3), (2, 3, 6)):
        views = [view.requires_grad_() for view in random_views(*shape)]
        assert torch.autograd.gradcheck(lambda *parts: kind()(parts).loss, views)


def test_terms_are_the_loss():
    views = random_views(2, 9, 4)
    loss, terms = VICReg(invariance_weight=2, variance_weight=3, covariance_weight=5)(views)
    assert list(terms) == ["invariance", "variance", "covariance"]
    torch.testing.assert_close(2 * terms["invariance"] + 3 * terms["variance"] + 5 * terms["covariance"], loss)
    loss, terms = BarlowTwins(off_diagonal_weight=7, scale=0.5)(views)
    assert list(terms) == ["on_diagonal", "off_diagonal"]
    torch.testing.assert_close(0.5 * (terms["on_diagonal"] + 7 * terms["off_diagonal"]), loss)
    assert not any(term.requires_grad for term in terms.values())


def test_terms_by_hand():
    corners = torch.tensor([(3.0, 1), (3, -1), (-3, 1), (-3, -1)])  # spread, and its two dimensions are independent
    loss, terms = VICReg()([corners, corners])
    assert loss.item() == pytest.approx(0, abs=1e-8)
    first = torch.tensor([(1.0, 1.0), (-1.0, -1.0)]) * 0.3
    loss, terms = VICReg()([first, -first])
    variance, covariance = 2 * 0.3**2, 2 * 0.3**2
    assert terms["invariance"].item() == pytest.approx(0.6**2)
    assert terms["variance"].item() == pytest.approx(1 - math.sqrt(variance + 1e-4))
    assert terms["covariance"].item() == pytest.approx(2 * (2 * covariance**2) / 2)

    loss, terms = BarlowTwins()([corners, corners])
    assert loss.item() == pytest.approx(0, abs=1e-8)
    loss, terms = BarlowTwins()([corners, -corners])
    assert terms["on_diagonal"].item() == pytest.approx(2 * 4, abs=1e-3)
    loss, terms = BarlowTwins()([corners, corners[:, [1, 0]]])
    assert [terms["on_diagonal"].item(), terms["off_diagonal"].item()] == pytest.approx([2, 2], abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_what_must_not_matter(kind):
    views = random_views(2, 12, 5)
    loss = kind()(views).loss
    torch.testing.assert_close(kind()(views[::-1]).loss, loss)
    order = torch.randperm(12)
    torch.testing.assert_close(kind()([view[order] for view in views]).loss, loss)
    shift = torch.randn(5, dtype=torch.float64)  # the bias of the last layer
    torch.testing.assert_close(kind()([view + shift for view in views]).loss, loss)
    scaled = kind()([view * 2 for view in views]).loss
    assert (abs(scaled - loss) < 1e-3) == (kind is BarlowTwins)


@pytest.mark.parametrize("kind", KINDS)
def test_one_point_has_a_finite_gradient(kind):
    point = torch.ones(6, 4, requires_grad=True)
    loss = kind()([point, point]).loss
    assert loss.item() == pytest.approx(25 * 0.99 if kind is VICReg else 4)
    (gradient,) = torch.autograd.grad(loss, point)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 40, 8), (2, 8, 40)])
def test_bfloat16_autocast_changes_no_bit(kind, shape):
    def run(views, autocast=False):
        views = [view.detach().requires_grad_() for view in views]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = kind()(views).loss
        return loss.detach(), *torch.autograd.grad(loss, views)

    views = [view.float() for view in random_views(*shape)]
    assert all(map(torch.equal, run(views), run(views, autocast=True)))
    loss, first, _ = run([view.bfloat16() for view in views])
    assert loss.dtype == torch.float32
    assert first.dtype == torch.bfloat16


class Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that is made."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return made


@pytest.mark.parametrize("kind", KINDS)
def test_no_matrix_is_larger_than_the_embeddings_or_the_smaller_of_two_squares(kind):
    for num_images, dim in ((10, 300), (300, 10)):
        views = [view.requires_grad_() for view in random_views(2, num_images, dim)]
        with Largest() as largest:
            kind()(views).loss.backward()
        assert largest.elements == num_images * dim


@pytest.mark.parametrize("kind", KINDS)
def test_the_method_hands_over_the_global_batch(kind):
    method = JointEmbedding(torch.nn.Identity(), None, kind())
    assert method.wanted == ()
    assert not getattr(method.objective, "rank_local", False)


def test_without_the_variance_term_everything_ends_in_one_point():
    features, z = trained(VICReg())
    assert z.std(dim=0).min() > 0.8
    assert features.std(dim=0).mean() > 0.3
    collapsed_features, collapsed = trained(VICReg(variance_weight=0))
    assert collapsed.std(dim=0).max() < 0.03
    assert collapsed_features.std(dim=0).mean() < 0.3 * features.std(dim=0).mean()


@pytest.mark.parametrize(
    ("kind", "weight"), [(VICReg, {"covariance_weight": 0}), (BarlowTwins, {"off_diagonal_weight": 0})]
)
def test_without_decorrelation_dimensions_repeat_each_other(kind, weight):
    _, z = trained(kind())
    _, repeated = trained(kind(**weight))
    assert redundancy(z) < 0.5
    assert redundancy(repeated) > 0.9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("projections", "error", "words"),
    [
        ([], ValueError, "at least 2 views"),
        ([torch.ones(4, 3)], ValueError, "at least 2 views"),
        ([torch.ones(4, 3), torch.ones(3, 3)], ValueError, "one shape"),
        ([torch.ones(4), torch.ones(4)], ValueError, r"\[N, D\]"),
        ([torch.ones(1, 3), torch.ones(1, 3)], RunError, "the batch has 1: set pretrain.batch_size to 2"),
    ],
)
def test_wrong_projections_are_refused(kind, projections, error, words):
    with pytest.raises(error, match=words):
        kind()(projections)


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        (VICReg, "invariance_weight"),
        (VICReg, "variance_weight"),
        (VICReg, "covariance_weight"),
        (BarlowTwins, "off_diagonal_weight"),
        (BarlowTwins, "scale"),
    ],
)
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_wrong_options_are_refused(kind, option, value):
    with pytest.raises(ValueError, match=f"{option} must be"):
        kind(**{option: value})
