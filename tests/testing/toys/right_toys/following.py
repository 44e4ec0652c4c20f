"""A method with a slow copy, a centre of its targets, and a term that looks at the whole batch."""

from typing import Annotated

import torch
from annotated_types import Interval
from torch import nn
from torch.nn.functional import normalize

from sslkit import MomentumCopy, gather_rows


class Following(nn.Module):
    """The projections of one view follow those that a slow copy makes of the other.

    Args:
        backbone: Given by the engine.
        head: Given by the engine.
        momentum: Of the copy.
    """

    def __init__(self, backbone, head, *, momentum: Annotated[float, Interval(ge=0, le=1)] = 0.9):
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.copy = MomentumCopy(nn.Sequential(backbone, head))
        self.momentum = momentum
        self.register_buffer("centre", torch.zeros(head.out_dim))
        self.targets = None

    def embed(self, batch):
        images = torch.cat(list(batch.views)) + 0.1 * batch.uniforms(1).repeat(len(batch.views), 1).view(-1, 1, 1, 1)
        parts = self.head(self.backbone(images)), self.copy(images)
        return [list(part.chunk(len(batch.views))) for part in parts]

    def loss(self, embeddings, batch):
        online, target = (
            [view.to(torch.promote_types(view.dtype, torch.float32)) for view in part] for part in embeddings
        )
        self.targets = gather_rows(torch.stack(target, dim=1)).detach()
        pairs = zip(online, reversed(target), strict=True)
        cosines = [(normalize(one) * normalize(other - self.centre)).sum(dim=1).mean() for one, other in pairs]
        spread = self.spread(gather_rows(torch.stack(online, dim=1)))
        return -sum(cosines) / len(cosines) + spread, {"spread": spread.detach()}

    def spread(self, rows):
        return (rows.flatten(0, 1).var(dim=0) + 1e-4).log().square().mean() / 10

    def after_step(self, progress):
        self.copy.follow(nn.Sequential(self.backbone, self.head), self.momentum)
        self.centre.lerp_(self.targets.mean(dim=(0, 1)).to(self.centre.dtype), 0.1)
