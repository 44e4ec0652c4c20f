"""A small pretraining in float64, whose numbers on several ranks can be held against those of one."""

from __future__ import annotations

import runpy

import torch
from sslkit_simclr import MLP, NTXent
from torch import nn
from torch.nn.functional import normalize

from sslkit import JointEmbedding, Shapes, gather_rows, uniforms
from sslkit.builtin.optimizers.sgd import sgd
from sslkit.engine.assemble import assemble
from sslkit.engine.interfaces import Progress

STEPS = 3


class Shifts:
    """Two views that differ in contrast and in brightness."""

    num_views = 2
    whole_images = True

    def draw(self, keys):
        return uniforms(keys, 2, 2)

    def prepare(self, image, draws):
        return (image.unsqueeze(0),)

    def apply(self, groups, draws):
        scaled = groups[0][:, 0].float() / 255
        return [(scaled * (0.5 + draws[:, view, 0].view(-1, 1, 1, 1)) + draws[:, view, 1].view(-1, 1, 1, 1) / 4)
                for view in range(2)]  # fmt: skip


class Network(nn.Module):
    """Two convolutions, computed in the precision of their weights.

    Smooth and with features that vary from image to image: what a rounding error grows by stays far below a millionth
    of what the tests allow.
    """

    def __init__(self, *, norm):
        super().__init__()
        self.feature_dim = 8
        norms = [nn.BatchNorm2d(6), nn.BatchNorm2d(4)] if norm else [nn.Identity(), nn.Identity()]
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 4, stride=4, bias=False), norms[0], nn.Tanh(),
            nn.Conv2d(6, 4, 3, padding=1, bias=False), norms[1], nn.Tanh(),
            nn.Flatten(), nn.Linear(64, 8, bias=False),
        )  # fmt: skip

    def forward(self, images):
        return self.layers((images.to(next(self.parameters()).dtype) - 0.5) * 2)


class Plain(nn.Module):
    """A cross-entropy of picking the other view, as a user writes it who never heard of ranks.

    It has parameters of its own, and what it asks for beside the projections is in its value.
    """

    def __init__(self):
        super().__init__()
        self.prototypes = nn.Parameter(torch.eye(5))

    def forward(self, projections, labels, indices):
        first, second = (normalize(z @ self.prototypes, dim=1) for z in projections)
        logits = first @ second.T / 0.5
        weights = 1 + labels.double() + indices.double() / 100
        return nn.functional.cross_entropy(logits, torch.arange(len(logits)), reduction="none").mul(weights).mean()


class Whole(nn.Module):
    """A method with `forward` only, which gathers in the middle."""

    def __init__(self, backbone, head):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, batch):
        z = self.head(self.backbone(torch.cat(list(batch.views))))
        first, second = gather_rows(torch.stack(z.chunk(2), dim=1)).unbind(1)
        return (first - second).square().mean() + first.var(dim=0).log().square().mean()


class Drawing(Plain):
    """Draws noise, and has a BatchNorm: both have to be those of a single process on every rank."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(5)

    def forward(self, projections, labels, indices):
        noisy = [self.norm(z) + 0.1 * torch.rand_like(z) for z in projections]
        return super().forward(noisy, labels, indices)


OBJECTIVES = {
    "plain": Plain,
    "drawing": Drawing,
    "nt_xent": lambda: NTXent(temperature=0.5),
    "supcon": lambda: NTXent(temperature=0.5, positives="labels"),
    "decoupled": lambda: NTXent(temperature=0.5, decoupled=True),
}


def head_of(*, batch_norm=True):
    """Return a head whose BatchNorm does not have to magnify: the usual initial weights are tiny."""
    head = MLP(8, hidden_dim=12, out_dim=5, batch_norm=batch_norm)
    for layer in head.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.5)
    return head


def three_steps(objective, norm, micro_batch_size, batch_size=16):
    """Return losses, the gradients of every parameter, and all weights and buffers after three steps.

    Args:
        objective: A key of `OBJECTIVES`; or "whole", a method that is not cut into `embed` and `loss`.
        norm: Where there is BatchNorm: "none", "head" or "everywhere".
        micro_batch_size: As in a recipe.
        batch_size: As in a recipe.
    """
    torch.manual_seed(0)
    head = head_of(batch_norm=norm != "none")
    backbone = Network(norm=norm == "everywhere")
    method = Whole(backbone, head) if objective == "whole" else JointEmbedding(backbone, head, OBJECTIVES[objective]())
    method = method.double()
    data = Shapes(image_size=16, num_train=64, num_validation=20, num_test=20)
    pretraining = assemble(
        method, data, Shifts(), sgd, epochs=1, batch_size=batch_size, learning_rate=0.05, weight_decay=1e-3,
        micro_batch_size=micro_batch_size, workers=0,
    )  # fmt: skip
    return steps_of(pretraining, STEPS)


def three_steps_of_file(path, name, *case):
    """Return the same for an objective that is a class in a file."""
    OBJECTIVES["of a file"] = runpy.run_path(path)[name]
    return three_steps("of a file", *case)


def steps_of(pretraining, count):
    """Do some steps; return losses, the gradients of every parameter, and all weights and buffers."""
    method, stepper = pretraining.method, pretraining.stepper
    losses, gradients = [], []

    def note(progress):
        gradients.append({name: p.grad.clone() for name, p in method.named_parameters()})

    method.after_backward = note
    method.train()
    for step, raw in enumerate(pretraining.batches.stream(0, count)):
        _, metrics = stepper.step(raw, Progress(step, count + 1, count + 1))
        losses.append(metrics["loss"].double())
    return losses, gradients, dict(method.state_dict())
