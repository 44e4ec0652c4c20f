"""For the tests of both methods: their losses in loops, small networks, and short pretrainings."""

from __future__ import annotations

import torch
from sslkit_moco import MoCoV2, MoCoV3
from torch import nn

from sslkit import Batch, Progress, Shapes, hookimpl, pretrain, sgd, uniforms

STEPS = 5
QUEUE_SIZE = 24  # no multiple of a batch: it wraps around in the middle of one


def literal_info_nce(query, positive, negatives, temperature):
    """Equation 1 of He et al. 2020 for one query, one number at a time; the positive is not among the negatives."""

    def similarity(one, other):
        one, other = (row / sum(v * v for v in row) ** 0.5 for row in (one, other))
        return sum(one[j] * other[j] for j in range(len(one))) / temperature

    above = torch.exp(similarity(query, positive))
    return -torch.log(above / (above + sum(torch.exp(similarity(query, negative)) for negative in negatives)))


def literal_v2(pairs, queue, temperature):
    """Mean over the queries, summed over the ways round."""
    total = 0.0
    for queries, keys in pairs:
        total = total + sum(
            literal_info_nce(query, key, queue, temperature) for query, key in zip(queries, keys, strict=True)
        ) / len(queries)
    return total


def literal_v3(queries, keys, temperature):
    """Algorithm 1 of Chen, Xie and He 2021: ctr(q1, k2) + ctr(q2, k1), each 2 t times a mean over the batch."""
    total = 0.0
    for query_rows, key_rows in ((queries[0], keys[1]), (queries[1], keys[0])):
        for n, query in enumerate(query_rows):
            others = [key for m, key in enumerate(key_rows) if m != n]
            total = total + 2 * temperature * literal_info_nce(query, key_rows[n], others, temperature) / len(
                query_rows
            )
    return total


class Head(nn.Identity):
    """Hands features on, for losses of given embeddings."""

    def __init__(self, out_dim):
        super().__init__()
        self.out_dim = out_dim


class Network(nn.Module):
    """Two convolutions, computed in the precision of their weights; smooth, so that rounding stays small."""

    feature_dim = 8

    def __init__(self, *, norm):
        super().__init__()
        norms = [nn.BatchNorm2d(6), nn.BatchNorm2d(4)] if norm else [nn.Identity(), nn.Identity()]
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 4, stride=4, bias=False), norms[0], nn.Tanh(),
            nn.Conv2d(6, 4, 3, padding=1, bias=False), norms[1], nn.Tanh(),
            nn.Flatten(), nn.Linear(64, 8, bias=False),
        )  # fmt: skip

    def forward(self, images):
        return self.layers((images.to(self.layers[0].weight.dtype) - 0.5) * 2)


class SmoothHead(nn.Sequential):
    """Two linear layers with or without BatchNorm."""

    def __init__(self, *, norm):
        super().__init__(
            nn.Linear(8, 12, bias=False), nn.BatchNorm1d(12) if norm else nn.Identity(), nn.Tanh(), nn.Linear(12, 5)
        )
        self.out_dim = 5


class Shifts:
    """Two views that differ in contrast and in brightness."""

    num_views = 2
    whole_images = True

    def draw(self, keys):
        return uniforms(keys, 2, 2)

    def prepare(self, image, draws):
        return (image.unsqueeze(0),)

    def apply(self, groups, draws):
        images = groups[0][:, 0].float() / 255
        return [images * (0.5 + draws[:, view, 0].view(-1, 1, 1, 1)) + draws[:, view, 1].view(-1, 1, 1, 1) / 4
                for view in range(2)]  # fmt: skip


class Watch:
    """Keeps every step's metrics; may break off after one."""

    def __init__(self, break_after=None):
        self.metrics = []
        self.break_after = break_after

    @hookimpl
    def sslkit_step_end(self, state, metrics):
        self.metrics.append({name: float(value) for name, value in metrics.items()})
        if state.step == self.break_after:
            raise RuntimeError("the power fails")


def method_of(kind, norm="everywhere", **options):
    """Return a method with new weights, the same ones every time.

    Args:
        kind: MoCoV2 or MoCoV3.
        norm: Where the networks have BatchNorm: "none", "head" or "everywhere".
        options: Of the method.
    """
    defaults = {
        MoCoV2: {"queue_size": QUEUE_SIZE, "momentum": 0.9, "key_groups": 2},
        MoCoV3: {"momentum": 0.9, "predictor_hidden_dim": 7},
    }
    torch.manual_seed(0)
    backbone, head = Network(norm=norm == "everywhere"), SmoothHead(norm=norm != "none")
    return kind(backbone, head, **defaults[kind] | options)


def pretrained(method, *, micro_batch_size=None, watch=None, steps=STEPS, **options):
    """Pretrain on 48 images, 16 a step; return metrics of all steps, and all weights and buffers after them."""
    watch = watch or Watch()
    pretrain(
        method, Shapes(image_size=16, num_train=48, num_validation=20, num_test=20), Shifts(), sgd, steps=steps,
        batch_size=16, learning_rate=0.1, weight_decay=1e-3, micro_batch_size=micro_batch_size, workers=0,
        callbacks=[watch], **options,
    )  # fmt: skip
    return watch.metrics, {name: value.clone() for name, value in method.state_dict().items()}


def batch_of(*views, step=0, total_steps=1, measured=True):
    """Return a batch of given views."""
    size = len(views[0])
    progress = Progress(step, total_steps, 1.0, measured)
    return Batch(list(views), torch.arange(size), torch.full((size,), -1), progress)


def random_rows(*shape, seed=0):
    """Return random numbers in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
