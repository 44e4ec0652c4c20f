"""The backbone artifact: weights with everything that using them needs.

`backbone.safetensors` has the bare module's keys; `backbone.json` says which component made it, its normalisation,
input size, feature dimension and where it comes from. Called by `run` to write, by `build`, the commands and Python
to load.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

import sslkit
from sslkit.engine.checkpoint import file_sha256
from sslkit.engine.frozen import FrozenModel
from sslkit.engine.interfaces import Normalisation
from sslkit.engine.trees import misfits
from sslkit.errors import PluginError, RunError
from sslkit.faults import fault
from sslkit.registry.discover import Registry
from sslkit.registry.options import call, check_options
from sslkit.run_folder import read_json, write_json
from sslkit.text import one_line

FORMAT: Final = 1
WEIGHTS: Final = "backbone.safetensors"
CARD: Final = "backbone.json"
HEAD: Final = "head.safetensors"

logger = logging.getLogger("sslkit")


def component_card(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return how an artifact names the component that made a module."""
    return {"name": name, "options": dict(options)}


def save_artifact(
    folder: Path,
    model: FrozenModel,
    *,
    backbone: Mapping[str, Any] | None,
    head: Mapping[str, Any] | None = None,
    lineage: Mapping[str, Any] | None = None,
) -> Path:
    """Write a backbone, and its head if it has one, into a folder.

    Args:
        folder: An existing folder.
        model: The weights.
        backbone: The component that made the backbone (`component_card`); None if it was made by hand.
        head: The same of the head.
        lineage: Where the weights come from.

    Returns:
        The path of `backbone.safetensors`.
    """
    path = folder / WEIGHTS
    save_file(_plain_state(model.backbone), path)
    if model.head is not None:
        save_file(_plain_state(model.head), folder / HEAD)
    fault("save_artifact", path=path)
    normalisation = model.normalisation
    card = {
        "format": FORMAT,
        "backbone": backbone,
        "timm": getattr(model.backbone, "timm", None),
        "normalisation": None if normalisation is None else asdict(normalisation),
        "input_size": model.input_size,
        "feature_dim": getattr(model.backbone, "feature_dim", None),
        "head": head if model.head is not None else None,
        "sha256": file_sha256(path),
        "sslkit": sslkit.__version__,
        "torch": torch.__version__,
        "lineage": dict(lineage or {}),
    }
    write_json(folder / CARD, card)
    return path


def load_backbone(
    path: str | Path, *, backbone: nn.Module | None = None, device: str = "cpu", workers: int | None = None
) -> FrozenModel:
    """Load pretrained weights, ready to use: `load_backbone("runs/.../backbone.safetensors")(images)`.

    Args:
        path: A run's folder or its `backbone.safetensors`.
        backbone: For weights of a module made by hand: the same module again.
        device: Where to load it.
        workers: Loader processes when it embeds image files; None chooses.

    Returns:
        A module in eval mode, images [N, C, H, W] in [0, 1] -> features [N, D]; its head is there if it was saved.

    Raises:
        RunError: There are no such weights, or they do not fit exactly.
        PluginError: The plugin that made the backbone is not installed.
    """
    weights = weights_path(Path(path))
    card = _read_card(weights)
    if backbone is None:
        backbone = _rebuilt("backbone", card["backbone"] or _timm_card(card), weights)
    _load_strictly(backbone, weights)
    head = None
    head_path = weights.with_name(HEAD)
    if card.get("head") is not None and head_path.exists():
        head = _rebuilt("head", card["head"], head_path, in_dim=card["feature_dim"])
        _load_strictly(head, head_path)
    return FrozenModel(
        backbone,
        head,
        normalisation=_normalisation(card),
        input_size=card["input_size"],
        device=device,
        workers=workers,
    )


def rebuild_backbone(path: Path) -> nn.Module:
    """Return a fresh, untrained backbone of the kind that some weights belong to."""
    weights = weights_path(path)
    card = _read_card(weights)
    return _rebuilt("backbone", card["backbone"] or _timm_card(card), weights)


def load_into(backbone: nn.Module, path: Path, *, partial: bool = False) -> None:
    """Load a run's or file's backbone weights into a module.

    Args:
        backbone: The module.
        path: A run's folder or a file.
        partial: Load the tensors that fit, and log for each other one why not; else all must fit.

    Raises:
        RunError: A tensor is missing, unknown or of another shape; with `partial`, none fits.
    """
    weights = weights_path(path)
    if partial:
        _load_what_fits(backbone, weights)
        return
    _load_strictly(backbone, weights, "; to load the tensors that fit, set pretrain.partial_weights = true")


def normalisation_of_weights(path: Path) -> tuple[bool, Normalisation | None]:
    """Return whether some weights say with which normalisation they were trained, and which."""
    weights = weights_path(path)
    if not weights.with_name(CARD).exists():
        return False, None
    return True, _normalisation(_read_card(weights))


def weights_path(path: Path) -> Path:
    """Return the weights file of a run's folder, or the file itself.

    Raises:
        RunError: There is none.
    """
    weights = path / WEIGHTS if path.is_dir() else path
    if not weights.is_file():
        raise RunError(f"{weights}: there are no such weights; name a finished run's folder or a {WEIGHTS}")
    return weights


def _normalisation(card: Mapping[str, Any]) -> Normalisation | None:
    declared = card.get("normalisation")
    return None if declared is None else Normalisation(tuple(declared["mean"]), tuple(declared["std"]))


def _read_card(weights: Path) -> dict[str, Any]:
    card = read_json(weights.with_name(CARD))
    if card is None:
        raise RunError(f"{weights.with_name(CARD)} is missing: it says which backbone the weights belong to")
    if card.get("format", 0) > FORMAT:
        raise RunError(f"{weights.with_name(CARD)}: written in format {card['format']} by a newer sslkit")
    return card


def _rebuilt(kind: str, card: Mapping[str, Any] | None, path: Path, **engine: Any) -> nn.Module:
    if card is None:
        raise RunError(f"{path}: its {kind} was made by hand; give the module: load_backbone(path, backbone=module)")
    try:
        name, given = str(card["name"]), dict(card["options"])
    except (LookupError, TypeError, ValueError):
        raise RunError(f"{path.with_name(CARD)}: does not say which component made the {kind}") from None
    # A run keeps copies of the plugin files that its recipe lists. They are code: run for what is theirs only.
    own_plugins = sorted((path.parent / "plugins").glob("*.py")) if name.startswith("local.") else []
    try:
        component = Registry.discover(own_plugins).get(kind, name)
        options, problems = check_options(component, given)
    except PluginError as error:
        raise PluginError(f"{path}: {error}") from None
    if problems:
        raise RunError(f"{path}: {name}: {'.'.join(map(str, problems[0].key))}: {problems[0].reason}")
    module: nn.Module = call(component, options, engine)
    return module


def _timm_card(card: Mapping[str, Any]) -> dict[str, Any] | None:
    timm = card.get("timm")
    if timm is None:
        return None
    return component_card("builtin.timm", {"model": timm["model"], "timm_options": timm["options"]})


def _load_strictly(module: nn.Module, path: Path, advice: str = "") -> None:
    given = _tensors_of(path)
    if wrong := list(misfits(module.state_dict(), given)):
        raise RunError(f"{path} does not fit: {'; '.join(wrong)}{advice}")
    module.load_state_dict(given)


def _load_what_fits(module: nn.Module, path: Path) -> None:
    own, given = module.state_dict(), _tensors_of(path)
    fitting = {name: tensor for name, tensor in given.items() if name in own and tensor.shape == own[name].shape}
    if not fitting:
        raise RunError(f"{path}: not one of its tensors fits; it holds {', '.join(list(given)[:3]) or 'none'}, ...")
    logger.info("%s: %d of %d tensors of the backbone are loaded", path, len(fitting), len(own))
    for name in [name for name in own if name not in fitting]:
        shapes = f"is {list(given[name].shape)}, should be {list(own[name].shape)}" if name in given else "missing"
        logger.info("%s is not loaded: %s", one_line(name), shapes)
    for name in [name for name in given if name not in own]:
        logger.info("%s of the file is left out: unknown", one_line(name))
    module.load_state_dict(fitting, strict=False)


def _tensors_of(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path}: is not a readable safetensors file: {one_line(error)}") from None


def _plain_state(module: nn.Module) -> dict[str, torch.Tensor]:
    # A copy of its own for each: safetensors refuses channels_last and shared memory.
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in module.state_dict().items()}
