"""Does a training step make the device wait for the host? `python benchmarks/syncs.py`, half a minute.

A step of the SimCLR recipe, with the optimizers, objectives and ways of cutting a batch that it may name instead. On a
CPU nothing waits, but what would is known: every operation is looked at, and those whose result the host has to know
(a number, a shape that depends on values, a copy to another device) are counted. Goal: none. The step is told that it
runs on a device, since on a CPU it reads the loss at once to stop before the update. Where there is a CUDA card, the
same steps run on it in torch's sync-debug mode, which raises at the first wait.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import goal, report
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sslkit import load_recipe
from sslkit.engine.assemble import Pretraining
from sslkit.engine.build import build
from sslkit.engine.interfaces import Progress

RECIPE = Path(__file__).parents[1] / "recipes" / "simclr_quickstart.toml"
SHORT = (
    "pretrain.batch_size=32", "pretrain.data.num_train=64", "pretrain.data.num_validation=10",
    "pretrain.data.num_test=10",
)  # fmt: skip
CASES: dict[str, tuple[str, ...]] = {
    "as shipped": (),
    "cached gradients": ("pretrain.micro_batch_size=8",),
    "LARS": ('pretrain.optimizer={name="simclr.lars", learning_rate=0.1}',),
    "labels as positives": ('pretrain.objective={name="simclr.nt_xent", positives="labels"}',),
    "decoupled, tau 0.01": ('pretrain.objective={name="simclr.nt_xent", decoupled=true, temperature=0.01}',),
    "blur and large jitter": ("pretrain.views.blur_probability=0.5", "pretrain.views.colour_strength=1.0"),
    "bf16": ('pretrain.precision="bf16"',),
}
WAITING = {
    "_local_scalar_dense", "nonzero", "masked_select", "_unique", "_unique2", "unique_dim", "unique_consecutive",
    "equal", "bincount", "repeat_interleave",
}  # fmt: skip
"""Operations whose result, or its shape, the host has to know: `.item()` and `if tensor` are the first of them."""


class Syncs(TorchDispatchMode):
    """Counts the operations inside the block that would make the host wait for a device.

    Args:
        host: Tensors that lie on the host wherever the step runs, and may be read there.
    """

    def __init__(self, host: Sequence[torch.Tensor] = ()) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self._host = {tensor.data_ptr() for tensor in host}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do the operation, and look at it."""
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if self._waits(name, args, result):
            self.found[name] += 1
        return result

    def _waits(self, name: str, args: Any, result: Any) -> bool:
        if name in WAITING:
            return args[0].data_ptr() not in self._host
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
        inputs = [leaf for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor) and leaf.ndim]
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        return name in ("_to_copy", "copy_") and len({tensor.device for tensor in inputs + outputs}) > 1


def pretraining_of(overrides: Sequence[str], device: torch.device) -> Pretraining:
    """Return the quickstart's pretraining, made small, with some of its parts exchanged."""
    pretraining = build(load_recipe(RECIPE, [*SHORT, *overrides]), device=device, workers=0).pretraining
    assert pretraining is not None
    pretraining.method.train()
    return pretraining


def steps(pretraining: Pretraining) -> Iterator[Callable[[], Any]]:
    """Yield functions that do one step each; whatever comes before a step is done."""
    for step, raw in enumerate(pretraining.batches.stream(0, 2)):
        yield partial(pretraining.stepper.step, raw, Progress(step, 4, 2))


def counted(pretraining: Pretraining) -> Counter[str]:
    """Return what would wait in the second step on a device; the first one may compare passes and say so."""
    stepper = pretraining.stepper
    first, second = steps(pretraining)
    first()
    stepper._is_on_host = False
    with Syncs([state["step"] for state in stepper.optimizer.state.values() if "step" in state]) as syncs:
        second()
    return syncs.found


def waited(pretraining: Pretraining) -> int:
    """Return 1 if the second step on a CUDA device waits, else 0."""
    first, second = steps(pretraining)
    first()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        second()
    except RuntimeError as error:
        print(f"      {error}")
        return 1
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return 0


def main() -> int:
    """Count, case by case."""
    torch.set_num_threads(1)
    rows = []
    for name, overrides in CASES.items():
        found = counted(pretraining_of(overrides, torch.device("cpu")))
        row = goal(f"{name}: operations that would wait for a device", found.total(), at_most=0)
        rows.append(row | {"found": dict(found)})
        if torch.cuda.is_available():
            waits = waited(pretraining_of(overrides, torch.device("cuda")))
            rows.append(goal(f"{name}: waits on {torch.cuda.get_device_name()}", waits, at_most=0))
    return report("syncs", rows)


if __name__ == "__main__":
    sys.exit(main())
