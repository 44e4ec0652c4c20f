"""From frozen weights and images to features, computed once however many evaluations ask.

Enters: a backbone, perhaps a head, and data. Leaves: float32 features on the CPU. Called by `evaluate` and by the
`embed` command. The weights do not change: eval mode, no gradient, BatchNorm with its running statistics.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from sslkit.engine.batches import as_uint8, default_workers
from sslkit.engine.interfaces import Data, Dataset, Features, Normalisation
from sslkit.errors import DataError, RunError
from sslkit.images import BadImageError, find_images, open_image
from sslkit.text import did_you_mean, one_line

BATCH: Final = 256

# The paper's test crop: the central 87.5 %, which is 224 of 256 pixels (Chen et al. 2020, B.6, and its code).
_CENTRAL_SHARE: Final = 0.875
_PIXELS_SIDE: Final = 32  # as a baseline, pixels of larger images are averaged down to this
_UNCROPPED_UP_TO: Final = 32  # pixels; the paper's code leaves CIFAR-sized test images untouched

logger = logging.getLogger("sslkit")


class FrozenModel(nn.Module):
    """A backbone with everything needed to use it: normalisation, input size, perhaps its head.

    Called with images [N, C, H, W] in [0, 1], it returns features h, [N, D].

    Args:
        backbone: Module [N, C, h, w] -> [N, D].
        head: The projection head, or None.
        normalisation: Applied before the backbone, or None.
        input_size: Side of the images that the backbone is fed, pixels.
        device: Where to run.
        seed: For whatever an evaluation draws.
        workers: Loader processes for image files; None chooses.

    Attributes:
        measure: What `features` returns: "h", "z", the name of a layer of the backbone, or "pixels".
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module | None = None,
        *,
        normalisation: Normalisation | None = None,
        input_size: int,
        device: torch.device | str = "cpu",
        seed: int = 0,
        workers: int | None = None,
    ) -> None:
        super().__init__()
        self.device = torch.device(device)
        self.backbone = backbone.to(self.device)
        self.head = None if head is None else head.to(self.device)
        self.normalisation = normalisation
        self.input_size = input_size
        self.seed = seed
        self.workers = default_workers(self.device) if workers is None else workers
        self.measure = "h"
        self.wanted: set[str] = {"h"}
        self._normalise = None if normalisation is None else normalisation.on(self.device)
        # Kept with the data itself, so that another object can never take over its place.
        self._cache: dict[tuple[int, str], tuple[Data, Tensor, dict[str, Tensor]]] = {}
        self.requires_grad_(False)
        self.eval()

    def settings(self) -> dict[str, Any]:
        """Return everything but the modules, for another backbone to be measured in the same way."""
        return {
            "normalisation": self.normalisation,
            "input_size": self.input_size,
            "device": self.device,
            "seed": self.seed,
            "workers": self.workers,
        }

    def train(self, mode: bool = True) -> FrozenModel:
        """Stay in eval mode: frozen means that BatchNorm is frozen too."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return features h, [N, D], of images [N, C, H, W] in [0, 1]."""
        features: Tensor = self.backbone(images if self._normalise is None else self._normalise(images))
        return features

    def measuring(self, measure: str) -> FrozenModel:
        """Return the same weights, measured at "h", "z", "pixels" or a layer; extracted features are shared.

        Raises:
            RunError: There is no such layer, or no head.
        """
        require_measurable(measure, self.backbone, self.head)
        other = copy.copy(self)
        other.measure = measure
        self.wanted.add(measure)
        return other

    def features(self, data: Data, split: str) -> Features:
        """Return the measured layer's features of a split.

        Every layer that has been asked for by `measuring` is extracted in the same pass.

        Raises:
            DataError: The split does not exist or is empty.
        """
        key = (id(data), split)
        if key not in self._cache or self.measure not in self._cache[key][2]:
            labels, values = _extract(self, data, split)
            self._cache[key] = (data, labels, values)
        _, labels, values = self._cache[key]
        return Features(values[self.measure], labels)

    @torch.inference_mode()
    def measure_all(self, images: Tensor) -> dict[str, Tensor]:
        """Return every wanted measure of uint8 images [N, C, S, S], float32 on the CPU.

        A layer's map [N, C, h, w] is averaged over its positions, as the paper's h is.
        """
        scaled = images.to(self.device).float() / 255
        found: dict[str, Tensor] = {}
        if "pixels" in self.wanted:
            found["pixels"] = functional.adaptive_avg_pool2d(scaled, min(self.input_size, _PIXELS_SIDE)).flatten(1)
        layers = self.wanted - {"h", "z", "pixels"}
        if self.wanted - {"pixels"}:
            with _recorded(self.backbone, layers, found):
                h = self(scaled)
            found["h"] = h
            if "z" in self.wanted and self.head is not None:
                found["z"] = self.head(h)
        return {name: value.float().cpu() for name, value in found.items()}


def require_measurable(measure: str, backbone: nn.Module, head: nn.Module | None) -> None:
    """Check that there is something of this name to measure.

    Raises:
        RunError: There is no such layer, or no head.
    """
    if measure == "z" and head is None:
        raise RunError('features = "z": these weights have no projection head')
    if measure not in ("h", "z", "pixels"):
        layers = [name for name, _ in backbone.named_modules() if name]
        if measure not in layers:
            raise RunError(f'features = "{measure}": the backbone has no such layer{did_you_mean(measure, layers)}')


class Embedding(NamedTuple):
    """Features of a folder's images.

    Attributes:
        paths: Relative to the folder, sorted.
        h: float32 [n, D].
        z: float32 [n, P], or None without a head.
        bad: One line per image that could not be read; it has no row.
    """

    paths: list[str]
    h: npt.NDArray[np.float32]
    z: npt.NDArray[np.float32] | None
    bad: list[str]


def embed_folder(model: FrozenModel, folder: str | Path) -> Embedding:
    """Return the features of every image below a folder.

    Raises:
        DataError: There is no readable image.
    """
    dataset = _Files(Path(folder))
    if model.head is not None:
        model.measuring("z")
    kept, bad, values = _run(model, dataset, skip_bad=True)
    if not kept:
        raise DataError(f"{folder}: holds no readable image")
    z = values["z"].numpy() if model.head is not None else None
    return Embedding([dataset.paths[index] for index in kept], values["h"].numpy(), z, bad)


def fit_image(image: Any, size: int) -> Tensor:
    """Return an image as uint8 [C, size, size]: shorter side scaled, centre cropped.

    Above 32 pixels the central 87.5 % is kept; smaller images are kept whole.

    Args:
        image: PIL or uint8 [C, H, W].
        size: Side in pixels.
    """
    side = size if size <= _UNCROPPED_UP_TO else round(size / _CENTRAL_SHARE)
    if isinstance(image, Image.Image):
        scale = side / min(image.size)
        width, height = (max(side, round(edge * scale)) for edge in image.size)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - size) // 2, (height - size) // 2
        return as_uint8(image.crop((left, top, left + size, top + size)))
    return fit_tensors(as_uint8(image).unsqueeze(0), size)[0]


def fit_tensors(images: Tensor, size: int) -> Tensor:
    """Return uint8 images [N, C, H, W] as [N, C, size, size], by the rule of `fit_image`."""
    height, width = images.shape[2:]
    if height == width == size and size <= _UNCROPPED_UP_TO:
        return images
    side = size if size <= _UNCROPPED_UP_TO else round(size / _CENTRAL_SHARE)
    scale = side / min(height, width)
    target = (max(side, round(height * scale)), max(side, round(width * scale)))
    resized = images
    if target != (height, width):
        scaled = functional.interpolate(images.float(), target, mode="bicubic", antialias=True)
        resized = scaled.round().clamp(0, 255).to(torch.uint8)
    top, left = (target[0] - size) // 2, (target[1] - size) // 2
    return resized[:, :, top : top + size, left : left + size]


def _extract(model: FrozenModel, data: Data, split: str) -> tuple[Tensor, dict[str, Tensor]]:
    dataset = data.split(split)
    if len(dataset) == 0:
        raise DataError(f"the {split} split of {one_line(data)} is empty")
    table_of = getattr(data, "table", None)
    table = table_of(split) if table_of is not None else None
    if table is not None:
        batches = (fit_tensors(part, model.input_size) for part in table.split(BATCH))
        labels = torch.as_tensor(np.asarray(getattr(dataset, "labels")))  # noqa: B009 - beside every table
        return labels, _concatenated(model.measure_all(batch) for batch in batches)
    skip = getattr(data, "on_bad_image", "raise") == "replace"
    reader = _Labelled(dataset, model.input_size)
    _, bad, values = _run(model, reader, skip_bad=skip)
    if bad:
        logger.warning("%s split: %d unreadable images are left out, first %s", split, len(bad), bad[0])
    return values.pop("labels"), values


class _Item(NamedTuple):
    image: Tensor | None
    label: Any
    bad: str


class _Labelled(TorchDataset[_Item]):
    """Reads and fits the images of a split; an unreadable one is an item with its reason."""

    def __init__(self, dataset: Dataset, size: int) -> None:
        self._dataset = dataset
        self._size = size

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> _Item:
        try:
            image, label = self._dataset[index]
        except BadImageError as error:
            return _Item(None, -1, one_line(error))
        return _Item(fit_image(image, self._size), label, "")


class _Files(TorchDataset[_Item]):
    """Reads and fits the images below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths = find_images(folder)
        self.size = 0

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> _Item:
        try:
            return _Item(fit_image(open_image(self.folder / self.paths[index]), self.size), -1, "")
        except BadImageError as error:
            return _Item(None, -1, one_line(error))


def _run(
    model: FrozenModel, dataset: _Labelled | _Files, *, skip_bad: bool
) -> tuple[list[int], list[str], dict[str, Tensor]]:
    """Return the positions that were read, the reasons of those that were not, and all measures."""
    if isinstance(dataset, _Files):
        dataset.size = model.input_size
    workers = model.workers if len(dataset) > BATCH else 0
    loader = DataLoader(dataset, batch_size=64, num_workers=workers, collate_fn=list)
    kept: list[int] = []
    bad: list[str] = []

    def batches() -> Iterator[dict[str, Tensor]]:
        position = 0
        for items in loader:
            good = [(position + number, item) for number, item in enumerate(items) if item.image is not None]
            faults = [item.bad for item in items if item.image is None]
            if faults and not skip_bad:
                raise DataError(f'{faults[0]} (or leave such images out: on_bad_image = "replace")')
            bad.extend(faults)
            kept.extend(number for number, _ in good)
            position += len(items)
            if good:
                measured = model.measure_all(torch.stack([item.image for _, item in good]))
                labels = torch.as_tensor(np.stack([np.asarray(item.label) for _, item in good]))
                yield measured | {"labels": labels}

    values = _concatenated(batches())
    return kept, bad, values


def _concatenated(batches: Iterator[dict[str, Tensor]] | Any) -> dict[str, Tensor]:
    parts = list(batches)
    return {name: torch.cat([part[name] for part in parts]) for name in (parts[0] if parts else ())}


class _recorded:
    """Records the output of some layers while a forward pass runs."""

    def __init__(self, module: nn.Module, layers: set[str], found: dict[str, Tensor]) -> None:
        self._module = module
        self._layers = layers
        self._found = found

    def __enter__(self) -> None:
        self._handles = [
            self._module.get_submodule(name).register_forward_hook(self._keep(name)) for name in sorted(self._layers)
        ]

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _keep(self, name: str) -> Callable[[nn.Module, Sequence[Any], Any], None]:
        def hook(module: nn.Module, inputs: Sequence[Any], output: Any) -> None:
            if isinstance(output, Tensor):
                self._found[name] = output.mean(dim=(2, 3)) if output.ndim == 4 else output.flatten(1)

        return hook
