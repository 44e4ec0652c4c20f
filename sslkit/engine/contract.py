"""Whether a method is what the engine can train, and returns what it can use: one line instead of torch's own error.

Enters: a method when it is put together, and what its `loss` or `forward` returns in every step. Leaves: nothing, or
the loss. Called by `assemble`, `step` and `cached_gradients`.
"""

from __future__ import annotations

from typing import Any, Final

from torch import Tensor, nn

from sslkit.engine.interfaces import LossOutput, embeds
from sslkit.errors import PluginError
from sslkit.text import did_you_mean

OWN_COLUMNS: Final = (
    "step", "epoch", "loss", "learning_rate", "images_per_second", "data_wait", "gradient_norm", "weight_norm",
)  # fmt: skip
"""Columns of `metrics.jsonl` that the engine writes itself."""

_HOOKS: Final = ("after_backward", "after_step")
_PARTS: Final = ("embed", "loss")


def require_method(method: Any) -> None:
    """Check that a method is a module with what the engine calls.

    Raises:
        PluginError: It is none, lacks a part, or has a hook that nobody would call.
    """
    name = type(method).__name__
    if not isinstance(method, nn.Module) or "_modules" not in vars(method):
        missing = "calls no super().__init__()" if isinstance(method, nn.Module) else "is no torch.nn.Module"
        raise PluginError(f"the method {name} {missing}; its parameters could neither train nor be saved")
    if not embeds(method) and type(method).forward is nn.Module.forward:
        missing = next(part for part in _PARTS if not hasattr(method, part))
        own = [key for key in dir(type(method)) if not hasattr(nn.Module, key)]
        raise PluginError(
            f"the method {name} has neither forward nor both embed and loss; it lacks {missing}"
            + did_you_mean(missing, own)
        )
    if not isinstance(getattr(method, "backbone", None), nn.Module):
        raise PluginError(
            f"the method {name} has no backbone: say which module is kept, as self.backbone or a property"
        )
    for part in filter(None, (method, getattr(method, "objective", None))):
        for key in dir(type(part)):
            if key.startswith("after_") and key not in _HOOKS:
                known = " and ".join(_HOOKS)
                raise PluginError(
                    f"{type(part).__name__}.{key} is called by nobody: the hooks are {known}"
                    f"{did_you_mean(key, _HOOKS)}; put a _ before a name of your own"
                )


def loss_of(method: Any, returned: Any) -> LossOutput:
    """Return the loss and the metrics that a method has returned.

    Raises:
        PluginError: It is no tensor of no dimension, with or without a table of such tensors; or a metric has the name
            of a column of the engine's own.
    """
    owner = getattr(method, "objective", None)
    name = type(method).__name__ + (
        "" if owner is None else f", of {getattr(owner, '__name__', type(owner).__name__)},"
    )
    loss, metrics = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, {})
    if not isinstance(loss, Tensor) or loss.ndim:
        raise PluginError(
            f"the loss of {name} should be a tensor of no dimension, or that and a table of metrics, but is "
            f"{described(returned)}; take the mean over the images"
        )
    if not isinstance(metrics, dict):
        raise PluginError(f"the metrics of {name} should be a table of tensors, but are {described(metrics)}")
    for key, value in metrics.items():
        if key in OWN_COLUMNS:
            raise PluginError(f"the metric {key!r} of {name} is a column of the engine's own; give it another name")
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise PluginError(
                f"the metric {key!r} of {name} should be a tensor of no dimension, but is {described(value)}; "
                "write torch.tensor(number, device=...), or take the mean"
            )
    return LossOutput(loss, metrics)


def described(value: Any) -> str:
    """Return what a value is, in words for messages: a tensor's shape and type, or a type's name."""
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    return f"a {type(value).__name__}"
