"""NT-Xent on a CUDA device: loss and gradient are those of the formula written out in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sslkit_simclr import NTXent

from sslkit import Progress

pytestmark = pytest.mark.gpu

OPTIONS = [
    {},
    {"normalise": False},
    {"negatives": "other_views"},
    {"decoupled": True},
    {"positives": "labels"},
    {"positives": "labels", "decoupled": True, "negatives": "other_views"},
]
NAMES = ["plain", "dot products", "other views", "decoupled", "labels", "labels, decoupled, other views"]


def literal(views, temperature, labels, *, normalise=True, positives="views", decoupled=False, negatives="all"):
    """Algorithm 1 with whole matrices, in the precision of the views."""
    z, count = torch.cat(views), len(views[0])
    z = F.normalize(z, dim=1) if normalise else z
    similarity = z @ z.T / temperature
    row = torch.arange(len(z), device=z.device)
    candidates = row[:, None] != row
    if negatives == "other_views":
        candidates &= row[:, None] // count != row // count
    groups = row % count
    if positives == "labels":
        groups = torch.where(labels < 0, -1 - torch.arange(count, device=z.device), labels).repeat(len(views))
    positive = candidates & (groups[:, None] == groups)
    if decoupled:
        candidates = candidates & ~positive
    denominator = similarity.masked_fill(~candidates, -torch.inf).logsumexp(1)
    own = similarity.masked_fill(~positive, 0.0).sum(1) / positive.sum(1)
    return (denominator - own).mean()


def random_views(count, dim=128, num_views=2):
    generator = torch.Generator().manual_seed(0)
    anchors = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(num_views, count, dim, generator=generator, dtype=torch.float64)
    return [(anchors + 0.7 * part).cuda().requires_grad_() for part in noise]


def some_labels(count):
    numbers = torch.arange(count)
    return torch.where(numbers % 5 == 3, -1, numbers % 37).cuda()


def require_right(views, temperature, options, *, dtype=torch.float32, tolerance=1e-5):
    """Compare loss and gradient, the latter as a share of its norm."""
    labels = some_labels(len(views[0]))
    expected = literal(views, temperature, labels, **options)
    wanted = torch.cat(torch.autograd.grad(expected, views))
    narrow = [view.detach().to(dtype).requires_grad_() for view in views]
    loss = NTXent(temperature=temperature, **options)(narrow, labels).loss
    gradient = torch.cat(torch.autograd.grad(loss, narrow)).double()
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert abs(loss.double() - expected) < tolerance * max(1.0, float(expected.detach().abs()))
    assert (gradient - wanted).norm() < 20 * tolerance * wanted.norm()


@pytest.mark.parametrize("temperature", [0.05, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("count", [512, 4096])
def test_loss_and_gradient(count, temperature):
    require_right(random_views(count), temperature, {})


@pytest.mark.parametrize("options", OPTIONS, ids=NAMES)
@pytest.mark.parametrize("temperature", [0.01, 0.1])
def test_options(options, temperature):
    scale = 1 if options.get("normalise", True) else 100  # dot products of 128 numbers are large
    views = [(view / scale**0.5).detach().requires_grad_() for view in random_views(300, num_views=3)]
    require_right(views, temperature, options, tolerance=1e-5 / min(1.0, 10 * temperature))


def test_in_float64_to_its_last_digits():
    require_right(random_views(700), 0.1, {}, dtype=torch.float64, tolerance=1e-13)


@pytest.mark.parametrize("precision", ["ieee", "tf32"])
def test_autocast_and_tf32_change_neither_loss_nor_gradient(precision):
    views = [view.detach().float().requires_grad_() for view in random_views(512)]
    objective = NTXent(temperature=0.05)
    plain = objective(views).loss
    gradient = torch.autograd.grad(plain, views)
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = precision
    try:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = objective(views).loss
        again = torch.autograd.grad(loss, views)
        assert torch.backends.cuda.matmul.fp32_precision == precision
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
    assert torch.equal(loss, plain)
    assert all(torch.equal(one, other) for one, other in zip(gradient, again, strict=True))


def test_projections_in_bfloat16_get_their_gradient_in_bfloat16():
    views = [view.detach().bfloat16().requires_grad_() for view in random_views(512)]
    wide = [view.detach().double().requires_grad_() for view in views]
    expected = literal(wide, 0.1, None)
    wanted = torch.cat(torch.autograd.grad(expected, wide))
    loss = NTXent(temperature=0.1)(views).loss
    found = torch.cat(torch.autograd.grad(loss, views))
    assert loss.dtype == torch.float32
    assert found.dtype == torch.bfloat16
    assert abs(loss.double() - expected) < 1e-4
    assert (found.double() - wanted).norm() < 5e-3 * wanted.norm()


def test_metrics_are_those_of_the_cpu():
    views = [view.detach().float() for view in random_views(512)]
    on_device = NTXent(temperature=0.1)(views, progress=Progress(9, 20, 10)).metrics
    on_cpu = NTXent(temperature=0.1)([view.cpu() for view in views], progress=Progress(9, 20, 10)).metrics
    assert on_device.keys() == on_cpu.keys() >= {"contrastive_accuracy"}
    for name, value in on_cpu.items():
        torch.testing.assert_close(on_device[name].cpu(), value, rtol=1e-4, atol=1e-4)


def test_memory_grows_with_the_batch_and_not_with_its_square():
    def extra(count):
        views = [view.detach().float().requires_grad_() for view in random_views(count)]
        objective = NTXent(temperature=0.1)
        objective([view[:64] for view in views]).loss.backward()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        objective(views, progress=Progress(1, 20, 10, measured=False)).loss.backward()
        return torch.cuda.max_memory_allocated() - before

    assert extra(16384) < 500 * 2**20  # one matrix of its similarities would be 4 GiB
