"""For the tests of BYOL and SimSiam: both losses written out in loops, and a small pretraining in float64."""

from __future__ import annotations

import torch
from sslkit_byol import BYOL, SimSiam
from torch import nn

from sslkit import Batch, CropFlip, MLPHead, Progress, Shapes, hookimpl, pretrain, sgd

KINDS = [BYOL, SimSiam]


def batch_of(views, step=0, total=1, measured=True):
    size = len(views[0])
    return Batch(views, torch.arange(size), torch.full((size,), -1), Progress(step, total, 1, measured))


def vector_method(kind, *, in_dim=12, dim=16, out_dim=8, last_norm="none", backbone_norm=False, seed=0, **options):
    """A method whose images are vectors."""
    torch.manual_seed(seed)
    norms = [nn.BatchNorm1d(dim)] if backbone_norm else []
    head = MLPHead(dim, hidden_dim=24, out_dim=out_dim, last_norm=last_norm)
    return kind(nn.Sequential(nn.Linear(in_dim, dim), *norms, nn.Tanh()), head, **options)


def random_vectors(num_views=2, size=9, dim=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(size, dim, generator=generator, dtype=torch.float64)
    return [shared + torch.randn(size, dim, generator=generator, dtype=torch.float64) for _ in range(num_views)]


def literal_rows(module, rows):
    """What linear layers, ReLU and batch normalisation do to a batch, by their formulas."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            rows = rows @ layer.weight.T + (0 if layer.bias is None else layer.bias)
        elif isinstance(layer, nn.BatchNorm1d):
            centred = rows - rows.mean(dim=0)
            rows = centred / ((centred**2).mean(dim=0) + layer.eps) ** 0.5
            if layer.affine:
                rows = rows * layer.weight + layer.bias
        elif isinstance(layer, nn.ReLU):
            rows = torch.where(rows > 0, rows, torch.zeros_like(rows))
        elif isinstance(layer, nn.Tanh):
            rows = torch.tanh(rows)
    return rows


def cosine(first, second):
    return sum(a * b for a, b in zip(first, second, strict=True)) / (
        sum(a * a for a in first) ** 0.5 * sum(b * b for b in second) ** 0.5
    )


def literal_byol(method, views):
    """Equation 2 of Grill et al. 2020, in both directions, one image at a time; the target is held constant."""
    first, second = views
    online = nn.ModuleList([method.backbone, method.head, method.predictor])
    target = nn.ModuleList([method.target_backbone.module, method.target_head.module])
    total = 0.0
    for one, other in ((first, second), (second, first)):
        predictions, targets = literal_rows(online, one), literal_rows(target, other).detach()
        for q, z in zip(predictions, targets, strict=True):
            total = total + 2 - 2 * cosine(q, z)
    return total / len(first)


def literal_simsiam(method, views):
    """Equations 1 and 3 of Chen and He 2021, one image at a time."""
    first, second = (literal_rows(nn.ModuleList([method.backbone, method.head]), view) for view in views)
    total = 0.0
    for one, other in ((first, second), (second, first)):
        constant = other.detach() if method.stop_gradient else other
        for p, z in zip(literal_rows(method.predictor, one), constant, strict=True):
            total = total - cosine(p, z) / 2
    return total / len(first)


LITERAL = {BYOL: literal_byol, SimSiam: literal_simsiam}


def trained(method, steps=200, noise=0.3, learning_rate=0.1):
    """Train on 256 vectors, two noisy views of each a step; return the metrics of the last one."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(256, 12, generator=generator)
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=learning_rate, momentum=0.9)
    metrics = {}
    for step in range(steps):
        batch = batch_of([images + noise * torch.randn(256, 12, generator=generator) for _ in range(2)], step, steps)
        optimizer.zero_grad()
        loss, metrics = method(batch)
        loss.backward()
        optimizer.step()
        getattr(method, "after_step", lambda progress: None)(batch.progress)
    return {name: value.item() for name, value in metrics.items()}


class Network(nn.Module):
    """Two convolutions, computed in the precision of their weights; smooth, so that rounding stays small."""

    def __init__(self, *, norm):
        super().__init__()
        self.feature_dim = 8
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 4, stride=4), nn.BatchNorm2d(6) if norm else nn.Identity(), nn.Tanh(),
            nn.Conv2d(6, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(64, 8),
        )  # fmt: skip

    def forward(self, images):
        return self.layers((images.to(self.layers[0].weight.dtype) - 0.5) * 2)


def image_method(kind, *, norm=True):
    torch.manual_seed(0)
    options = {"momentum": 0.8, "predictor_hidden_dim": 12} if kind is BYOL else {}
    return kind(Network(norm=norm), MLPHead(8, hidden_dim=12, out_dim=6), **options).double()


class Records:
    """Keeps loss and metrics of every step."""

    def __init__(self):
        self.values = []

    @hookimpl
    def sslkit_step_end(self, metrics):
        self.values.append({name: float(value) for name, value in metrics.items()})


def pretrained(method, *, callbacks=(), **options):
    """Pretrain for six steps of 16 images; return the state of the method."""
    data = Shapes(image_size=16, num_train=32, num_validation=20, num_test=20)
    views = CropFlip(image_size=16, crop_on="device", num_views=2)
    pretrain(
        method, data, views, sgd, epochs=3, batch_size=16, learning_rate=0.05, weight_decay=1e-3, workers=0,
        callbacks=callbacks, **options,
    )  # fmt: skip
    return {name: tensor.clone() for name, tensor in method.state_dict().items()}


def recorded(kind, micro_batch_size):
    """Return the state after a pretraining, and loss and metrics of every step."""
    records = Records()
    state = pretrained(image_method(kind), callbacks=[records], micro_batch_size=micro_batch_size)
    return state, records.values
