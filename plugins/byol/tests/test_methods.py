"""What BYOL and SimSiam share: their losses against loops, and the engine's promises."""

from __future__ import annotations

import pytest
import torch
from prediction_samples import (
    KINDS,
    LITERAL,
    Records,
    batch_of,
    image_method,
    pretrained,
    random_vectors,
    vector_method,
)
from sslkit_byol import BYOL, SimSiam

from sslkit import RunError, hookimpl

CASES = [
    (BYOL, {"predictor_hidden_dim": 20}),
    (BYOL, {"predictor_layers": 3, "predictor_hidden_dim": 7}),
    (BYOL, {"predictor_layers": 0}),
    (SimSiam, {}),
    (SimSiam, {"stop_gradient": False}),
    (SimSiam, {"predictor_layers": 0}),
    (SimSiam, {"predictor_layers": 1, "stop_gradient": False}),
]


@pytest.mark.parametrize("last_norm", ["none", "plain"])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_value_and_gradient_equal_the_loops(kind, options, last_norm):
    method = vector_method(kind, last_norm=last_norm, backbone_norm=True, **options).double()
    if kind is BYOL:  # a target of its own, so that nothing can pass for it
        for parameter in method.target_head.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    views = random_vectors()
    parameters = {name: p for name, p in method.named_parameters() if p.requires_grad}
    expected = LITERAL[kind](method, views)
    expected_gradients = torch.autograd.grad(expected, list(parameters.values()))
    loss = method(batch_of(views)).loss
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    loss.backward()
    for (name, parameter), gradient in zip(parameters.items(), expected_gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-10, msg=name)
    assert all(p.grad is None for p in method.parameters() if not p.requires_grad)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_not_zero_and_the_predictor_has_one(kind):
    method = vector_method(kind)
    method(batch_of([view.float() for view in random_vectors()])).loss.backward()
    assert all(p.grad.abs().max() > 1e-6 for p in method.parameters() if p.requires_grad and p.ndim > 1)


@pytest.mark.parametrize("kind", KINDS)
def test_more_views_are_the_mean_over_all_pairs(kind):
    method = vector_method(kind).double()
    views = random_vectors(num_views=3)
    pairs = [LITERAL[kind](method, [views[a], views[b]]) for a, b in ((0, 1), (0, 2), (1, 2))]
    torch.testing.assert_close(method(batch_of(views)).loss, sum(pairs) / 3)


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_images_and_views_does_not_matter(kind):
    method = vector_method(kind).double()
    views = random_vectors()
    loss, metrics = method(batch_of(views))
    order = torch.randperm(len(views[0]))
    for changed in (views[::-1], [view[order] for view in views]):
        torch.testing.assert_close(method(batch_of(changed)), (loss, metrics))


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_autocast_keeps_the_regression_in_float32(kind):
    method = vector_method(kind)
    views = [view.float() for view in random_vectors(size=64)]
    expected = method(batch_of(views)).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = method(batch_of(views)).loss
    assert loss.dtype == torch.float32
    assert abs(loss - expected) < 0.05
    assert loss.bfloat16() != loss


@pytest.mark.parametrize("kind", KINDS)
def test_one_view_is_refused(kind):
    with pytest.raises(RunError, match=f"byol.{kind.__name__.lower()} predicts one view of an image from another"):
        vector_method(kind)(batch_of([torch.randn(4, 12)]))


@pytest.mark.parametrize("kind", KINDS)
def test_spread_is_that_of_normalised_projections_and_only_where_steps_are_measured(kind):
    method = vector_method(kind).double()
    views = random_vectors(size=40)
    rows = torch.cat([method.head(method.backbone(view)) for view in views])
    rows = rows / rows.norm(dim=1, keepdim=True)
    metrics = method(batch_of(views)).metrics
    torch.testing.assert_close(metrics["spread"], rows.std(dim=0).mean().detach())
    assert not any(value.requires_grad for value in metrics.values())
    assert "spread" not in method(batch_of(views, measured=False)).metrics


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_equal_the_whole_batch(kind):
    states, logs = [], []
    for size in (None, 4):
        records = Records()
        states.append(pretrained(image_method(kind, norm=False), callbacks=[records], micro_batch_size=size))
        logs.append(records.values)
    torch.testing.assert_close(states[0], states[1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(logs[0], logs[1], rtol=1e-9, atol=1e-9)


class Interruption(Exception):
    pass


class InterruptAt:
    def __init__(self, step):
        self.step = step

    @hookimpl
    def sslkit_step_end(self, state):
        if state.step == self.step:
            raise Interruption


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_equals_uninterrupted(kind, tmp_path):
    whole = pretrained(image_method(kind))
    kept = {"checkpoints": tmp_path, "checkpoint_every_steps": 3}
    with pytest.raises(Interruption):
        pretrained(image_method(kind), callbacks=[InterruptAt(5)], **kept)
    other = image_method(kind)
    for parameter in other.parameters():
        parameter.data.zero_()  # what is continued is the checkpoint
    continued = pretrained(other, **kept)
    assert all(torch.equal(whole[name], continued[name]) for name in whole)
