"""Any model of timm as a backbone.

Enters: a model's name and the options that timm gives it. Leaves: the timm model itself, with pooled features
and without a classifier, so that its weights are plain timm weights. Called by the engine when it builds a run
and when it loads a backbone artifact. Beside the exporters, the only file that imports timm.
"""

from __future__ import annotations

import inspect
import re
from typing import Annotated, Any

import timm
import torch
from annotated_types import Ge
from torch import nn

from sslkit import PluginError, did_you_mean, one_line

# What would load weights (some of them unpickled), leave the backbone's contract, or be given twice.
_REFUSED = {
    "pretrained": "weights are named by the recipe's key `weights`",
    "checkpoint_path": "weights are named by the recipe's key `weights`",
    "pretrained_cfg": "weights are named by the recipe's key `weights`",
    "pretrained_cfg_overlay": "weights are named by the recipe's key `weights`",
    "cache_dir": "nothing is downloaded",
    "pretrained_strict": "weights are named by the recipe's key `weights`",
    "kwargs_filter": "it would drop other options without a word",
    "num_classes": "a backbone has no classifier",
    "features_only": "a backbone returns one vector per image",
    "out_indices": "a backbone returns one vector per image",
    "device": "where a run computes is the flag --device",
    "dtype": "use the recipe's key pretrain.precision",
}


def timm_backbone(
    *,
    model: str,
    timm_options: dict[str, Any] = {},  # noqa: B006 - never written to; a recipe's default has to be a value
    in_channels: Annotated[int, Ge(1)] = 3,
) -> nn.Module:
    """Return a timm model with random weights: images [N, C, h, w] to pooled features [N, D].

    The model gets two plain attributes: `feature_dim`, D, found by passing shapes through it, and `timm`, a
    dict with `model` and `options` for which `timm.create_model(model, num_classes=0, **options)` takes its
    weights strictly.

    Args:
        model: Name in timm, such as "resnet18"; tags of released weights are not part of it.
        timm_options: Table of options that timm hands to the model, such as {drop_path_rate = 0.1}.
        in_channels: Channels of an image; timm's own word for it, timm_options.in_chans, is understood too.

    Raises:
        PluginError: For an unknown model, an unknown or refused option, or features that are not [N, D].
    """
    known = timm.list_models()
    if model not in known:
        tag = "; leave the tag behind the dot out" if model.partition(".")[0] in known else did_you_mean(model, known)
        raise PluginError(f"timm has no model {one_line(model)!r}{tag}")
    for name in timm_options:
        if name in _REFUSED:
            raise PluginError(f"timm_options.{name} is not possible: {_REFUSED[name]}")
    options = dict(timm_options) if in_channels == 3 else {"in_chans": in_channels, **timm_options}
    if in_channels != 3 and options["in_chans"] != in_channels:
        raise PluginError(
            f"in_channels is {in_channels}, but timm_options.in_chans is {options['in_chans']}; leave one of them out"
        )
    backbone = _create(model, options)
    try:
        features = _features_of_shapes(backbone, options.get("in_chans", 3))
    except Exception as error:  # an option of the wrong type may show here only
        raise _refusal(model, options, error) from error
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        raise PluginError(
            f"timm's {model} with these timm_options does not pool its features to one vector per image; "
            "leave global_pool out, or set it to a pooling that the model has"
        )
    # timm's `num_features` is the width before the last layers of some families (MobileNetV3: 960, not 1280),
    # and pooling options change it (`catavgmax` doubles it).
    backbone.feature_dim = features.shape[1]  # type: ignore[assignment]
    # A plain dict: exporters and the backbone artifact write it down as it is.
    backbone.timm = {"model": model, "options": options}  # type: ignore[assignment]
    return backbone


def _create(model: str, options: dict[str, Any]) -> nn.Module:
    try:
        backbone: nn.Module = timm.create_model(model, pretrained=False, num_classes=0, **options)
    except Exception as error:  # timm's models check their options by whatever comes up
        unknown = re.search(r"unexpected keyword argument(?:\(s\))?\W+(\w+)", str(error))
        if isinstance(error, TypeError) and unknown:
            near = did_you_mean(unknown[1], _option_names(model))
            raise PluginError(f"timm's {model} has no option {unknown[1]!r} (in timm_options){near}") from None
        raise _refusal(model, options, error) from error
    return backbone


def _refusal(model: str, options: dict[str, Any], error: Exception) -> PluginError:
    given = ", ".join(options) or "none"
    return PluginError(f"timm cannot build {model} with the options {given}: {type(error).__name__}: {one_line(error)}")


def _option_names(model: str) -> set[str]:
    with torch.device("meta"):
        default = timm.create_model(model, pretrained=False, num_classes=0)
    return set(inspect.signature(type(default).__init__).parameters) - {"self", *_REFUSED}


def _features_of_shapes(backbone: nn.Module, in_channels: int) -> Any:
    """Return what the model makes of two images without numbers, on torch's meta device: no cost, no copy."""
    tensors = {name: tensor.to("meta") for name, tensor in [*backbone.named_parameters(), *backbone.named_buffers()]}
    was_training = backbone.training
    backbone.eval()
    with torch.no_grad():
        images = torch.empty(2, in_channels, *_image_size(backbone), device="meta")
        features = torch.func.functional_call(backbone, tensors, (images,))
    backbone.train(was_training)
    return features


def _image_size(backbone: nn.Module) -> tuple[int, int]:
    """Return a size of images that the model takes, (height, width): its own where the model fixes it."""
    fixed = getattr(getattr(backbone, "patch_embed", None), "img_size", None)
    if isinstance(fixed, (tuple, list)) and len(fixed) == 2:
        return int(fixed[0]), int(fixed[1])
    _, height, width = getattr(backbone, "pretrained_cfg", {}).get("input_size", (3, 224, 224))
    return height, width
