"""Of the kind views, each wrong in one thing."""

import numpy as np
import torch
from right_toys.shades import Shades


class Three(Shades):
    num_views = 3


class Bright(Shades):
    def apply(self, groups, draws):
        return [2 * view for view in super().apply(groups, draws)]


class Neighbours(Shades):
    def draw(self, keys):
        return super().draw(keys ^ keys[0])


class Alike(Shades):
    def draw(self, keys):
        return super().draw(np.zeros_like(keys))


class Twins(Shades):
    def apply(self, groups, draws):
        return super().apply(groups, draws[:, :1].expand(-1, 2, -1))


class Squeezed(Shades):
    def apply(self, groups, draws):
        return [view.squeeze(0) for view in super().apply(groups, draws)]


class Elongated(Shades):
    def prepare(self, image, draws):
        (view,) = super().prepare(image, draws)
        return (view[..., : self.side * image.width // 64, :],)


class Coloured(Shades):
    def apply(self, groups, draws):
        return [view[:, [2, 1, 0]] for view in super().apply(groups, draws)]


class Stuck(Shades):
    def __init__(self):
        super().__init__()
        self.darken = lambda image: image / 2


class Noisy(Shades):
    def apply(self, groups, draws):
        return [view * torch.rand(len(view), 1, 1, 1) for view in super().apply(groups, draws)]


class Elastic(Shades):
    def apply(self, groups, draws):
        side = 8 + int(8 * draws[0, 0, 0])
        return [view[..., :side, :side] for view in super().apply(groups, draws)]


class Centred(Shades):
    def apply(self, groups, draws):
        return [(view - view.mean(dim=0)).clamp(0, 1) for view in super().apply(groups, draws)]


class Taciturn(Shades):
    def describe(self, draws, height, width):
        return super().describe(draws, height, width)[:1]
