"""A pretrained backbone as a folder that timm loads by itself, without sslkit.

Enters: a backbone that is a timm model, or whose weights are those of one. Leaves: `timm/model.safetensors` and
`timm/config.json`, read back and compared before anything is returned. Called by the engine for each
`[[export]]` table that names it, and by `sslkit export`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import save_for_hf
from torch import nn

from sslkit import Exporter, Normalisation, Pretrained, SslkitError, one_line

_FOLDER = "timm"
# Two libraries order the same sums alike on one device; what is left is memory layout.
_TOLERANCE = 1e-5


def export_timm() -> Exporter:
    """Return the exporter: writes the folder `timm` and says which files are in it.

    The folder is loaded by `timm.create_model("local-dir:PATH/timm", pretrained=True)`, which returns features
    [N, D]. `config.json` carries the mean and deviation that the backbone was trained with (0 and 1 where images
    were only scaled to [0, 1]) and the input size, and none of the claims (licence, paper, ImageNet classes) of
    the weights that timm itself offers under the architecture's name.
    """

    def write(pretrained: Pretrained, folder: Path) -> list[Path]:
        """Write the folder.

        Raises:
            SslkitError: If the backbone is no timm model, or does not come back as it was.
        """
        recreated, options = _as_timm(pretrained.backbone)
        recreated.pretrained_cfg = _description(recreated.pretrained_cfg, options, pretrained)
        target = Path(folder) / _FOLDER
        save_for_hf(recreated, str(target), model_args=options, safe_serialization=True)
        _verify(pretrained, target)
        return [target / "model.safetensors", target / "config.json"]

    return write


def _as_timm(backbone: nn.Module) -> tuple[Any, dict[str, Any]]:
    """Return a fresh timm model, on the CPU, with the backbone's weights, and the options it was made with."""
    spec: Any = getattr(backbone, "timm", None)
    if spec is None:
        raise SslkitError(
            f"the backbone {type(backbone).__name__} is no timm model, so it cannot be exported to timm; "
            "use another exporter: sslkit components exporter"
        )
    try:
        model = timm.create_model(spec["model"], pretrained=False, num_classes=0, **spec["options"])
        model.load_state_dict({name: tensor.detach().cpu() for name, tensor in backbone.state_dict().items()})
    except (TypeError, RuntimeError) as error:
        raise SslkitError(
            f"timm's {spec['model']} does not take the weights of this backbone: {one_line(error)}"
        ) from error
    return model.eval(), dict(spec["options"])


def _description(theirs: Mapping[str, Any], options: Mapping[str, Any], pretrained: Pretrained) -> dict[str, Any]:
    """Return timm's `pretrained_cfg`: its facts about the architecture's shape, and ours about the weights."""
    channels = options.get("in_chans", theirs["input_size"][0])
    normalisation = pretrained.normalisation or Normalisation((0.0,) * channels, (1.0,) * channels)
    shape_facts = ("architecture", "first_conv", "classifier", "fixed_input_size")
    return {
        **{key: theirs[key] for key in shape_facts if theirs.get(key) is not None},
        "tag": "sslkit",
        "input_size": (channels, pretrained.input_size, pretrained.input_size),
        "mean": tuple(normalisation.mean),
        "std": tuple(normalisation.std),
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "pool_size": None,
        "num_classes": 0,
    }


def _verify(pretrained: Pretrained, target: Path) -> None:
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    channels, height, width = config["pretrained_cfg"]["input_size"]
    images = torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(0))
    images = images.to(pretrained.device)
    backbone = pretrained.backbone
    was_training = backbone.training
    backbone.eval()
    try:
        loaded = timm.create_model(f"local-dir:{target}", pretrained=True).to(pretrained.device).eval()
        with torch.no_grad():
            expected, found = backbone(images), loaded(images)
    finally:
        backbone.train(was_training)
    # `not <=` rather than `>`: a difference that is not a number is a difference.
    if expected.shape != found.shape or not float((expected - found).abs().max()) <= _TOLERANCE * (
        1.0 + float(expected.abs().max())
    ):
        raise SslkitError(
            f"the backbone read back from {target} gives other features than the one written; do not use the "
            "folder, and report this with the recipe"
        )
