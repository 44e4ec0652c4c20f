"""Of the kind objective, each wrong in one thing."""

import torch
from right_toys.remembering import Remembering

from sslkit import rank


class Rowwise(Remembering):
    def forward(self, projections):
        return self.compared(projections)


class Detached(Remembering):
    def forward(self, projections):
        return super().forward([view.detach() for view in projections])


class Repelling(Remembering):
    def forward(self, projections):
        return -self.compared(projections).mean()


class Placed(Remembering):
    def forward(self, projections):
        rows = self.compared(projections)
        return (rows * torch.arange(len(rows))).mean()


class Halved(Remembering):
    def __init__(self, dim):
        super().__init__(dim, temperature=0.02)

    def forward(self, projections):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(projections)


class Spread(Remembering):
    def forward(self, projections):
        first = projections[0]
        spread = (first - first.mean(dim=0)).square().sum(dim=0) / (len(first) - 1)
        return self.compared(projections).mean() - spread.mean()


class Counting(Remembering):
    steps = 0

    def forward(self, projections):
        return self.compared(projections).mean() * (1 + self.steps)

    def after_step(self, progress):
        super().after_step(progress)
        self.steps += 1


class Local(Remembering):
    rank_local = True


class Ranked(Remembering):
    def after_step(self, progress):
        super().after_step(progress)
        self.memory += rank()
