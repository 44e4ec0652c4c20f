"""A backbone as a folder in timm's own form, which the Hugging Face hub shares.

Enters: a backbone that is a timm model, or whose weights are those of one. Leaves: `model.safetensors` and
`config.json`, read back and compared before anything is returned. Called by `timm` and `huggingface_folder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import save_for_hf
from torch import nn

from sslkit import Normalisation, Pretrained, SslkitError, one_line, scaled_side
from sslkit.builtin.exporters.portable import example_images, require_equal


def write_timm_folder(pretrained: Pretrained, target: Path) -> list[Path]:
    """Write the folder and return its files.

    Raises:
        SslkitError: The backbone is no timm model, or does not come back as it was.
    """
    recreated, options = _as_timm(pretrained.backbone)
    recreated.pretrained_cfg = _description(recreated.pretrained_cfg, options, pretrained)
    save_for_hf(recreated, str(target), model_args=options, safe_serialization=True)
    _verify(pretrained, target)
    return [target / "model.safetensors", target / "config.json"]


def how_to_use(pretrained: Pretrained) -> str:
    """Return the code that loads the folder and uses it, for the model card."""
    mean_and_std = _normalisation(pretrained, 3)
    return (
        "import timm\n\n"
        'model = timm.create_model("local-dir:PATH/OF/THIS/FOLDER", pretrained=True).eval()\n'
        f"# images: in [0, 1], then less {list(mean_and_std.mean)}, divided by {list(mean_and_std.std)}\n"
        "features = model(images)"
    )


def _as_timm(backbone: nn.Module) -> tuple[Any, dict[str, Any]]:
    """Return a fresh timm model, on the CPU, with the backbone's weights, and the options it was made with."""
    spec: Any = getattr(backbone, "timm", None)
    if spec is None:
        raise SslkitError(
            f"the backbone {type(backbone).__name__} is no network that timm knows, so it cannot be exported to timm; "
            "builtin.onnx and builtin.pt2 take any: sslkit components exporter"
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
    normalisation = _normalisation(pretrained, channels)
    shape_facts = ("architecture", "first_conv", "classifier", "fixed_input_size")
    return {
        **{key: theirs[key] for key in shape_facts if theirs.get(key) is not None},
        "tag": "sslkit",
        "input_size": (channels, pretrained.input_size, pretrained.input_size),
        "mean": tuple(normalisation.mean),
        "std": tuple(normalisation.std),
        "interpolation": "bicubic",
        "crop_pct": pretrained.input_size / scaled_side(pretrained.input_size, pretrained.central_share),
        "crop_mode": "center",
        "pool_size": None,
        "num_classes": 0,
    }


def _normalisation(pretrained: Pretrained, channels: int) -> Normalisation:
    return pretrained.normalisation or Normalisation((0.0,) * channels, (1.0,) * channels)


def _verify(pretrained: Pretrained, target: Path) -> None:
    images = example_images(pretrained, 2).to(pretrained.device)
    backbone = pretrained.backbone
    was_training = backbone.training
    backbone.eval()
    try:
        loaded = timm.create_model(f"local-dir:{target}", pretrained=True).to(pretrained.device).eval()
        with torch.no_grad():
            expected, found = backbone(images), loaded(images)
    finally:
        backbone.train(was_training)
    require_equal(expected, found, target)
