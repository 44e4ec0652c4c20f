"""A model of timm with the weights that timm offers for it.

Enters: a name as timm lists it, with the tag of its weights. Leaves: the model of `builtin.timm` with those weights,
and what they were trained with. Called by the engine, for recipes and for `weights = "timm:NAME"`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
from torch import nn

from sslkit import PluginError, SslkitError, did_you_mean, one_line
from sslkit.builtin.backbones.timm import timm_backbone

_LOCAL = "local-dir:"


def timm_pretrained(*, model: str) -> nn.Module:
    """Return a timm model with released weights: images [N, 3, h, w] to pooled features [N, D].

    The weights come from the Hugging Face hub, or from its cache on this machine if they were fetched before. Beside
    the attributes that `builtin.timm` gives it, the model has `trained_with`: mean, deviation and input size of its
    weights, which the engine then uses.

    Args:
        model: Name with tag, such as "resnet50.a1_in1k" (see `timm.list_pretrained()`); or "local-dir:PATH" for a
            folder with `config.json`.

    Raises:
        PluginError: There is no such model, or it has no weights.
        SslkitError: They cannot be had, for want of a network perhaps.
    """
    known = timm.list_pretrained()
    architecture = model.partition(".")[0]
    if not model.startswith(_LOCAL) and model not in known and not timm.is_model_pretrained(architecture):
        raise PluginError(f"timm has no weights for {one_line(model)!r}{did_you_mean(model, known)}")
    try:
        pretrained: Any = timm.create_model(model, pretrained=True, num_classes=0)
    except Exception as error:  # timm, the hub's client and the network raise whatever they like
        raise SslkitError(
            f"the weights of timm's {one_line(model)} cannot be had: {one_line(error, 200)}; fetch them where there "
            "is a network, or name a folder that holds them: timm:FOLDER"
        ) from error
    told = pretrained.pretrained_cfg
    backbone = timm_backbone(model=told["architecture"], timm_options=_options(model))
    backbone.load_state_dict(pretrained.state_dict())
    backbone.trained_with = {  # type: ignore[assignment]
        "mean": list(told["mean"]),
        "std": list(told["std"]),
        "input_size": told["input_size"][-1],
    }
    return backbone


def _options(model: str) -> dict[str, Any]:
    """Return the options that a local folder says its model was made with."""
    if not model.startswith(_LOCAL):
        return {}
    config = json.loads((Path(model.removeprefix(_LOCAL)) / "config.json").read_text(encoding="utf-8"))
    given = config.get("model_args") or {}
    return {name: value for name, value in given.items() if name != "num_classes"}
