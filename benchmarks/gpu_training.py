"""Training on a CUDA card: steps and their parts, the engine beside a loop by hand, cached gradients. Run by `gpu`."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from common import figures, goal, spread
from gpu_clock import CARD, PROGRESS, Rows, in_turns, peak, seconds
from sslkit_simclr import LARS, MLP, NTXent, TwoCrops, simclr_resnet
from torch import Tensor

from sslkit import JointEmbedding, cosine, hookimpl, sample_keys
from sslkit.builtin.callbacks.jsonl import Jsonl
from sslkit.engine.assemble import Pretraining, assemble, parameter_groups
from sslkit.engine.order import Order
from sslkit.engine.pretrain import train
from sslkit.registry.hookspecs import callback_manager

OVERHEAD_ROUNDS, COUNT, WARM_UP = 5, 60, 10


class RandomImages:
    """Random pixels as data that has a table."""

    num_classes = class_names = None

    def __init__(self, count: int, size: int) -> None:
        self._table = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, device=CARD).cpu()

    def split(self, name: str) -> list[tuple[Tensor, int]]:
        """Return the images, each with no label."""
        return [(image, -1) for image in self._table]

    def table(self, name: str) -> Tensor:
        """Return all of them."""
        return self._table


SETTINGS: dict[str, dict[str, Any]] = {
    "ResNet-50, 224 px, bf16, batch 256": {
        "model": "resnet50", "stem": "imagenet", "size": 224, "source": 256, "batch": 256, "precision": "bf16",
    },
    "ResNet-18, 32 px, bf16, batch 512": {
        "model": "resnet18", "stem": "cifar", "size": 32, "source": 32, "batch": 512, "precision": "bf16",
    },
    "ResNet-18, 32 px, float32 (TF32), batch 512": {
        "model": "resnet18", "stem": "cifar", "size": 32, "source": 32, "batch": 512, "precision": "float32",
    },
}  # fmt: skip


def pretraining_of(setting: Mapping[str, Any], *, micro_batch_size: int | None = None, **changes: Any) -> Pretraining:
    """Return the pretraining of a setting, with LARS, on random images that lie on the card."""
    torch.manual_seed(0)
    method = method_of(setting)
    batch = changes.pop("batch_size", setting["batch"])
    number = changes.pop("num_images", batch)
    pretraining = assemble(
        method, RandomImages(number, setting["source"]), views_of(setting), LARS, epochs=1, batch_size=batch,
        learning_rate=0.1, micro_batch_size=micro_batch_size, precision=setting["precision"], device=CARD, **changes,
    )  # fmt: skip
    pretraining.stepper.views.compile()
    pretraining.method.train()
    return pretraining


def method_of(setting: Mapping[str, Any]) -> JointEmbedding:
    """Return backbone, head and objective of a setting."""
    backbone = simclr_resnet(model=setting["model"], stem=setting["stem"])
    return JointEmbedding(backbone, MLP(backbone.feature_dim), NTXent(temperature=0.2))


def views_of(setting: Mapping[str, Any]) -> TwoCrops:
    """Return the views of a setting."""
    return TwoCrops(image_size=setting["size"], blur_probability=0.5 * (setting["size"] > 32), crop_on="device")


def steps() -> Rows:
    """A whole step, and its parts one by one."""
    return [row for what, setting in SETTINGS.items() for row in step_of(what, setting)]


def step_of(what: str, setting: Mapping[str, Any]) -> Rows:
    """The same of one setting."""
    pretraining = pretraining_of(setting)
    stepper, method = pretraining.stepper, pretraining.method
    raw = next(pretraining.batches.stream(0, 1))
    batch = stepper.make_batch(raw, PROGRESS)
    with torch.no_grad(), stepper._precise():
        leaves = [part.detach().requires_grad_() for part in method.embed(batch)]

    def model() -> None:
        with stepper._precise():
            found = method.embed(batch)
        torch.autograd.backward(found, [torch.ones_like(part) for part in found])

    def loss() -> None:
        with stepper._precise():
            output = method.loss(leaves, batch)
        output.loss.backward()

    for parameter in method.parameters():
        parameter.grad = torch.zeros_like(parameter)
    taken = in_turns(
        {
            "views": lambda: stepper.make_batch(raw, PROGRESS),
            "backbone, forward and backward": model,
            "head and loss, forward and backward": loss,
            "optimizer": stepper.optimizer.step,
        }
    )
    stepper.optimizer.zero_grad(set_to_none=True)
    whole = in_turns({"step": lambda: stepper.step(raw, PROGRESS)})["step"]
    memory = peak(lambda: stepper.step(raw, PROGRESS))
    parts = {name: 1e3 * each for name, each in taken.items()}
    return [
        *figures(what, {"images": setting["batch"] / whole}, "images per s"),
        *figures(what, {"step": 1e3 * whole, **parts, "rest": 1e3 * whole - sum(parts.values())}, "ms"),
        *figures(what, {"step": memory / 1024}, "GiB above the weights"),
    ]


class Stopwatch:
    """Notes when the steps between a warm-up and the end began and ended."""

    def __init__(self, first: int, last: int) -> None:
        self._first, self._last = first, last

    @hookimpl
    def sslkit_step_end(self, state: Any) -> None:
        """Note the time, if it is that of one of the two."""
        if state.step == self._first:
            torch.cuda.synchronize()
            self._start = time.perf_counter()
        if state.step == self._last:
            torch.cuda.synchronize()
            self.seconds = (time.perf_counter() - self._start) / (self._last - self._first)


def overhead() -> Rows:
    """Seconds per step of the engine's loop and of the shortest loop that does the same work."""
    rows = []
    count, first = COUNT, WARM_UP
    for what, setting in list(SETTINGS.items())[1:2]:
        samples: dict[str, list[float]] = {"engine": [], "by hand": []}
        for number in range(OVERHEAD_ROUNDS + 1):
            for name, side in (("engine", _engine), ("by hand", _by_hand)):
                taken = side(setting, count, first)
                if number:
                    samples[name].append(taken)
        ratios = [mine / plain for mine, plain in zip(*samples.values(), strict=True)]
        rows.append(
            goal(f"{what}: engine / by hand", statistics.median(ratios), at_most=1.03)
            | {"ratios": spread(ratios), "seconds": {name: spread(values) for name, values in samples.items()}}
        )
    return rows


def _engine(setting: Mapping[str, Any], count: int, first: int) -> float:
    watch = Stopwatch(first, count)
    pretraining = pretraining_of(
        setting, num_images=setting["batch"] * count, callbacks=[Jsonl(), watch],
        schedules={"learning_rate": cosine(warmup_epochs=0)},
    )  # fmt: skip
    hooks = callback_manager(pretraining.callbacks)
    with tempfile.TemporaryDirectory() as folder:
        hooks.hook.sslkit_run_start(run=SimpleNamespace(folder=Path(folder)))
        train(pretraining, hooks)
    return watch.seconds


def _by_hand(setting: Mapping[str, Any], count: int, first: int) -> float:
    torch.manual_seed(0)
    method = method_of(setting).train().to(CARD, memory_format=torch.channels_last)
    made = views_of(setting)
    made.compile()
    optimizer = LARS(parameter_groups(method, 0.1, 0.0))
    batch = setting["batch"]
    order, table = Order(0, batch * count, batch), RandomImages(batch * count, setting["source"]).table("").to(CARD)
    for step in range(count):
        if step == first:
            torch.cuda.synchronize()
            before = time.perf_counter()
        indices = order.indices(step)
        draws = torch.from_numpy(made.draw(sample_keys(0, 0, indices))).pin_memory().to(CARD, non_blocking=True)
        chosen = table[torch.from_numpy(indices).pin_memory().to(CARD, non_blocking=True)]
        images = torch.cat(
            [view.contiguous(memory_format=torch.channels_last) for view in made.apply((chosen.unsqueeze(1),), draws)]
        )
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=setting["precision"] == "bf16"):
            projections = method.head(method.backbone(images))
            loss = method.objective(list(projections.chunk(2))).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    return (time.perf_counter() - before) / (count - first)


def cached() -> Rows:
    """Images per second and memory of a large batch in parts."""
    what, setting = next(iter(SETTINGS.items()))
    rows = []
    for batch, part, rounds in ((256, None, 3), (256, 128, 3), (1024, 128, 2), (4096, 128, 1)):
        pretraining = pretraining_of(setting, batch_size=batch, micro_batch_size=part)
        raw = next(pretraining.batches.stream(0, 1))
        work = partial(pretraining.stepper.step, raw, PROGRESS)
        work()
        memory = peak(work) / 1024
        taken = statistics.median(seconds(work) for _ in range(rounds))
        name = f"batch {batch}, " + ("at once" if part is None else f"micro-batches of {part}")
        rows += figures(what.rpartition(",")[0], {name: batch / taken}, "images per s")
        rows += figures(what.rpartition(",")[0], {name: memory}, "GiB above weights and batch")
        del pretraining, raw, work
    return rows
