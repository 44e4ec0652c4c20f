"""Weights files of any origin: read without running what is in them, and matched to a module by name.

Enters: a module and a file, safetensors or what `torch.save` wrote. Leaves: the module with its weights, and one line
that counts what matched. Called by `artifact` and `weights`.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from sslkit.engine.trees import misfits
from sslkit.errors import RunError
from sslkit.text import one_line

StateDict = Mapping[str, Tensor]

# What stands before a module's own names: in checkpoints of sslkit, by DataParallel and DDP, by torch.compile, and in
# methods of many projects.
_PREFIXES: Final = ("/", "module.", "_orig_mod.", "backbone.", "encoder.", "model.")

# A buffer that no result depends on, and that converted weights often lack.
_HARMLESS: Final = "num_batches_tracked"

_DEPTH: Final = 2  # of tables inside a file: {"epoch": ..., "state_dict": {...}}

logger = logging.getLogger("sslkit")


class Match(NamedTuple):
    """How the tensors of a file fit a module.

    Attributes:
        tensors: By the module's names, those with the right shape.
        prefix: What was taken off their names.
        wrong: In words: what is missing, unknown or of another shape.
        beside: Names outside the prefix: of other modules than this one.
        table: Where in the file they were; empty at its top.
    """

    tensors: dict[str, Tensor]
    prefix: str
    wrong: list[str]
    beside: list[str]
    table: str


def load_weights(module: nn.Module, path: Path, *, partial: bool = False, advice: str = "") -> None:
    """Load a file into a module; see `load_tables`.

    Args:
        module: The module.
        path: safetensors, or what `torch.save` wrote: a state dict, perhaps inside a table.
        partial: Load the tensors that fit; else all must fit.
        advice: What to do when they do not.

    Raises:
        RunError: The file cannot be read without running code, or as `load_tables`.
    """
    load_tables(module, dict(_tables(_read(path))), str(path), partial=partial, advice=advice)


def load_tables(
    module: nn.Module, tables: Mapping[str, StateDict], path: str, *, partial: bool = False, advice: str = ""
) -> None:
    """Load the table of tensors that fits best into a module; what matched, was missing or unknown goes to the log.

    A wrapper's prefix, such as `module.` or `backbone.`, is taken off where it makes the names fit: one for all of
    them. What the file holds outside of that prefix belongs to other modules and is left out.

    Args:
        module: The module.
        tables: State dicts by their place in the file.
        path: Where they come from, for messages.
        partial: Load the tensors that fit; else all must fit.
        advice: What to do when they do not.

    Raises:
        RunError: Tensors are missing, unknown or of another shape; with `partial`, none fits; or two tables fit equally
            well.
    """
    own = module.state_dict()
    match = _best(own, tables, path)
    place = f"{path}{f' [{one_line(match.table)}]' if match.table else ''}"
    counts = f"{len(match.tensors)} of {len(own)} tensors match"
    if match.prefix:
        counts += f" once {match.prefix!r} is taken off their names"
    if partial and not match.tensors:
        raise RunError(f"{place}: not one of its tensors fits: {'; '.join(match.wrong)}")
    if match.wrong and not partial:
        raise RunError(f"{place} does not fit: {counts}; {'; '.join(match.wrong)}{advice}")
    level = logging.WARNING if match.wrong else logging.INFO  # weights that are random in part should surprise nobody
    logger.log(level, "%s: %s%s", place, counts, "; the others stay as they are" if match.wrong else "")
    for line in match.wrong:
        logger.info("%s: left as it was: %s", path, line)
    if match.beside:
        logger.info("%s: %d tensors of other modules left out: %s", path, len(match.beside), one_line(match.beside[0]))
    module.load_state_dict(match.tensors, strict=False)


def _best(own: StateDict, tables: Mapping[str, StateDict], path: str) -> Match:
    """Return the best match between a module's tensors and those of some tables."""
    found = [
        _match(own, table, prefix, name)
        for name, table in tables.items()
        for prefix in sorted(_prefixes(table), key=len)
    ]
    if not found:
        raise RunError(f"{path}: holds no tensors by name; save a module's state_dict()")
    best = max(found, key=lambda match: len(match.tensors))  # the first of equals: the outer table, the shorter prefix
    for other in found if not best.wrong else ():
        if other is not best and len(other.tensors) == len(best.tensors) > 0 and _differ(best.tensors, other.tensors):
            names = " and ".join(one_line(f"{match.table} {match.prefix}".strip()) for match in (best, other))
            raise RunError(
                f"{path}: two sets of its tensors fit equally well, {names}; save the one that is meant: "
                "torch.save(torch.load(path, weights_only=True)[...], ...)"
            )
    return best


def _differ(first: StateDict, second: StateDict) -> bool:
    return first.keys() != second.keys() or any(not torch.equal(first[name], second[name]) for name in first)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name.

    Raises:
        RunError: It is none.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path}: is not a readable safetensors file: {one_line(error)}") from None


def _match(own: StateDict, table: StateDict, prefix: str, name: str) -> Match:
    given = {key.removeprefix(prefix): tensor for key, tensor in table.items() if key.startswith(prefix)}
    fitting = {key: tensor for key, tensor in given.items() if key in own and tensor.shape == own[key].shape}
    needed = {key: tensor for key, tensor in own.items() if key in given or not key.endswith(_HARMLESS)}
    beside = [key for key in table if not key.startswith(prefix)]
    return Match(fitting, prefix, list(misfits(needed, given)), beside, name)


def _prefixes(table: StateDict) -> set[str]:
    """Return every chain of known prefixes that some of the names begin with, and the empty one."""
    found = {""}
    for key in table:
        rest = key
        while (known := next((p for p in _PREFIXES if rest.startswith(p)), None)) is not None:
            rest = rest.removeprefix(known)
            found.add(key.removesuffix(rest))
    return found


def _tables(tree: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield the tensors of every table of a file, outer tables first."""
    if not isinstance(tree, Mapping):
        return
    tensors = {str(key): value for key, value in tree.items() if isinstance(value, Tensor)}
    if tensors:
        yield name, tensors
    if depth < _DEPTH:
        for key, value in tree.items():
            yield from _tables(value, f"{name}.{key}" if name else str(key), depth + 1)


def _read(path: Path) -> Any:
    if _is_safetensors(path):
        return read_tensors(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a parser that raises whatever a damaged file leads it to
        if isinstance(error, pickle.UnpicklingError) and "weights_only" in str(error).lower():
            raise RunError(
                f"{path}: holds Python objects beside tensors, which could run code, so it is not loaded; where the "
                "file comes from, save its state dict alone: torch.save(model.state_dict(), ...)"
            ) from None
        raise RunError(
            f"{path}: is neither a safetensors file nor what torch.save writes: {one_line(error, 200)}"
        ) from None


def _is_safetensors(path: Path) -> bool:
    if path.suffix == ".safetensors":
        return True
    try:
        with safe_open(path, "pt"):
            return True
    except (SafetensorError, OSError):
        return False
