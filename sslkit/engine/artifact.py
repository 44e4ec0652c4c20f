"""The backbone artifact: weights with everything that using them needs.

`backbone.safetensors` has the bare module's keys; `backbone.json` says which component made it, its normalisation,
input size, feature dimension and where it comes from. Called by `run` to write, by `weights` to read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from safetensors.torch import save_file
from torch import nn

import sslkit
from sslkit.engine.checkpoint import MODEL, file_sha256
from sslkit.engine.frozen import FrozenModel
from sslkit.engine.interfaces import Normalisation
from sslkit.engine.state_dicts import read_tensors
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


class Artifact(NamedTuple):
    """What was read back.

    Attributes:
        backbone: With its weights.
        head: With its weights, or None.
        normalisation: Applied before the backbone, or None.
        input_size: Side of the images it was trained on, pixels.
    """

    backbone: nn.Module
    head: nn.Module | None
    normalisation: Normalisation | None
    input_size: int


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
    _save(model.backbone, path)
    if model.head is not None:
        _save(model.head, folder / HEAD)
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


def read_artifact(weights: Path, backbone: nn.Module | None = None) -> Artifact:
    """Read a backbone that sslkit wrote, with its head if it was saved.

    Args:
        weights: A `backbone.safetensors` with its card beside it.
        backbone: For weights of a module made by hand: the same module again.

    Raises:
        RunError: The card or a file is damaged, or they do not fit each other.
        PluginError: The plugin that made the backbone is not installed.
    """
    card = read_card(weights)
    if card.get("sha256") not in (None, file_sha256(weights)):
        raise RunError(f"{weights}: is not the file that {CARD} beside it speaks of; bring back the one or the other")
    if backbone is None:
        backbone = rebuilt_backbone(weights)
    _load_strictly(backbone, weights)
    head = None
    head_path = weights.with_name(HEAD)
    if card.get("head") is not None and head_path.exists():
        num_classes = card["head"].get("num_classes")
        head = _rebuilt("head", card["head"], head_path, in_dim=card["feature_dim"], num_classes=num_classes)
        _load_strictly(head, head_path)
    return Artifact(backbone, head, normalisation_of(card), card["input_size"])


def rebuilt_backbone(weights: Path) -> nn.Module:
    """Return a fresh, untrained backbone of the kind that some weights belong to."""
    card = read_card(weights)
    return _rebuilt("backbone", card["backbone"] or _timm_card(card), weights)


def weights_path(path: Path) -> Path:
    """Return the weights file of a run's folder or of a checkpoint's, or the file itself.

    Raises:
        RunError: There is none.
    """
    weights = path / WEIGHTS if path.is_dir() else path
    if weights.is_file():
        return weights
    for folder in (path, *sorted((path / "checkpoints").glob("step-*"), reverse=True)):
        if (folder / MODEL).is_file():
            if folder == path:
                return folder / MODEL
            raise RunError(
                f"{weights}: there are no such weights, for the run is not finished; go on with it, or take those of "
                f"{folder}, saying which backbone they belong to"
            )
    raise RunError(f"{weights}: there are no such weights; name a finished run's folder or a weights file")


def says_which(card: Mapping[str, Any]) -> bool:
    """Return whether a card names the backbone's component; one made by hand has none."""
    return bool(card["backbone"] or _timm_card(card))


def has_card(weights: Path) -> bool:
    """Return whether a weights file says itself which backbone it belongs to."""
    return weights.name == WEIGHTS and weights.with_name(CARD).exists()


def normalisation_of(card: Mapping[str, Any]) -> Normalisation | None:
    """Return the normalisation that a card names."""
    declared = card.get("normalisation")
    return None if declared is None else Normalisation(tuple(declared["mean"]), tuple(declared["std"]))


def read_card(weights: Path) -> dict[str, Any]:
    """Return what stands beside a weights file that sslkit wrote.

    Raises:
        RunError: It is missing, damaged or of a newer sslkit.
    """
    path = weights.with_name(CARD)
    card = read_json(path)
    if card is None:
        raise RunError(f"{path} is missing: it says which backbone the weights belong to")
    version = card.get("format", 0)
    if isinstance(version, int) and version > FORMAT:
        raise RunError(f"{path}: written in format {version} by a newer sslkit")
    for key, is_sound in _SOUND.items():
        if not is_sound(card.get(key)):
            raise RunError(f"{path}: {key} is damaged: {one_line(card.get(key), 100)}; bring back the file as it was")
    return card


def _is_component(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict) and isinstance(value.get("name"), str) and isinstance(value.get("options"), dict)
    )


def _is_timm(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict) and isinstance(value.get("model"), str) and isinstance(value.get("options"), dict)
    )


def _is_normalisation(value: Any) -> bool:
    if value is None:
        return True
    lists = [value.get("mean"), value.get("std")] if isinstance(value, dict) else [None, None]
    return all(isinstance(each, list) and each and all(isinstance(x, float | int) for x in each) for each in lists)


_SOUND: Final[dict[str, Callable[[Any], bool]]] = {
    "format": lambda value: isinstance(value, int),
    "backbone": _is_component,
    "timm": _is_timm,
    "normalisation": _is_normalisation,
    "input_size": lambda value: isinstance(value, int) and value > 0,
    "head": _is_component,
}


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


def _load_strictly(module: nn.Module, path: Path) -> None:
    given = read_tensors(path)
    if wrong := list(misfits(module.state_dict(), given)):
        raise RunError(f"{path} does not fit: {'; '.join(wrong)}")
    module.load_state_dict(given)


def _save(module: nn.Module, path: Path) -> None:
    temporary = path.with_name(f".tmp-{path.name}")
    save_file(_plain_state(module), temporary)
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)  # safetensors keeps its files to their owner
    temporary.replace(path)


def _plain_state(module: nn.Module) -> dict[str, torch.Tensor]:
    # A copy of its own for each: safetensors refuses channels_last and shared memory.
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in module.state_dict().items()}
