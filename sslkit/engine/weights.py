"""Weights from anywhere, ready to be measured or to start from.

Enters: a run, a backbone artifact, a state dict, a timm model by name, or "random". Leaves: a `FrozenModel`, or a
module that holds the weights. Normalisation and input size come with the weights; what contradicts them is refused.
Called by `build`, the commands and Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from torch import nn

from sslkit.engine.artifact import (
    has_card,
    normalisation_of,
    read_artifact,
    read_card,
    rebuilt_backbone,
    save_artifact,
    says_which,
    weights_path,
)
from sslkit.engine.checkpoint import file_sha256
from sslkit.engine.frozen import FrozenModel
from sslkit.engine.interfaces import Normalisation
from sslkit.engine.state_dicts import load_tables, load_weights
from sslkit.errors import RunError
from sslkit.recipe.merge import RANDOM, TIMM
from sslkit.recipe.plan import Recipe
from sslkit.registry.discover import Registry

_IF_PARTIAL: Final = "; to load the tensors that fit, set {key} = true"


def load_backbone(
    weights: str | Path,
    *,
    backbone: nn.Module | None = None,
    normalisation: Normalisation | None = None,
    input_size: int | None = None,
    partial: bool = False,
    device: str = "cpu",
    workers: int | None = None,
) -> FrozenModel:
    """Load weights, ready to use: `load_backbone("runs/.../backbone.safetensors")(images)`.

    Args:
        weights: A run's folder or its `backbone.safetensors`; any other safetensors or torch file that holds a state
            dict, which needs `backbone`; "timm:NAME" for a model that timm offers with weights, or a folder that timm
            or a Hugging Face exporter wrote; "random" for `backbone` as it is. Of a run whose backbone came from a
            plugin file, the copy in its folder is run.
        backbone: The module that the weights belong to. Not needed where they say it themselves.
        normalisation: What the backbone was trained with, where the weights do not say.
        input_size: Side of the images it is fed, pixels, where the weights do not say.
        partial: Load the tensors that fit and log the others; else all must fit.
        device: Where to load it.
        workers: Loader processes when it embeds image files; None chooses.

    Returns:
        A module in eval mode, images [N, C, H, W] in [0, 1] -> features [N, D]; its head is there if it was saved.

    Raises:
        RunError: There are no such weights, they do not fit, or what is given contradicts what they say.
        PluginError: The plugin that made the backbone is not installed.
    """
    source = None
    if (name := timm_name(weights)) is not None:
        backbone = _timm(name)
    elif str(weights) != RANDOM:
        path = weights_path(Path(weights))
        if has_card(path):
            artifact = read_artifact(path, backbone)
            model = FrozenModel(
                artifact.backbone,
                artifact.head,
                normalisation=_same(str(path), "normalisation", artifact.normalisation, normalisation),
                input_size=_same(str(path), "input_size", artifact.input_size, input_size),
                device=device,
                workers=workers,
            )
            model.source = path.parent
            return model
        source = path.parent
        load_weights(_required(backbone, path), path, partial=partial, advice=_IF_PARTIAL.format(key="partial_weights"))
    backbone = _required(backbone, weights)
    told = trained_with(backbone) if str(weights) == RANDOM or name is not None else {}
    if told:
        normalisation = _same(str(weights), "normalisation", told["normalisation"], normalisation)
        input_size = _same(str(weights), "input_size", told["input_size"], input_size)
    if input_size is None:
        raise RunError(
            f"{weights}: nothing says for which images it was trained; say it: backbone.input_size=224, or "
            "load_backbone(..., input_size=224)"
        )
    model = FrozenModel(backbone, normalisation=normalisation, input_size=input_size, device=device, workers=workers)
    model.source = source
    return model


def save_backbone(model: FrozenModel, folder: str | Path) -> Path:
    """Write what `pretrain` returned, for `load_backbone` to bring back: `backbone.safetensors` and a card beside it.

    Args:
        model: The weights, with their normalisation and input size.
        folder: Where to write; made if it is not there.

    Returns:
        The path of `backbone.safetensors`. A backbone of `timm_backbone` loads from it alone; for any other,
        `load_backbone` is given the same module again.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return save_artifact(folder, model, backbone=None)


def load_into(backbone: nn.Module, weights: str | Path, *, partial: bool = False) -> None:
    """Load weights to start from into a module.

    Args:
        backbone: The module.
        weights: As of `load_backbone`, but for "random".
        partial: Load the tensors that fit, and log the others; else all must fit.

    Raises:
        RunError: A tensor is missing, unknown or of another shape; with `partial`, none fits.
    """
    advice = _IF_PARTIAL.format(key="pretrain.partial_weights")
    if (name := timm_name(weights)) is None:
        load_weights(backbone, weights_path(Path(weights)), partial=partial, advice=advice)
        return
    load_tables(backbone, {"": _timm(name).state_dict()}, str(weights), partial=partial, advice=advice)


def normalisation_of_weights(weights: str | Path) -> tuple[bool, Normalisation | None]:
    """Return whether some weights say with which normalisation they were trained, and which."""
    if (name := timm_name(weights)) is not None:
        return True, trained_with(_timm(name))["normalisation"]
    path = weights_path(Path(weights))
    return (True, normalisation_of(read_card(path))) if has_card(path) else (False, None)


def untrained_like(weights: str | Path) -> nn.Module | None:
    """Return a fresh backbone of the kind that some weights belong to; None if they do not say which."""
    if (name := timm_name(weights)) is not None:
        spec: Any = _timm(name).timm
        return _built("builtin.timm", model=spec["model"], timm_options=spec["options"])
    if str(weights) == RANDOM:
        return None
    path = weights_path(Path(weights))
    return rebuilt_backbone(path) if has_card(path) and says_which(read_card(path)) else None


def weights_sha256(recipe: Recipe) -> str | None:
    """Return the hash of the file that a recipe evaluates; None if it names no file."""
    if recipe.weights is None or recipe.weights == RANDOM or timm_name(recipe.weights) is not None:
        return None
    return file_sha256(weights_path(Path(recipe.weights)))


def timm_name(weights: str | Path) -> str | None:
    """Return by which name timm knows some weights, or None if they are not timm's.

    A folder in timm's form, with `config.json`, counts as well.
    """
    text = str(weights)
    if text.startswith(TIMM):
        rest = text.removeprefix(TIMM)
        return f"local-dir:{rest}" if Path(rest).is_dir() else rest
    folder = Path(weights)
    if folder.is_dir() and (folder / "config.json").is_file() and not (folder / "backbone.json").exists():
        return f"local-dir:{folder}"
    return None


def trained_with(backbone: nn.Module) -> dict[str, Any]:
    """Return `normalisation` and `input_size` of a backbone that brings its weights along; empty for others."""
    told: Mapping[str, Any] | None = getattr(backbone, "trained_with", None)
    if told is None:
        return {}
    normalisation = Normalisation(tuple(told["mean"]), tuple(told["std"]))
    changes_nothing = set(normalisation.mean) == {0.0} and set(normalisation.std) == {1.0}
    return {"normalisation": None if changes_nothing else normalisation, "input_size": told["input_size"]}


def _timm(name: str) -> nn.Module:
    return _built("builtin.timm_pretrained", model=name)


def _built(name: str, **options: Any) -> nn.Module:
    module: nn.Module = Registry.discover().get("backbone", name).load()(**options)
    return module


def _required(backbone: nn.Module | None, weights: str | Path) -> nn.Module:
    if backbone is None:
        raise RunError(
            f"{weights}: says not which backbone it belongs to; name it in the recipe's [backbone] table, or give the "
            "module: load_backbone(path, backbone=module)"
        )
    return backbone


def _shown(value: Any) -> str:
    if isinstance(value, Normalisation):
        return f"mean {list(value.mean)}, std {list(value.std)}"
    return "none" if value is None else str(value)


def _same(weights: str, name: str, told: Any, declared: Any) -> Any:
    """Return what the weights say, refusing a declaration that says otherwise."""
    if declared is not None and declared != told:
        raise RunError(
            f"{name} is declared as {_shown(declared)}, but {weights} was trained with {_shown(told)}; leave it out"
        )
    return told
