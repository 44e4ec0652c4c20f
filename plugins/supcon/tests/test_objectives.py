"""SupCon and DCL against their papers' equations, and against NT-Xent, whose kin they are."""

from __future__ import annotations

import math

import pytest
import torch
from contrast_samples import CASES, LITERAL, random_views, some_labels
from sslkit_simclr import NTXent
from sslkit_supcon import DCL, SupCon
from torch.nn.functional import normalize

from sslkit import JointEmbedding, Progress, RunError


def arguments(kind, size):
    return (some_labels(size),) if kind is SupCon else ()


@pytest.mark.parametrize("num_views", [2, 3])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_value_and_gradient_equal_the_equations(kind, options, num_views):
    views = [view.requires_grad_() for view in random_views(num_views, 7)]
    expected = LITERAL[kind](views, some_labels(7), **options)
    expected_gradients = torch.autograd.grad(expected, views)
    loss = kind(**options)(views, *arguments(kind, 7)).loss
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(torch.autograd.grad(loss, views), expected_gradients, rtol=1e-8, atol=1e-9)

    singles = [view.detach().float().requires_grad_() for view in views]
    loss = kind(**options)(singles, *arguments(kind, 7)).loss
    torch.testing.assert_close(loss.double(), expected.detach(), rtol=1e-5, atol=3e-5)
    scale = max(part.abs().max().item() for part in expected_gradients)
    for ours, theirs in zip(torch.autograd.grad(loss, singles), expected_gradients, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize("kind", [SupCon, DCL])
def test_gradcheck(kind):
    views = [view.requires_grad_() for view in random_views(2, 4, 3)]
    objective = kind(temperature=0.4)
    assert torch.autograd.gradcheck(lambda *parts: objective(parts, *arguments(kind, 4)).loss, views)


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_bfloat16_autocast_changes_no_bit(kind, options):
    def run(views, autocast=False):
        views = [view.detach().requires_grad_() for view in views]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = kind(**options)(views, *arguments(kind, 16)).loss
        return loss.detach(), *torch.autograd.grad(loss, views)

    views = [view.float() for view in random_views(2, 16, 32)]
    assert all(map(torch.equal, run(views), run(views, autocast=True)))
    loss, first, _ = run([view.bfloat16() for view in views])
    assert loss.dtype == torch.float32
    assert first.dtype == torch.bfloat16


def test_images_without_labels_have_their_own_views_only():
    views = random_views(2, 6)
    assert torch.equal(SupCon()(views, torch.full((6,), -1)).loss, NTXent()(views).loss)
    half = torch.tensor([0, 0, 0, -1, -1, -1])
    assert SupCon()(views, half).loss > NTXent()(views).loss + 0.1  # random images of a class are not alike yet
    assert torch.equal(SupCon()(views, half).loss, SupCon()(views, torch.tensor([7, 7, 7, 1, 2, 3])).loss)


def test_sup_con_gathers_a_class():
    corners = torch.eye(2).repeat(4, 1)  # eight images in two points
    gathered = SupCon()([corners, corners], torch.tensor([0, 1] * 4)).loss.item()
    assert gathered == pytest.approx(math.log(7 + 8 * math.exp(-10)), abs=1e-5)
    assert SupCon()([corners, corners], torch.tensor([0, 0, 1, 1] * 2)).loss.item() > gathered + 4


def test_a_pair_that_is_alike_leaves_the_gradient_of_its_negatives_alone():
    # The point of DCL: in NT-Xent a positive of cosine 1 takes nearly all the share in the denominator.
    torch.manual_seed(0)
    views = [normalize(torch.randn(2, 8, dtype=torch.float64), dim=1)] * 2
    lengths = {}
    for objective in (NTXent(), DCL()):
        parts = [view.clone().requires_grad_() for view in views]
        lengths[type(objective)] = torch.autograd.grad(objective(parts).loss, parts)[0].norm().item()
    assert lengths[DCL] > 100 * lengths[NTXent]


def test_weights_pull_harder_where_views_differ():
    angles = torch.tensor([0.2, 0.6, 1.0, 1.4], dtype=torch.float64)
    first = torch.stack((torch.ones(4), torch.zeros(4)), dim=1).double()

    def pull(objective):
        turned = angles.clone().requires_grad_()
        second = torch.stack((turned.cos(), turned.sin()), dim=1)
        return torch.autograd.grad(objective([first, second]).loss, turned)[0]

    difference = pull(DCL(weighting="von_mises_fisher")) - pull(DCL())  # negatives are the same in both
    assert difference[0] < 0 < difference[-1]
    flat = pull(DCL(weighting="von_mises_fisher", sigma=1e6))
    torch.testing.assert_close(flat, pull(DCL()), rtol=1e-4, atol=1e-4)


def test_the_method_offers_what_they_ask_for():
    assert JointEmbedding(torch.nn.Identity(), None, SupCon()).wanted == ("labels", "progress")
    assert JointEmbedding(torch.nn.Identity(), None, DCL()).wanted == ("progress",)
    assert SupCon.needs_labels


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_metrics_are_left_out_of_steps_that_are_not_measured(kind, options):
    views = random_views(2, 6)
    for measured in (True, False):
        metrics = kind(**options)(views, *arguments(kind, 6), progress=Progress(3, 10, 5, measured)).metrics
        assert set(metrics) == ({"contrastive_accuracy", "contrastive_entropy"} if measured else set())


@pytest.mark.parametrize("kind", [SupCon, DCL])
@pytest.mark.parametrize(
    ("projections", "words"),
    [
        ([], "at least 2 views"),
        ([torch.ones(4, 3)], "at least 2 views"),
        ([torch.ones(4, 3), torch.ones(3, 3)], "one shape"),
        ([torch.ones(0, 3), torch.ones(0, 3)], "B >= 1"),
    ],
)
def test_wrong_projections_are_refused(kind, projections, words):
    size = len(projections[0]) if projections else 4
    with pytest.raises(ValueError, match=words):
        kind()(projections, *arguments(kind, size))


def test_dcl_refuses_a_batch_without_negatives():
    with pytest.raises(RunError, match="the batch has 1: set pretrain.batch_size to 2"):
        DCL()([torch.ones(1, 3), torch.ones(1, 3)])


@pytest.mark.parametrize("labels", [torch.ones(4, 20, dtype=torch.int8), torch.ones(3, dtype=torch.int64)])
def test_wrong_labels_are_refused(labels):
    with pytest.raises(ValueError, match="SupCon needs one label for each of 4 images, got shape"):
        SupCon()(random_views(2, 4), labels)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (SupCon, {"temperature": 0.0}),
        (DCL, {"temperature": math.inf}),
        (DCL, {"sigma": 0.0}),
        (DCL, {"sigma": math.nan}),
        (DCL, {"weighting": "uniform"}),
    ],
)
def test_wrong_options_are_refused(kind, options):
    (option,) = options
    with pytest.raises(ValueError, match=f"{option} must be"):
        kind(**options)
