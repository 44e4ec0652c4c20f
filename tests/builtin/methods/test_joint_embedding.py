"""JointEmbedding: one forward per size, order of views, and the objective given exactly what it declares."""

import pytest
import torch
from torch import nn

from sslkit import Batch, JointEmbedding, PluginError, Progress

PROGRESS = Progress(step=3, total_steps=10, steps_per_epoch=2.5)


class CountingBackbone(nn.Module):
    feature_dim = 2

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.sizes = []

    def forward(self, images):
        self.sizes.append(tuple(images.shape))
        pixels = images.flatten(2)
        return self.norm(torch.stack([pixels.mean(dim=(1, 2)), pixels.square().mean(dim=(1, 2))], dim=1))


def make_batch(*sizes, num=5):
    generator = torch.Generator().manual_seed(0)
    views = [torch.randn(num, 3, size, size, generator=generator) + place for place, size in enumerate(sizes)]
    return Batch(views, torch.arange(num) + 100, torch.arange(num) % 2, PROGRESS)


def total(projections):
    return sum((place + 1) * z.sum() for place, z in enumerate(projections))


def test_two_views_take_one_forward_with_shared_batchnorm_statistics():
    method = JointEmbedding(CountingBackbone(), None, total)
    batch = make_batch(4, 4)
    first, second = method.embed(batch)
    assert method.backbone.sizes == [(10, 3, 4, 4)]
    expected = CountingBackbone()(torch.cat(batch.views))
    torch.testing.assert_close(first, expected[:5], rtol=0, atol=0)
    torch.testing.assert_close(second, expected[5:], rtol=0, atol=0)


def test_mixed_sizes_take_one_forward_each_and_keep_the_order_of_views():
    method = JointEmbedding(CountingBackbone(), None, total).eval()
    batch = make_batch(4, 2, 4, 2, 2)
    features = method.embed(batch)
    assert method.backbone.sizes == [(10, 3, 4, 4), (15, 3, 2, 2)]
    for view, feature in zip(batch.views, features, strict=True):
        torch.testing.assert_close(feature, method.backbone(view))


def test_head_sees_all_views_at_once_and_projections_are_float32_per_view():
    seen = []

    class Head(nn.Linear):
        out_dim = 4

        def forward(self, features):
            seen.append(tuple(features.shape))
            return super().forward(features).bfloat16()

    given = []
    method = JointEmbedding(
        CountingBackbone(), None, lambda projections: given.extend(projections) or total(projections)
    )
    method.head = Head(2, 4)
    batch = make_batch(4, 2, 4)
    method.loss(method.embed(batch), batch)
    assert seen == [(15, 2)]
    assert [(tuple(z.shape), z.dtype) for z in given] == [((5, 4), torch.float32)] * 3


def test_an_objective_computes_in_float32_inside_autocast():
    products = []

    def objective(projections):
        products.append(projections[0] @ projections[1].T)
        return products[-1].sum()

    method = JointEmbedding(CountingBackbone(), nn.Linear(2, 4), objective)
    batch = make_batch(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        method(batch)
    assert products[0].dtype == torch.float32


def test_without_a_head_the_objective_gets_the_features_and_float64_stays():
    method = JointEmbedding(CountingBackbone().double(), None, lambda projections: projections[0].sum())
    batch = make_batch(4)
    batch.views[0] = batch.views[0].double()
    assert method(batch).dtype == torch.float64


def test_objective_is_given_what_it_declares_by_name():
    received = {}

    def plain(projections):
        received["plain"] = True
        return total(projections)

    def with_labels(projections, labels):
        received["labels"] = labels
        return total(projections)

    class WithAll(nn.Module):
        def forward(self, projections, *, progress, indices, scale=1.0):
            received["all"] = (progress, indices, scale)
            return total(projections)

    class Callable:
        def __call__(self, projections, **rest):
            received["rest"] = rest
            return total(projections)

    batch = make_batch(4, 4)
    for objective in (plain, with_labels, WithAll(), Callable()):
        JointEmbedding(CountingBackbone(), None, objective)(batch)
    assert received["plain"]
    assert received["labels"] is batch.labels
    assert received["all"][0] is PROGRESS
    assert received["all"][1] is batch.indices
    assert received["rest"] == {}


def test_a_wrapper_may_carry_the_signature_of_what_it_wraps():
    import inspect

    class Wrapper(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.__signature__ = inspect.signature(inner)

        def forward(self, projections, **extra):
            return total(projections), {name: torch.tensor(1.0) for name in extra}

    method = JointEmbedding(CountingBackbone(), None, Wrapper(lambda projections, labels: None))
    _, metrics = method(make_batch(4))
    assert set(metrics) == {"labels"}


def test_loss_is_returned_unchanged_and_equals_forward():
    output = (torch.tensor(1.0), {"accuracy": torch.tensor(0.5)})
    method = JointEmbedding(CountingBackbone(), None, lambda projections: output)
    batch = make_batch(4, 4)
    assert method(batch) is output
    assert method.loss(method.embed(batch), batch) is output


def test_gradients_reach_backbone_head_and_objective():
    class Objective(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, projections):
            return (projections[0] * projections[1]).sum() * self.scale

    method = JointEmbedding(CountingBackbone(), nn.Linear(2, 3), Objective())
    method(make_batch(4, 4)).backward()
    assert all(parameter.grad is not None for parameter in method.parameters())
    assert "objective.scale" in dict(method.named_parameters())


def test_hooks_of_the_objective_are_called():
    calls = []

    class Objective:
        def __call__(self, projections):
            return total(projections)

        def after_backward(self, progress):
            calls.append(("backward", progress))

        def after_step(self, progress):
            calls.append(("step", progress))

    method = JointEmbedding(CountingBackbone(), None, Objective())
    method.after_backward(PROGRESS)
    method.after_step(PROGRESS)
    assert calls == [("backward", PROGRESS), ("step", PROGRESS)]
    plain = JointEmbedding(CountingBackbone(), None, total)
    plain.after_backward(PROGRESS)
    plain.after_step(PROGRESS)


def test_embeddings_can_be_sliced_per_sample():
    method = JointEmbedding(CountingBackbone(), None, total).eval()
    batch = make_batch(4, 2)
    whole, part = method.embed(batch), method.embed(batch[1:3])
    for all_of_it, some in zip(whole, part, strict=True):
        torch.testing.assert_close(all_of_it[1:3], some)


def test_mistakes_are_named():
    with pytest.raises(PluginError, match=r"asks for 'label'.*did you mean \"labels\""):
        JointEmbedding(CountingBackbone(), None, lambda projections, label: None)
    with pytest.raises(PluginError, match=r"must return features \[5, D\]"):
        JointEmbedding(nn.Identity(), None, total)(make_batch(4))
