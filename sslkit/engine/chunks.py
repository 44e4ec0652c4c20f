"""What a loader's worker does: reads a chunk of images and prepares their views.

Enters: keys and indices. Leaves: a `Chunk`. Called by `batches`, in worker processes; `features` shares how plugin
files reach them.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from sslkit.engine.bad_images import BadImage
from sslkit.engine.interfaces import Dataset, Views
from sslkit.engine.loader import Noted, at, between
from sslkit.engine.order import Indices
from sslkit.engine.prepared_views import PreparedViews, as_uint8
from sslkit.engine.randomness import Keys
from sslkit.errors import DataError, SslkitError
from sslkit.images import BadImageError, Sample, has_damaged_metadata, read_sample
from sslkit.registry.load import load_file, loaded_files
from sslkit.text import one_line

CHUNK: Final = 64
"""Images that a worker prepares at once."""


class Chunk(NamedTuple):
    """At most `CHUNK` images, as a worker hands them over.

    Attributes:
        groups: uint8 [n, v, C, S, S] per output size.
        draws: float32 [n, V, K].
        labels: int64 [n], or int8 [n, classes].
        indices: int64 [n], of the images that were read.
        bad: Images that could not be read.
        damaged_metadata: Indices of images with a damaged EXIF block or XMP packet.
    """

    groups: tuple[Tensor, ...]
    draws: Tensor
    labels: Tensor
    indices: Tensor
    bad: tuple[BadImage, ...]
    damaged_metadata: tuple[int, ...]


class WithPluginFiles:
    """Makes a dataset whose parts come from a recipe's plugin files known to spawned workers."""

    def __getstate__(self) -> dict[str, Any]:
        # The worker has to run the files before it can unpickle their objects.
        return {"plugins": loaded_files(), "parts": pickle.dumps(vars(self))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for path in state["plugins"]:
            load_file(path)
        vars(self).update(pickle.loads(state["parts"]))


class Chunks(WithPluginFiles, TorchDataset["Chunk | SslkitError"]):
    """What a worker runs: reads a chunk of images and prepares their views."""

    def __init__(self, dataset: Dataset, views: Views, on_bad_image: str) -> None:
        self._dataset = Noted(dataset)
        self._views = views
        self._on_bad_image = on_bad_image

    def __getitem__(self, spec: tuple[Keys, Indices]) -> Chunk | SslkitError:
        try:
            return self.chunk(*spec)
        except BadImageError as error:
            return DataError(f'{error} (or replace such images: on_bad_image = "replace")')
        except SslkitError as error:  # raised in a worker it would reach the user as a page of traceback
            return error
        finally:
            between()

    def chunk(self, keys: Keys, indices: Indices) -> Chunk:
        """Read and prepare the images of a chunk."""
        draws = self._views.draw(keys)
        samples = [
            read_sample(self._dataset, int(index), on_bad_image=self._on_bad_image, key=int(key))  # type: ignore[arg-type]
            for index, key in zip(indices, keys, strict=True)
        ]
        prepared = [self._prepared(sample, draw) for sample, draw in zip(samples, draws, strict=True)]
        counts = sorted({len(groups) for groups in prepared})
        if len(counts) > 1:
            raise DataError(
                f"the views of one image come in {counts[0]} sizes, of another in {counts[-1]}; "
                "a generator must make the same sizes of every image"
            )
        return Chunk(
            tuple(_stacked(group) for group in zip(*prepared, strict=True)),
            torch.from_numpy(draws),
            as_labels([sample.label for sample in samples]),
            torch.as_tensor([sample.index for sample in samples]),
            tuple(BadImage.of(error) for sample in samples for error in sample.bad),
            tuple(sample.index for sample in samples if has_damaged_metadata(sample.image)),
        )

    def _prepared(self, sample: Sample, draws: npt.NDArray[np.float32]) -> tuple[Tensor, ...]:
        at(sample.index)
        image = sample.image
        if isinstance(image, Tensor) and not isinstance(self._views, PreparedViews):  # whose transforms take any
            image = as_uint8(image)
        return self._views.prepare(image, draws)


def as_labels(labels: npt.ArrayLike) -> Tensor:
    """Return the labels of images, whatever integers a dataset has: int64 [n], or int8 [n, classes]."""
    numbers = np.asarray(labels)
    if numbers.size and numbers.dtype.kind not in "biu":  # there may be no image left that can be read
        raise DataError(f"labels should be whole numbers, -1 for none, but one is {one_line(_no_number(labels), 40)!r}")
    tensor = torch.as_tensor(numbers)
    return tensor.long() if tensor.ndim == 1 else tensor.to(torch.int8)


def _no_number(labels: Any) -> Any:
    return next((label for label in labels if np.asarray(label).dtype.kind not in "biu"), labels)


def require_one_shape(shapes: Iterable[Sequence[int]]) -> None:
    """Refuse images that cannot lie in one tensor.

    Args:
        shapes: Of a group of each image, (v, C, H, W).

    Raises:
        DataError: They differ.
    """
    different = sorted({tuple(shape[1:]) for shape in shapes})
    channels = sorted({shape[0] for shape in different})
    if len(channels) > 1:
        raise DataError(
            f"images of {channels[0]} and of {channels[-1]} channels cannot share a batch: give them the same, as "
            'sslkit.open_image does, or image.convert("RGB")'
        )
    if len(different) > 1:
        sizes = " and ".join(f"{width} x {height}" for _, height, width in different[:2])
        raise DataError(
            f"images of different sizes cannot share a batch ({sizes} pixels): crop them in the worker "
            '(crop_on = "worker") or give them one size'
        )


def _stacked(images: Sequence[Tensor]) -> Tensor:
    require_one_shape(image.shape for image in images)
    return torch.stack(list(images))
