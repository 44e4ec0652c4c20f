"""Two views that differ in brightness."""

from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt
from PIL import Image

from sslkit import uniforms


class Shades:
    """Two views of an image, each as dark as its number says.

    Args:
        image_size: Side of a view, pixels.
    """

    num_views = 2

    def __init__(self, *, image_size: Annotated[int, Gt(0)] = 16):
        self.side = image_size

    def draw(self, keys):
        return uniforms(keys, self.num_views, 1)

    def prepare(self, image, draws):
        if torch.is_tensor(image):
            image = Image.fromarray(image.permute(1, 2, 0).squeeze(-1).numpy())
        pixels = torch.from_numpy(np.array(image.resize((self.side, self.side))))
        return (torch.atleast_3d(pixels).permute(2, 0, 1)[None],)

    def apply(self, groups, draws):
        (images,) = groups
        return [images[:, 0] / 255 * (0.5 + draws[:, view, 0].view(-1, 1, 1, 1) / 2) for view in range(2)]

    def describe(self, draws, height, width):
        return [{"brightness": f"{0.5 + row[0] / 2:.2f}"} for row in draws]
