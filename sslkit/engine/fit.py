"""Whether a backbone takes the views' images and returns what it says, found out without computing anything.

Enters: a backbone and the shapes of the views. Leaves: nothing, or one line with the nearest sizes that would do.
Runs on a copy without storage (torch's meta device). Called by `pretrain.assemble` and `build`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Final

import torch
from torch import nn

from sslkit.engine.distributed import world_size
from sslkit.engine.interfaces import Data, Normalisation, embeds
from sslkit.engine.prepared_views import as_uint8
from sslkit.errors import PluginError, RunError
from sslkit.images import BadImageError
from sslkit.text import one_line

Shape = tuple[int, ...]

_COLOURS: Final = 3  # channels that backbones take unless told otherwise
_LARGEST: Final = 1024  # pixels; where the search for a size that fits gives up


class MisfitError(RunError):
    """A backbone that refuses the views' image size or channels.

    Args:
        message: What and which sizes would do.
        size: The refused side, pixels; None if it is the channels that are refused.
    """

    def __init__(self, message: str, size: int | None = None) -> None:
        super().__init__(message)
        self.size = size


def require_fit(backbone: nn.Module, shapes: Sequence[Shape], normalisation: Normalisation | None = None) -> None:
    """Check that a backbone takes images of these shapes, (C, h, w), and keeps its promise of `feature_dim`.

    Raises:
        MisfitError: It refuses an image size or channel count.
        RunError: The normalisation has other channels.
        PluginError: It has no `feature_dim`, or returns another shape than [N, feature_dim].
    """
    feature_dim = getattr(backbone, "feature_dim", None)
    if not isinstance(feature_dim, int):
        raise PluginError(
            f"backbone {type(backbone).__name__} has no integer feature_dim; set it to the width of what it returns: "
            "backbone.feature_dim = 512"
        )
    channels = shapes[0][0]
    if normalisation is not None and len(normalisation.mean) not in (1, channels):
        raise RunError(f"normalize has {len(normalisation.mean)} channels, the views have {channels}")
    meta = copy.deepcopy(backbone).to("meta").eval()
    for shape in dict.fromkeys(shapes):
        returned = _try(meta, shape)
        if isinstance(returned, NotImplementedError):  # an operation without a meta form: nothing can be told
            continue
        if isinstance(returned, Exception):
            raise _refusal(meta, shape, returned)
        if returned != (2, feature_dim):
            raise PluginError(
                f"backbone {type(backbone).__name__} returned shape {list(returned)} for 2 images; it promises "
                f"feature_dim = {feature_dim}, so [2, {feature_dim}]"
            )


def require_views(method: nn.Module, num_views: int) -> None:
    """Check that there are as many views as the method or its objective compares.

    Raises:
        RunError: There are fewer.
    """
    for part in (method, getattr(method, "objective", None)):
        least: int = getattr(part, "min_views", 1)
        if num_views < least:
            raise RunError(
                f"pretrain.views makes {num_views} {'view' if num_views == 1 else 'views'} of each image, "
                f"{type(part).__name__} compares at least {least}; set num_views = {least}"
            )


def require_shares(method: nn.Module, batch_size: int, micro_batch_size: int | None) -> None:
    """Check that the global batch can be shared by all processes, and cut into micro-batches.

    Raises:
        RunError: It cannot, or the method has no `embed` and `loss`.
    """
    processes = world_size()
    if batch_size < 1 or (micro_batch_size is not None and micro_batch_size < 1):
        raise RunError(f"batch_size = {batch_size}, micro_batch_size = {micro_batch_size}: both count from 1")
    for key, size in (("batch_size", batch_size), ("micro_batch_size", micro_batch_size or processes)):
        if size % processes:
            nearest = size - size % processes or processes
            raise RunError(f"pretrain.{key} = {size} cannot be shared by {processes} processes; set {nearest}")
    if micro_batch_size is None:
        return
    if batch_size % micro_batch_size:
        raise RunError(
            f"pretrain.micro_batch_size = {micro_batch_size} does not divide pretrain.batch_size = {batch_size}"
        )
    if not embeds(method):
        raise RunError(
            f"pretrain.micro_batch_size: {type(method).__name__} has no embed and loss, so its batch cannot be cut; "
            "leave the key out, or share the batch among more processes (--nproc)"
        )


def require_channels(backbone: nn.Module, data: Data, size: int, path: str) -> None:
    """Check that a backbone takes the channels of the images that it is to be evaluated on.

    Args:
        backbone: The module.
        data: With a train split.
        size: Side of the images as they will be fed, pixels.
        path: The data's place in the recipe, for the message.

    Raises:
        RunError: It takes others.
    """
    try:
        image, _ = data.split("train")[0]
    except BadImageError:  # what that means is for the policy to say
        return
    channels = as_uint8(image).shape[0]
    refused = _try(copy.deepcopy(backbone).to("meta").eval(), (channels, size, size))
    if isinstance(refused, Exception) and not isinstance(refused, NotImplementedError):
        raise RunError(f"{path}: its images have {channels} channels, and the backbone does not take those")


def _refusal(meta: nn.Module, shape: Shape, error: Exception) -> MisfitError:
    channels, height, width = shape
    refused = f"pretrain.backbone does not take the views' images of {channels} x {height} x {width}: {one_line(error)}"
    if not isinstance(_try(meta, (_COLOURS, height, width)), Exception):
        advice = f"it takes {_COLOURS} channels; most backbones take others with the option in_channels = {channels}"
        return MisfitError(f"{refused}; {advice}", None)
    if height == width and hasattr(meta, "timm") and hasattr(meta, "patch_embed"):  # a model of timm made for one size
        return MisfitError(f"{refused}; make it for that: pretrain.backbone.timm_options.img_size = {height}", height)
    nearest = " and ".join(str(size) for size in _sizes_that_fit(meta, channels, height))
    advice = f"; the nearest sizes it takes: {nearest} pixels" if nearest else ""
    return MisfitError(refused + advice, height)


def _sizes_that_fit(meta: nn.Module, channels: int, size: int) -> Iterable[int]:
    """Yield the nearest smaller and larger side that the backbone takes."""
    for direction in (-1, 1):
        near = (size + direction * step for step in range(1, 33))
        far = (16 * multiple for multiple in range(1, _LARGEST // 16 + 1))
        beyond = sorted((s for s in far if (s - size) * direction > 32), key=lambda s: abs(s - size))
        for candidate in (*near, *beyond):
            if candidate >= 8 and not isinstance(_try(meta, (channels, candidate, candidate)), Exception):
                yield candidate
                break


def _try(meta: nn.Module, shape: Shape) -> Shape | Exception:
    try:
        with torch.no_grad():
            return tuple(meta(torch.empty((2, *shape), device="meta")).shape)
    except Exception as error:
        return error
