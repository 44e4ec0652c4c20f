"""Frozen weights with everything needed to use them.

Enters: a backbone, perhaps its head, normalisation and input size. Leaves: features, computed once however many
evaluations ask. The weights do not change: eval mode, no gradient, BatchNorm with its running statistics. Made by
`Pretraining.frozen` and `load_backbone`; what evaluations are given.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from sslkit.engine.bad_images import BadImages
from sslkit.engine.batches import default_workers
from sslkit.engine.centre_crop import CENTRAL_SHARE
from sslkit.engine.features import extract, fitted_batches
from sslkit.engine.interfaces import Data, Dataset, Features, Normalisation
from sslkit.errors import RunError
from sslkit.text import did_you_mean

HEAD: Final = "head."
"""What the name of a measured layer of the head begins with."""

_PIXELS_SIDE: Final = 32  # as a baseline, pixels of larger images are averaged down to this


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
        bad_images: Takes note of images that cannot be read; None is a list of its own.

    Attributes:
        measure: What `features` returns: "h", "z", the name of a layer of the backbone, "head." and that of a layer of
            the head, or "pixels".
        central_share: Of the shorter side of images, what is kept when they are fitted to `input_size`.
        source: The folder that the weights come from: a run's, or that of their file; None if they were made here.
        is_trained: Whether these are weights that something has learned, and not those it began with.
        notes: What a long evaluation wants to find again after a stop.
        checkpoints: Folder for what it trains; None keeps none.
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
        bad_images: BadImages | None = None,
    ) -> None:
        super().__init__()
        device = torch.device(device)
        # In the format it is trained in: other formats round the last bit otherwise.
        self.backbone = backbone.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.head = None if head is None else head.to(device)
        self.normalisation = normalisation
        self.input_size = input_size
        self.seed = seed
        self.workers = default_workers(device) if workers is None else workers
        self.bad_images = bad_images or BadImages()
        self.measure = "h"
        self.central_share = CENTRAL_SHARE
        self.source: Path | None = None
        self.is_trained = True
        self.notes: MutableMapping[str, float] = {}
        self.checkpoints: Path | None = None
        self._wanted: dict[tuple[int, float], set[str]] = {}  # by data and crop
        self._normalise = None if normalisation is None else normalisation.on(device)
        # Kept with the data itself, so that another object can never take over its place.
        self._cache: dict[tuple[int, str, float], tuple[Data | Dataset, Tensor, dict[str, Tensor]]] = {}
        self._built_on = device
        self.requires_grad_(False)
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return next((parameter.device for parameter in self.backbone.parameters()), self._built_on)

    def settings(self) -> dict[str, Any]:
        """Return everything but the modules, for another backbone to be measured in the same way."""
        return {
            "normalisation": self.normalisation,
            "input_size": self.input_size,
            "device": self.device,
            "seed": self.seed,
            "workers": self.workers,
            "bad_images": self.bad_images,
        }

    def train(self, mode: bool = True) -> FrozenModel:
        """Stay in eval mode: frozen means that BatchNorm is frozen too."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return features h, [N, D], of images [N, C, H, W] in [0, 1]."""
        features: Tensor = self.backbone(images if self._normalise is None else self._normalise(images))
        return features

    def measuring(self, measure: str, data: Data | None = None) -> FrozenModel:
        """Return the same weights, measured somewhere else; extracted features are shared.

        Args:
            measure: What to measure, as of the attribute of this name.
            data: What it will be measured on: then it is extracted in the same pass as others of these data.

        Raises:
            RunError: There is no such layer, or no head.
        """
        require_measurable(measure, self.backbone, self.head)
        other = copy.copy(self)
        other.measure = measure
        if data is not None:
            self._wanted.setdefault((id(data), self.central_share), set()).add(measure)
        return other

    def cropping(self, central_share: float) -> FrozenModel:
        """Return the same weights, for images of which another share is kept."""
        other = copy.copy(self)
        other.central_share = central_share
        return other

    def lent(
        self, seed: int, notes: MutableMapping[str, float] | None = None, checkpoints: Path | None = None
    ) -> FrozenModel:
        """Return the same weights for one evaluation; extracted features are shared.

        Args:
            seed: For what it draws.
            notes: What it kept of an earlier attempt.
            checkpoints: Folder for what it trains.
        """
        other = copy.copy(self)
        other.seed, other.notes, other.checkpoints = seed, {} if notes is None else notes, checkpoints
        return other

    def sums(self) -> list[int]:
        """Return an exact sum of each tensor's bits, buffers included: a quick look whether any has changed."""
        modules = filter(None, (self.backbone, self.head))
        return [_sum_of_bits(tensor) for module in modules for tensor in module.state_dict().values()]

    def digest(self) -> str:
        """Return what stays the same as long as no bit of the weights changes, buffers included."""
        total = hashlib.sha256()
        for module in filter(None, (self.backbone, self.head)):
            for name, tensor in module.state_dict().items():
                total.update(name.encode())
                total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return total.hexdigest()

    def features(self, data: Data | Dataset, split: str = "train") -> Features:
        """Return the measured layer's features of a split.

        Everything that has been announced by `measuring` for these data is extracted in the same pass.

        Args:
            data: Data component, or any data set of (image, label), which is taken whole.
            split: Of a data component.

        Raises:
            DataError: The split does not exist or is empty.
        """
        key = (id(data), split, self.central_share)
        if key not in self._cache or self.measure not in self._cache[key][2]:
            announced = self._wanted.get((id(data), self.central_share), set())
            labels, values = extract(self, data, split, announced | {self.measure})
            self._cache[key] = (data, labels, values)
        _, labels, values = self._cache[key]
        return Features(values[self.measure], labels)

    def images(self, data: Data, split: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Return a split in batches of images as `features` sees them: uint8 [b, C, S, S] and labels, on the CPU.

        Of several processes each gets all of them.

        Raises:
            DataError: The split does not exist or is empty, or an image cannot be read.
        """
        return fitted_batches(self, data, split)

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Return the measured layer's features [N, D] of images [N, C, h, w] in [0, 1], on the device, no gradient."""
        return self._measures(images.to(self.device), {self.measure})[self.measure].float()

    @torch.inference_mode()
    def measure_all(self, images: Tensor, wanted: set[str]) -> dict[str, Tensor]:
        """Return some measures of uint8 images [N, C, S, S], float32 on the CPU."""
        found = self._measures(images.to(self.device).float() / 255, wanted)
        return {name: value.float().cpu() for name, value in found.items() if name in wanted}

    def _measures(self, images: Tensor, wanted: set[str]) -> dict[str, Tensor]:
        """Return some measures of images in [0, 1].

        A layer's map [N, C, h, w] is averaged over its positions, as the paper's h is.
        """
        found: dict[str, Tensor] = {}
        if "pixels" in wanted:
            found["pixels"] = functional.adaptive_avg_pool2d(images, min(self.input_size, _PIXELS_SIDE)).flatten(1)
        layers = wanted - {"h", "z", "pixels"}
        of_head = {name for name in layers if head_layer(name, self.backbone) is not None}
        if wanted - {"pixels"}:
            with _recorded(self.backbone, {name: name for name in layers - of_head}, found):
                h = self(images)
            found["h"] = h
            if self.head is not None and ("z" in wanted or of_head):
                places = {name: name.removeprefix(HEAD) for name in of_head}
                with _recorded(self.head, places, found):
                    found["z"] = self.head(h)
            silent = sorted(layers - found.keys())
            if silent:
                raise RunError(f'features = "{silent[0]}": this layer returns no tensor when the network runs')
        return found


def _sum_of_bits(tensor: Tensor) -> int:
    words = {2: torch.int16, 4: torch.int32, 8: torch.int64}.get(tensor.element_size(), torch.uint8)
    return int(tensor.detach().contiguous().flatten().view(words).sum(dtype=torch.int64))


def require_measurable(measure: str, backbone: nn.Module, head: nn.Module | None) -> None:
    """Check that there is something of this name to measure.

    Raises:
        RunError: There is no such layer, or no head.
    """
    if measure == "z" and head is None:
        raise RunError('features = "z": these weights have no projection head')
    if measure in ("h", "z", "pixels"):
        return
    if head_layer(measure, backbone) is not None:
        if head is None:
            raise RunError(f'features = "{measure}": these weights have no projection head')
        owner, layers = "head", [HEAD + name for name, _ in head.named_modules() if name]
    else:
        owner, layers = "backbone", [name for name, _ in backbone.named_modules() if name]
    if measure not in layers:
        raise RunError(f'features = "{measure}": the {owner} has no such layer{did_you_mean(measure, layers)}')


def head_layer(measure: str, backbone: nn.Module) -> str | None:
    """Return the name of the layer of the head that a measure means; None if it means something else.

    A backbone that has a layer of this very name keeps it.
    """
    if not measure.startswith(HEAD) or any(name == measure for name, _ in backbone.named_modules()):
        return None
    return measure.removeprefix(HEAD)


def without_head(features: Iterable[str], backbone: nn.Module) -> list[str]:
    """Return what of some features a backbone has without its head: h at least."""
    return [name for name in features if name != "z" and head_layer(name, backbone) is None] or ["h"]


class _recorded:
    """Records the output of some layers while a forward pass runs: as `places` call them, name to layer."""

    def __init__(self, module: nn.Module, places: Mapping[str, str], found: dict[str, Tensor]) -> None:
        self._module = module
        self._places = places
        self._found = found

    def __enter__(self) -> None:
        self._handles = [
            self._module.get_submodule(layer).register_forward_hook(self._keep(name))
            for name, layer in sorted(self._places.items())
        ]

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _keep(self, name: str) -> Callable[[nn.Module, Sequence[Any], Any], None]:
        def hook(module: nn.Module, inputs: Sequence[Any], output: Any) -> None:
            if isinstance(output, Tensor):
                # A copy: the layer after this one may well write over its input.
                self._found[name] = output.mean(dim=(2, 3)) if output.ndim == 4 else output.flatten(1).clone()

        return hook
