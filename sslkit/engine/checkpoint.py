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
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import sslkit
from sslkit.engine.trees import first_not_finite, flatten, num_bytes, unflatten
from sslkit.errors import NonFiniteError, RunError
from sslkit.faults import fault
from sslkit.run_folder import checkpoint_steps, fsync_folder, write_json
from sslkit.text import one_line

FORMAT: Final = 2
"""Of what is written. 1, which is read as well, had no digest of the manifest itself."""

KEEP: Final = 2
"""How many checkpoints stay: the newest, and the one to fall back to."""

MODEL: Final = "model.safetensors"
"""The weights of a checkpoint: the method's whole state, names beginning with a slash."""

_PARTS: Final = ("model", "optimizer", "callbacks")
_MANIFEST: Final = "MANIFEST.json"

logger = logging.getLogger("sslkit")


def save_checkpoint(
    folder: Path,
    step: int,
    parts: Mapping[str, Any],
    state: Mapping[str, Any],
    *,
    plugins: Mapping[str, str] | None = None,
    infinite: Collection[str] = (),
) -> Path:
    """Write a checkpoint, read it back, and delete all but the newest two.

    Args:
        folder: The run's `checkpoints` folder.
        step: Steps done. If a whole checkpoint of that step is there, it stays: the same step is the same state.
        parts: Trees of tensors and JSON scalars for `model`, `optimizer` and `callbacks`.
        state: JSON values: what else a resumed run needs or compares.
        plugins: Version of each distribution that the run uses.
        infinite: Names of tensors of the model that need not be finite.

    Returns:
        The checkpoint's folder, `step-00001000`.

    Raises:
        NonFiniteError: A tensor of the model or optimizer is not finite; nothing was written.
        RunError: It could not be written; older checkpoints are untouched.
    """
    final = folder / f"step-{step:08d}"
    temporary = folder / f".tmp-{step:08d}-{os.getpid()}"
    if fault_of(final) is None:
        return final
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        temporary.mkdir()
        _write(temporary, step, parts, state, plugins or {}, infinite)
        if final.exists():  # and is not whole
            shutil.rmtree(final)
        fault("checkpoint.before_rename", step=step, path=temporary / "model.safetensors")
        temporary.rename(final)
        fsync_folder(folder)
        fault("checkpoint.after_rename", step=step, path=final / "model.safetensors")
    except NonFiniteError as error:
        raise NonFiniteError(f"{final}: not saved: {error}; {last_good(folder)}") from None
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise RunError(
            f"{final}: the checkpoint could not be written ({reason}); it needs "
            f"{num_bytes(parts) / 2**20:,.1f} MiB; older checkpoints are untouched"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _retire(folder, step, final)
    return final


def _write(
    folder: Path,
    step: int,
    parts: Mapping[str, Any],
    state: Mapping[str, Any],
    plugins: Mapping[str, str],
    infinite: Collection[str],
) -> None:
    skeletons = {}
    for name in _PARTS:
        tensors, skeletons[name] = flatten(parts.get(name, {}))
        judged = {path: tensor for path, tensor in tensors.items() if path.removeprefix("/") not in infinite}
        if name != "callbacks" and (bad := first_not_finite(judged)) is not None:
            raise NonFiniteError(f"{name}{bad} is not finite at step {step:,}")
        save_file(tensors, folder / f"{name}.safetensors")
        if name == _PARTS[0]:
            fault("checkpoint.write", step=step)
    write_json(folder / "state.json", {"step": step, "trees": skeletons, **state})
    files = sorted(folder.iterdir())
    manifest = {
        "format": FORMAT,
        "step": step,
        "sslkit": sslkit.__version__,
        "torch": torch.__version__,
        "plugins": dict(plugins),
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in files},
    }
    fault("checkpoint.before_manifest", step=step, path=folder / "model.safetensors")
    write_json(folder / _MANIFEST, manifest | {"sha256": _digest(manifest)})
    for path in files:
        shutil.copymode(folder / "state.json", path)  # safetensors' files are for their owner only, whatever the umask
        _fsync_file(path)
    fsync_folder(folder)


def choose_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that is whole, or None if there has been none. Only the first rank may call it.

    One whose manifest does not hold is renamed `*.corrupt` and said so.

    Raises:
        RunError: There are checkpoints, but none is whole: starting from step 0 would hide that. Or the newest was
            written by a newer sslkit, or the system refuses to read it: nothing is renamed then.
    """
    found = checkpoint_steps(folder).values()
    for path in found:
        reason = fault_of(path)
        if reason is None:
            _require_known_format(path)
            return path
        _set_aside(path, reason)
    if found or any(folder.glob("step-*.corrupt")):
        raise RunError(f"{folder}: no checkpoint is whole; start again in a new folder, or restore one from a backup")
    return None


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (parts, state) of a checkpoint that `choose_checkpoint` has found whole.

    Raises:
        RunError: What lies there was never a checkpoint, however well its sums agree.
    """
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        trees = state.pop("trees")
        parts = {name: unflatten(trees[name], load_file(path / f"{name}.safetensors")) for name in _PARTS}
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"{path}: holds no state of a run: {type(error).__name__}: {one_line(error)}") from None
    return parts, state


def last_good(folder: Path) -> str:
    """Say which checkpoint is the newest whole one, for the message of an error."""
    whole = (path for path in checkpoint_steps(folder).values() if fault_of(path) is None)
    newest = next(whole, None)
    return "no checkpoint was saved before" if newest is None else f"the last good checkpoint is {newest}"


def fault_of(path: Path) -> str | None:
    """Return what is wrong with a checkpoint's folder, or None if every file is as its manifest says.

    Of a newer format only the manifest itself is judged.

    Raises:
        RunError: The system refuses to read it, which says nothing about what is in it.
    """
    try:
        manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != 1 and manifest.pop("sha256", None) != _digest(manifest):
            return f"{_MANIFEST} has other bytes"
        if manifest["format"] > FORMAT:
            return None
        expected = manifest["files"]
        for name, entry in expected.items():
            if (path / name).stat().st_size != entry["bytes"]:
                return f"{name} has another size"
            if file_sha256(path / name) != entry["sha256"]:
                return f"{name} has other bytes"
    except PermissionError as error:
        raise RunError(f"{error.filename}: cannot be read: {error.strerror}") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return one_line(error)
    missing = {"state.json", *(f"{name}.safetensors" for name in _PARTS)} - set(expected)
    return f"{min(missing)} is missing" if missing else None


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest without its own: of its canonical JSON, sorted and without spaces."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _require_known_format(path: Path) -> None:
    manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
    if manifest["format"] > FORMAT:
        raise RunError(
            f"{path}: written in format {manifest['format']} by sslkit {one_line(manifest.get('sslkit', '?'))}, which "
            f"is newer than this {sslkit.__version__}; continue with that one"
        )


def _set_aside(path: Path, reason: str) -> None:
    corrupt = path.with_suffix(".corrupt")
    shutil.rmtree(corrupt, ignore_errors=True)
    try:
        path.rename(corrupt)
    except OSError as error:
        logger.warning("checkpoint %s is not whole (%s) and cannot be renamed: %s", path, reason, error.strerror)
    else:
        logger.warning("checkpoint %s is not whole (%s); renamed to %s", path.name, reason, corrupt.name)


def _retire(folder: Path, step: int, newest: Path) -> None:
    """Delete old checkpoints once the newest has been read back and is whole."""
    reason = fault_of(newest)
    if reason is not None:
        raise RunError(f"{newest}: the checkpoint just written is not whole ({reason}); older ones are kept")
    older = [path for number, path in checkpoint_steps(folder).items() if number < step]
    for old in older[KEEP - 1 :]:
        try:
            fault("checkpoint.retire", step=step)
            leftover = old.rename(folder / f".tmp-{old.name}")  # a kill must not leave half of it under its name
            shutil.rmtree(leftover)
        except OSError as error:
            logger.warning("the old checkpoint %s could not be deleted: %s", old, error.strerror)


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob(".tmp-*"):
        shutil.rmtree(path, ignore_errors=True)


def _fsync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
