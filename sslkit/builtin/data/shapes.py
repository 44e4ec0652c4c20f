"""Ten classes of drawn shapes, made on the spot: a data set of 0 bytes to start with.

Enters: how many images of which size. Leaves: uint8 images, labels, and the factors that each image was made
from. Called by the engine for the recipe's data tables; the quick-start and many tests run on it.

A class is one of five shapes with one of two textures, such as a striped disc, repeated over the image as on a
wallpaper: so a crop nearly always shows a whole one. All else is nuisance: colours, light on dark or dark on
light, place, size and slant of the wallpaper, rotation of the shapes, angle and width of the texture, background.
Raw pixels therefore say next to nothing about the class, while a network that learns to see past the nuisances
finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from annotated_types import Ge
from torch import Tensor

from sslkit import AbsentError, Nominal, did_you_mean, sample_keys, uniforms
from sslkit.builtin.data.shapes_drawing import (
    FACTORS,
    NUM_DRAWS,
    SHAPES,
    TEXTURES,
    VERSION,
    Array,
    draw_images,
    named_draws,
)
from sslkit.builtin.data.tables import ImageTable

_CLASSES = tuple(f"{texture} {shape}" for shape in SHAPES for texture in TEXTURES)

# The place of the epoch in the hash. Epochs count from 0: no picture shares its random numbers with a view of it.
_SPLITS = {"train": -1, "validation": -2, "test": -3}


class Shapes:
    """Textured shapes, drawn on the spot: ten classes, five shapes times two textures.

    The same options give the same images everywhere, but for a grey level here and there where processors round a
    cosine differently. An image depends on its split, its number and the seed only: a larger set begins with the
    images of a smaller one. Every ten images in a row hold each class once. Pretraining takes the train split.

    Args:
        image_size: Side of the square images, pixels.
        num_train: Images of the train split.
        num_validation: Images of the validation split.
        num_test: Images of the test split.
        seed: Another number, other images.

    Attributes:
        num_classes: 10.
        class_names: `striped disc`, `checked disc`, `striped square`, ...
    """

    num_classes = 10
    class_names = _CLASSES

    def __init__(
        self,
        *,
        image_size: Annotated[int, Ge(16)] = 32,
        num_train: Annotated[int, Ge(1)] = 6000,
        num_validation: Annotated[int, Ge(1)] = 1000,
        num_test: Annotated[int, Ge(1)] = 5000,
        seed: int = 0,
    ) -> None:
        self._size = image_size
        self._counts = {"train": num_train, "validation": num_validation, "test": num_test}
        self._seed = seed
        self._drawn: dict[str, ImageTable] = {}

    @staticmethod
    def nominal(options: Mapping[str, Any]) -> Nominal:
        """Return what images there will be, without drawing them."""
        sizes = {split: options[f"num_{split}"] for split in _SPLITS}
        return Nominal({"pretrain": sizes["train"], **sizes}, len(_CLASSES), options["image_size"], "shapes")

    def split(self, name: str) -> ImageTable:
        """Return the split `pretrain` (which is `train`), `train`, `validation` or `test`.

        Raises:
            AbsentError: There is no such split.
        """
        name = _split_name(name)
        if name not in self._drawn:
            labels, draws = self._draws(name)
            self._drawn[name] = ImageTable(
                torch.from_numpy(draw_images(labels, draws, self._size)),
                labels,
                name=f"shapes/{name}",
                made_from=f"shapes {VERSION} {name} {self._counts[name]} {self._size} {self._seed}",
            )
        return self._drawn[name]

    def table(self, name: str) -> Tensor:
        """Return all images of a split, uint8 [n, 3, image_size, image_size]."""
        return self.split(name).images

    def factors(self, name: str) -> dict[str, npt.NDArray[np.int64]]:
        """Return what each image of a split was made from, int64 [n] per factor.

        `shape` and `texture` make the class; `background` is 0 for a gradient, 1 for clouds, 2 for clutter;
        `polarity` is 0 for light on dark. The others are continuous, and come as the number of their quantile.
        """
        labels, draws = self._draws(_split_name(name))
        steps = {factor: (draws[factor] * count).astype(np.int64) for factor, count in FACTORS.items()}
        return {"shape": labels // len(TEXTURES), "texture": labels % len(TEXTURES), **steps}

    def _draws(self, name: str) -> tuple[npt.NDArray[np.int64], dict[str, Array]]:
        count = self._counts[name]
        keys = sample_keys(self._seed, _SPLITS[name], np.arange(-(-count // 10) * 10))
        numbers = uniforms(keys, 1, NUM_DRAWS + 1)[:, 0]
        # Ranks within each ten of a random number: every class once, in random order.
        order = numbers[:, -1].reshape(-1, 10).argsort(axis=1).reshape(-1)[:count].astype(np.int64)
        return order, named_draws(numbers[:count])


def _split_name(name: str) -> str:
    if name == "pretrain":
        return "train"
    if name not in _SPLITS:
        raise AbsentError(f"shapes has no split {name!r}{did_you_mean(name, ['pretrain', *_SPLITS])}")
    return name
