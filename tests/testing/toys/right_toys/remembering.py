"""A contrastive loss whose negatives are projections of former steps, too."""

from typing import Annotated

import torch
from annotated_types import Gt
from torch import nn
from torch.nn.functional import cross_entropy, normalize


class Remembering(nn.Module):
    """Picks the second view of an image by the first, among all second views and a memory of former ones.

    Args:
        dim: Width of the projections; the engine gives it.
        temperature: Divides the similarities.
        memory: Rows that are remembered.
    """

    min_views = 2

    def __init__(self, dim, *, temperature: Annotated[float, Gt(0)] = 0.5, memory: Annotated[int, Gt(0)] = 20):
        super().__init__()
        self.temperature = temperature
        self.register_buffer("memory", torch.zeros(memory, dim))
        self.newest = None

    def compared(self, projections):
        first, second = (normalize(view, dim=1) for view in projections[:2])
        logits = first @ torch.cat([second, self.memory.to(second.dtype)]).T / self.temperature
        self.newest = second.detach()
        return cross_entropy(logits, torch.arange(len(logits)), reduction="none")

    def forward(self, projections):
        rows = self.compared(projections)
        return rows.mean(), {"worst": rows.detach().max()}

    def after_step(self, progress):
        self.memory.copy_(torch.cat([self.newest.to(self.memory.dtype), self.memory])[: len(self.memory)])
