"""SwAV's objective: against loops, its codes, queue, frozen prototypes, and its collapse without equal shares."""

from __future__ import annotations

import copy

import pytest
import torch
from sslkit_swav import SwappedPrediction, equal_shares
from swav_samples import OPTIONS, literal_codes, literal_loss, progress, random_views, three_steps, trained
from torch.nn.functional import normalize

from sslkit.testing import on_ranks


def made(dim=6, **options):
    torch.manual_seed(0)
    return SwappedPrediction(dim, **OPTIONS | options).double()


def stepped(objective, step, views):
    """Forward and the hooks after it, as the engine calls them."""
    output = objective(views, progress(step))
    objective.after_step(progress(step))
    return output


@pytest.mark.parametrize("iterations", [0, 1, 3, 20])
@pytest.mark.parametrize("shape", [(7, 4), (3, 8), (1, 5)])
def test_codes_are_those_of_sinkhorn_and_knopp(shape, iterations):
    scores = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    codes = equal_shares(scores, 0.05, iterations)
    torch.testing.assert_close(codes, torch.from_numpy(literal_codes(scores.numpy(), 0.05, iterations)))
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(shape[0], dtype=torch.float64))


def test_many_iterations_share_the_images_out_equally():
    scores = random_views(1, 40, 8)[0] + torch.linspace(0, 3, 8)  # the last prototypes are the best of most
    alone = equal_shares(scores, 0.5, 0).sum(dim=0)
    shared = equal_shares(scores, 0.5, 200).sum(dim=0)
    assert alone.max() > 15
    torch.testing.assert_close(shared, torch.full((8,), 5.0, dtype=torch.float64), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("epsilon", [0.05, 0.001])
def test_codes_in_float32_are_those_in_float64_however_low_epsilon_is(epsilon):
    scores = normalize(random_views(1, 64, 16)[0]) @ normalize(random_views(1, 30, 16, seed=1)[0]).T
    codes = equal_shares(scores.float(), epsilon, 3)
    assert torch.isfinite(codes).all()
    torch.testing.assert_close(codes.double(), equal_shares(scores, epsilon, 3), rtol=0, atol=2e-6 / epsilon)


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.5, "epsilon": 0.2}, {"sinkhorn_iterations": 1}, {"num_global_views": 1}, {"prototypes": 11}],
)
@pytest.mark.parametrize(("num_views", "size"), [(2, 6), (4, 3)])
def test_value_and_gradients_are_those_of_the_papers_equations(num_views, size, options):
    objective = made(**options)
    views = [view.requires_grad_() for view in random_views(num_views, size, 6)]
    settings = {name: getattr(objective, name) for name in ("temperature", "epsilon", "num_global_views")}
    expected = literal_loss(views, objective.prototypes, iterations=objective.sinkhorn_iterations, **settings)
    loss = objective(views).loss
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    ours, theirs = (
        # A lone global view is assigned only, which gives it no gradient.
        torch.autograd.grad(value, [*views, objective.prototypes], allow_unused=True, materialize_grads=True)
        for value in (loss, expected)
    )
    assert theirs[-1].abs().max() > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_the_queue_takes_part_once_it_is_full_and_due():
    batches = [random_views(3, 4, 6, seed=step) for step in range(6)]
    objective = made(queue_from_epoch=1, frozen_epochs=0)  # of four steps; its 9 places are full after three
    for step, views in enumerate(batches):
        unit = [normalize(torch.cat([earlier[g] for earlier in batches[:step][::-1]])) for g in (0, 1)] if step else []
        queue = torch.stack(unit)[:, :9] if step >= 4 else None
        expected = literal_loss(
            views, objective.prototypes, queue, temperature=0.1, epsilon=0.05, iterations=3, num_global_views=2
        )
        torch.testing.assert_close(stepped(objective, step, views).loss, expected)
    torch.testing.assert_close(objective.queue[1, :4], normalize(batches[-1][1]))


def test_a_queue_that_is_not_full_is_left_alone():
    views = random_views(2, 4, 6)
    with_queue, without = made(), made(queue_length=0)
    for step in range(3):
        assert torch.equal(stepped(with_queue, step, views).loss, stepped(without, step, views).loss)
    assert not torch.equal(stepped(with_queue, 3, views).loss, stepped(without, 3, views).loss)


def test_a_batch_longer_than_the_queue_fills_it_with_its_first_rows():
    objective = made(queue_length=3)
    views = random_views(2, 5, 6)
    stepped(objective, 0, views)
    torch.testing.assert_close(objective.queue[0], normalize(views[0])[:3])


def test_prototypes_have_length_one_from_the_start_and_after_every_step():
    objective = made()
    ones = torch.ones(5, dtype=torch.float64)
    torch.testing.assert_close(objective.prototypes.norm(dim=1), ones, rtol=1e-6, atol=0)
    with torch.no_grad():
        objective.prototypes.mul_(torch.rand(5, 1) + 1)
    direction = normalize(objective.prototypes.detach())
    objective.after_step(progress(0))
    torch.testing.assert_close(objective.prototypes.norm(dim=1), ones)
    torch.testing.assert_close(objective.prototypes.detach(), direction)


def test_prototypes_are_frozen_in_the_first_epochs():
    objective = made(frozen_epochs=2)
    for step in range(12):
        objective(random_views(2, 4, 6), progress(step)).loss.backward()
        objective.after_backward(progress(step))
        assert (objective.prototypes.grad is None) == (step < 8)  # of four steps each


def test_a_resumed_objective_goes_on_as_if_nothing_had_happened():
    objective = made(frozen_epochs=0)
    for step in range(3):
        stepped(objective, step, random_views(2, 4, 6, seed=step))
    resumed = made(frozen_epochs=0)
    resumed.load_state_dict(copy.deepcopy(objective.state_dict()))
    views = random_views(2, 4, 6, seed=3)
    assert torch.equal(stepped(objective, 3, views).loss, stepped(resumed, 3, views).loss)
    assert torch.equal(objective.queue, resumed.queue)


def test_only_directions_count_and_codes_get_no_gradient():
    objective = made(num_global_views=1)
    first, second = random_views(2, 6, 6)
    first.requires_grad_()
    loss = objective([first, second]).loss
    torch.testing.assert_close(objective([first * 3, second * 0.2]).loss, loss)
    assert torch.autograd.grad(loss, first, allow_unused=True)[0].abs().max() == 0  # it has only been assigned


def test_half_precision_is_left_outside():
    objective = made().float()
    views = [view.bfloat16() for view in random_views(2, 6, 6)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective(views).loss
    assert loss.dtype == torch.float32
    assert torch.equal(loss, objective([view.float() for view in views]).loss)


def test_metrics_count_clusters_and_are_left_out_between_measurements():
    objective = made(dim=5, temperature=0.01)
    with torch.no_grad():
        objective.prototypes.copy_(torch.eye(5))
    spread = [torch.eye(5, dtype=torch.float64).repeat(2, 1)] * 2
    metrics = objective(spread).metrics
    assert metrics["clusters_used"].item() == pytest.approx(5)
    assert metrics["assignment_entropy"].item() == pytest.approx(0, abs=1e-6)
    one = [torch.eye(5, dtype=torch.float64)[:1].repeat(10, 1)] * 2
    assert objective(one).metrics["clusters_used"].item() == pytest.approx(1)
    now = progress(0)
    assert objective(spread, type(now)(0, 100, 4.0, measured=False)).metrics == {}


def test_without_equal_shares_everything_ends_in_one_cluster():
    torch.manual_seed(1)
    kept, lost = (SwappedPrediction(8, prototypes=16, sinkhorn_iterations=iterations) for iterations in (3, 0))
    apart, together = trained(kept), trained(lost)
    assert _clusters(apart, kept) >= 12
    assert _clusters(together, lost) == 1
    assert (apart @ apart.T).mean() < 0.3
    assert (together @ together.T).mean() > 0.9


def _clusters(projections, objective):
    return len((projections @ objective.prototypes.detach().T).argmax(dim=1).unique())


@pytest.mark.parametrize(
    ("views", "words"),
    [
        ([torch.zeros(4, 6)], "at least 2 views of each image, got 1"),
        ([torch.zeros(4, 6), torch.zeros(3, 6)], "of one shape for all views"),
        ([torch.zeros(6), torch.zeros(6)], r"projections \[B, P\]"),
    ],
)
def test_what_cannot_be_compared_is_refused(views, words):
    with pytest.raises(ValueError, match=words):
        made().float()(views)


def test_as_many_views_as_get_codes_are_asked_for():
    assert made(num_global_views=1).min_views == 2
    assert made(num_global_views=3).min_views == 3
    for name in ("temperature", "epsilon"):
        with pytest.raises(ValueError, match=f"{name} must be a finite number above 0"):
            made(**{name: float("inf")})


def test_two_ranks_equal_one_process_queue_and_prototypes_included():
    alone = three_steps()
    for ours in on_ranks(three_steps):
        torch.testing.assert_close(ours, alone, rtol=1e-10, atol=1e-10)
