"""Checkpoints that survive a kill at any moment, and are never half of anything.

A checkpoint is a folder: `model.safetensors`, `optimizer.safetensors`, `callbacks.safetensors`, `state.json`, and a
`MANIFEST.json` with size and SHA-256 of each. It is written beside its final place, flushed, and renamed; nothing is
ever unpickled. Enters and leaves: trees of tensors and JSON scalars. Called by `pretrain` and `run`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sslkit.errors import RunError
from sslkit.run_folder import fsync_folder, write_json
from sslkit.text import one_line

FORMAT: Final = 1
KEEP: Final = 2
_PARTS: Final = ("model", "optimizer", "callbacks")

logger = logging.getLogger("sslkit")


def save_checkpoint(folder: Path, step: int, parts: Mapping[str, Any], state: Mapping[str, Any]) -> Path:
    """Write a checkpoint and delete all but the newest two.

    Args:
        folder: The run's `checkpoints` folder.
        step: Steps done.
        parts: Trees of tensors and JSON scalars for `model`, `optimizer` and `callbacks`.
        state: JSON values: what else a resumed run needs or compares.

    Returns:
        The checkpoint's folder, `step-00001000`.

    Raises:
        RunError: It could not be written; older checkpoints are untouched.
    """
    final = folder / f"step-{step:08d}"
    temporary = folder / f".tmp-{step:08d}-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        temporary.mkdir()
        skeletons = {}
        for name in _PARTS:
            tensors, skeletons[name] = flatten(parts.get(name, {}))
            save_file(tensors, temporary / f"{name}.safetensors")
        write_json(temporary / "state.json", {"step": step, "trees": skeletons, **state})
        files = sorted(path for path in temporary.iterdir())
        manifest = {
            "format": FORMAT,
            "step": step,
            "torch": torch.__version__,
            "files": {path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in files},
        }
        write_json(temporary / "MANIFEST.json", manifest)
        for path in files:
            _fsync_file(path)
        fsync_folder(temporary)
        if final.exists():  # a resumed run reached the step again
            shutil.rmtree(final)
        temporary.rename(final)
        fsync_folder(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = getattr(error, "strerror", None) or one_line(error)
        needed = sum(tensor.nbytes for tensor in _tensors(parts))
        raise RunError(
            f"{final}: the checkpoint could not be written ({reason}); it needs "
            f"{needed / 2**20:.0f} MiB; older checkpoints are untouched"
        ) from error
    _retire(folder)
    return final


def load_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return (parts, state) of the newest checkpoint that is whole, or None if there has been none.

    One whose manifest does not hold is renamed `*.corrupt` and said so.

    Raises:
        RunError: There are checkpoints, but none is whole: starting from step 0 would hide that.
    """
    found = sorted(folder.glob("step-????????"), reverse=True)
    for path in found:
        _require_readable(path)
        reason = fault_of(path)
        if reason is None:
            state = json.loads((path / "state.json").read_text())
            trees = state.pop("trees")
            parts = {name: unflatten(trees[name], load_file(path / f"{name}.safetensors")) for name in _PARTS}
            return parts, state
        corrupt = path.with_suffix(".corrupt")
        shutil.rmtree(corrupt, ignore_errors=True)
        path.rename(corrupt)
        logger.warning("checkpoint %s is not whole (%s); renamed to %s", path.name, reason, corrupt.name)
    if found or any(folder.glob("step-*.corrupt")):
        raise RunError(f"{folder}: no checkpoint is whole; start again in a new folder, or restore one from a backup")
    return None


def _require_readable(path: Path) -> None:
    """Tell a checkpoint that cannot be read here, and is left alone, from one that is broken.

    Raises:
        RunError: A newer sslkit wrote it, or the system refuses to read it.
    """
    try:
        written_in = json.loads((path / "MANIFEST.json").read_text())["format"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    if written_in > FORMAT:
        raise RunError(f"{path}: written in format {written_in} by a newer sslkit; continue with that one")


def fault_of(path: Path) -> str | None:
    """Return what is wrong with a checkpoint's folder, or None if every file is as its manifest says."""
    try:
        manifest = json.loads((path / "MANIFEST.json").read_text())
        expected = manifest["files"]
        for name, entry in expected.items():
            if (path / name).stat().st_size != entry["bytes"]:
                return f"{name} has another size"
            if file_sha256(path / name) != entry["sha256"]:
                return f"{name} has other bytes"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return one_line(error)
    missing = {f"{name}.safetensors" for name in _PARTS} - set(expected)
    return f"{min(missing)} is missing" if missing else None


def optimizer_tree(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Any]:
    """Return the optimizer's state by parameter name; parameters never stepped have none.

    Rates are not in it: they are pure functions of the step.
    """
    names: dict[Tensor, str] = {parameter: name for name, parameter in module.named_parameters()}
    return {names[parameter]: dict(state) for parameter, state in optimizer.state.items() if state}


def load_optimizer_tree(optimizer: torch.optim.Optimizer, module: nn.Module, tree: Mapping[str, Any]) -> None:
    """Put back what `optimizer_tree` returned."""
    parameters = dict(module.named_parameters())
    for name, state in tree.items():
        parameter = parameters[name]
        # A 0-dimensional entry is a step count, which torch's foreach optimizers keep on the host.
        optimizer.state[parameter] = {
            key: _like(parameter, value) if isinstance(value, Tensor) and value.ndim else value
            for key, value in state.items()
        }


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """Return a value where its parameter is, in its memory format, without which foreach goes one by one."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def flatten(tree: Any) -> tuple[dict[str, Tensor], Any]:
    """Split a tree into its tensors by path and a JSON skeleton that says where they belong."""
    tensors: dict[str, Tensor] = {}

    def walk(node: Any, path: str) -> Any:
        if isinstance(node, Tensor):
            # Contiguous and a copy of its own: safetensors refuses channels_last and shared memory.
            tensors[path] = node.detach().to("cpu", copy=True).contiguous()
            return {"tensor": path}
        if isinstance(node, Mapping):
            return {"table": {str(key): walk(value, f"{path}/{key}") for key, value in node.items()}}
        if isinstance(node, list | tuple):
            return {"list": [walk(value, f"{path}/{number}") for number, value in enumerate(node)]}
        if node is None or isinstance(node, bool | int | float | str):
            return {"value": node}
        raise RunError(f"state {path or '/'}: {type(node).__name__} is neither a tensor nor a JSON scalar")

    return tensors, walk(tree, "")


def unflatten(skeleton: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    """Put a tree back together."""
    ((kind, content),) = skeleton.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "table":
        return {key: unflatten(value, tensors) for key, value in content.items()}
    if kind == "list":
        return [unflatten(value, tensors) for value in content]
    return content


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tensors(tree: Any) -> list[Tensor]:
    return list(flatten(dict(tree))[0].values())


def _retire(folder: Path) -> None:
    """Delete old checkpoints once the newest has been read back and is whole."""
    found = sorted(folder.glob("step-????????"), reverse=True)
    reason = fault_of(found[0])
    if reason is not None:
        raise RunError(f"{found[0]}: the checkpoint just written is not whole ({reason}); older ones are kept")
    for old in found[KEEP:]:
        try:
            shutil.rmtree(old)
        except OSError as error:
            logger.warning("the old checkpoint %s could not be deleted: %s", old, error.strerror)


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob(".tmp-*"):
        shutil.rmtree(path, ignore_errors=True)


def _fsync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
