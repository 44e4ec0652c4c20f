"""From modules and optimizers to trees of tensors and JSON scalars, which is what a file can hold, and back.

Enters: state dictionaries. Leaves: tensors by path beside a JSON skeleton that says where they belong, and whether they
fit a module. Called by `checkpoint`, which writes them, and by `pretrain`, which restores from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from sslkit.errors import RunError

_SHOWN: Final = 5  # of the tensors that do not fit; the rest is counted


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


def num_bytes(tree: Any) -> int:
    """Return how many bytes the tensors of a tree take."""
    if isinstance(tree, Tensor):
        return tree.nbytes
    inner = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list | tuple) else ()
    return sum(map(num_bytes, inner))


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the path of a tensor that holds nan or infinity, or None. Reads every number once, 0.5 ns each."""
    for path, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel():
            # One-byte floats have no arithmetic of their own.
            low, high = torch.aminmax(tensor if tensor.itemsize > 1 else tensor.float())
            if not (torch.isfinite(low) and torch.isfinite(high)):
                return path
    return None


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


def load_model_tree(module: nn.Module, tree: Mapping[str, Tensor], path: Path) -> None:
    """Put a module's tensors back, all of them and no others.

    Args:
        module: What the recipe builds today.
        tree: Its state dictionary, from a checkpoint.
        path: The checkpoint, for the message.

    Raises:
        RunError: They do not fit: says which and how.
    """
    if wrong := list(misfits(module.state_dict(), tree)):
        raise RunError(f"{path} does not fit the model that this recipe builds now: {'; '.join(wrong)}")
    module.load_state_dict(tree)


def misfits(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Iterator[str]:
    """Iterate over what keeps given tensors from being a module's own: missing, unknown, of another shape."""
    reshaped = [
        f"{name} (is {list(given[name].shape)}, should be {list(own[name].shape)})"
        for name in own
        if name in given and own[name].shape != given[name].shape
    ]
    for kind, names in (
        ("missing", [name for name in own if name not in given]),
        ("unknown", [name for name in given if name not in own]),
        ("of another shape", reshaped),
    ):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield f"{kind}: {', '.join(names[:_SHOWN])}{more}"


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """Return a value where its parameter is, in its memory format, without which foreach goes one by one."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
