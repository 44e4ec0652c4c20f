"""Operations one after the other, each with its own columns of the random numbers.

Enters: float images and uniform numbers. Leaves: changed images. Called by the view generators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from torch import Tensor

from sslkit import Cropper, DataError
from sslkit_simclr.operations.distortion import ColourDistortion
from sslkit_simclr.operations.operation import Operation

_COUNTS: Final = {
    "crop": Cropper.num_draws,
    "flip": 1,
    "colour": 7,
    "blur": 2,
    "rotation": 2,
    "cutout": 3,
    "noise": 2,
    "sobel": 1,
    "equalize": 1,
    "solarize": 1,
    "motion_blur": 2,
    "auto_augment": 2,
}

COLUMNS: Final[dict[str, slice]] = {}
"""Where the uniform numbers of each operation stand: always in the same place, so that switching one operation on
or off leaves the numbers of all others as they were."""

for _name, _count in _COUNTS.items():
    _start = max((part.stop for part in COLUMNS.values()), default=0)
    COLUMNS[_name] = slice(_start, _start + _count)


class Policy:
    """A fixed sequence of operations.

    Args:
        owner: The component's name, for messages.
        operations: In the order in which they act.
        without_colour: How to leave the colour operations out, for messages.

    Attributes:
        num_draws: Uniform numbers of one view, K.
    """

    def __init__(self, owner: str, operations: Sequence[Operation], *, without_colour: str) -> None:
        self._owner = owner
        self._without_colour = without_colour
        self._operations = list(operations)
        self.num_draws = max(COLUMNS[name].stop for name in ("crop", *(part.name for part in operations)))

    def parameters(self, numbers: Tensor) -> list[Any]:
        """Return the parameters of each operation from uniform numbers [N, K]."""
        return [operation.parameters(numbers[:, COLUMNS[operation.name]]) for operation in self._operations]

    def __call__(self, images: Tensor, parameters: Sequence[Any]) -> Tensor:
        """Return images [N, C, S, S] after all operations; those handed in may be overwritten."""
        for operation, its_parameters in zip(self._operations, parameters, strict=True):
            images = operation(images, its_parameters)
        return images

    def compile(self) -> None:
        """Compile the operations for which it pays: those that work pixel by pixel."""
        self._operations = [
            replace(part, compiled=True) if isinstance(part, ColourDistortion) else part for part in self._operations
        ]

    def describe(self, numbers: Tensor) -> list[dict[str, str]]:
        """Return the parameters of each of N views in words, by operation."""
        known = list(zip(self._operations, self.parameters(numbers), strict=True))
        views = [[operation.describe(group, view) for operation, group in known] for view in range(len(numbers))]
        return [{name: words for part in parts for name, words in part.items()} for parts in views]

    def require_colour(self, channels: int) -> None:
        """Refuse images that the colour operations cannot take, and say how to leave those out.

        Raises:
            DataError: Images are not of 3 channels, but an operation needs 3.
        """
        if channels == 3:
            return
        if any(operation.needs_colour for operation in self._operations):
            raise DataError(
                f"{self._owner}: images have {channels} channels, but the colour operations, jitter and grayscale, "
                f"need 3; {self._without_colour}"
            )


def part_of(parameters: Sequence[Any], part: slice) -> list[Any]:
    """Return the parameters of a slice of the images."""

    def cut(values: Any) -> Any:
        return (
            type(values)(*map(cut, values)) if isinstance(values, tuple) else None if values is None else values[part]
        )

    return [cut(group) for group in parameters]
