"""The backbone artifact: weights with everything that using them needs.

`backbone.safetensors` has the bare module's keys; `backbone.json` says which component made it, its normalisation,
input size, feature dimension and where it comes from. Called by `run` to write, by `build`, the commands and Python
to load.
"""

from __future__ import annotations

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
from sslkit.errors import PluginError, RunError
from sslkit.registry.discover import Registry
from sslkit.registry.options import call, check_options
from sslkit.run_folder import read_json, write_json
from sslkit.text import one_line

FORMAT: Final = 1
WEIGHTS: Final = "backbone.safetensors"
CARD: Final = "backbone.json"
HEAD: Final = "head.safetensors"


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


def load_into(backbone: nn.Module, path: Path) -> None:
    """Load a run's or file's backbone weights into a module, strictly.

    Raises:
        RunError: A tensor is missing, unexpected or of another shape.
    """
    _load_strictly(backbone, weights_path(path))


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
        # A run keeps copies of the plugin files that its recipe lists.
        own_plugins = sorted((path.parent / "plugins").glob("*.py"))
        component = Registry.discover(own_plugins).get(kind, card["name"])
        options, problems = check_options(component, card["options"])
    except PluginError as error:
        raise PluginError(f"{path}: {error}") from None
    if problems:
        raise RunError(f"{path}: {card['name']}: {'.'.join(map(str, problems[0].key))}: {problems[0].reason}")
    module: nn.Module = call(component, options, engine)
    return module


def _timm_card(card: Mapping[str, Any]) -> dict[str, Any] | None:
    timm = card.get("timm")
    if timm is None:
        return None
    return component_card("builtin.timm", {"model": timm["model"], "timm_options": timm["options"]})


def _load_strictly(module: nn.Module, path: Path) -> None:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path}: is not a readable safetensors file: {one_line(error)}") from None
    own = module.state_dict()
    missing = sorted(own.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - own.keys())
    reshaped = [
        f"{name} is {list(tensors[name].shape)}, the module's is {list(own[name].shape)}"
        for name in sorted(own.keys() & tensors.keys())
        if own[name].shape != tensors[name].shape
    ]
    faults = [
        *([f"{len(missing)} tensors are missing, first {missing[0]}"] if missing else []),
        *([f"{len(unexpected)} are unexpected, first {unexpected[0]}"] if unexpected else []),
        *([f"{len(reshaped)} have another shape, first {reshaped[0]}"] if reshaped else []),
    ]
    if faults:
        raise RunError(f"{path} does not fit the backbone: {'; '.join(faults)}")
    module.load_state_dict(tensors)


def _plain_state(module: nn.Module) -> dict[str, torch.Tensor]:
    # A copy of its own for each: safetensors refuses channels_last and shared memory.
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in module.state_dict().items()}
