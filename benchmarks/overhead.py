"""What the engine costs: its loop against a hand-written one of the same operations: `python benchmarks/overhead.py`.

The engine's side has everything a run has: order, draws, finite guard, rates, metrics, the JSONL log and a callback.
The hand-written side makes the same views of the same images, and the same step. Goal: the engine takes at most 3 %
longer, in the median over interleaved rounds.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from common import report, spread
from sslkit_simclr import MLP, NTXent, TwoCrops

from sslkit import JointEmbedding, Shapes, cosine, hookimpl, sgd, timm_backbone
from sslkit.builtin.callbacks.jsonl import Jsonl
from sslkit.engine.assemble import assemble, parameter_groups
from sslkit.engine.order import Order
from sslkit.engine.pretrain import train
from sslkit.engine.randomness import sample_keys
from sslkit.registry.hookspecs import callback_manager

ROUNDS = 9
BATCH = 256
STEPS = 12
LEARNING_RATE = 0.1
DATA = Shapes(num_train=BATCH * STEPS, num_validation=10, num_test=10)
VIEWS = TwoCrops(image_size=32, colour_strength=0.5, blur_probability=0.0, crop_on="device")


class Clock:
    """Notes the time after every step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    @hookimpl
    def sslkit_step_end(self) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())


def parts() -> Any:
    """Return the same freshly initialised method for both sides."""
    torch.manual_seed(0)
    backbone = timm_backbone(model="test_resnet")
    return JointEmbedding(backbone, MLP(backbone.feature_dim), NTXent(temperature=0.2))


def engine(folder: Path) -> list[float]:
    """Return seconds per step of sslkit's loop."""
    clock = Clock()
    pretraining = assemble(
        parts(), DATA, VIEWS, partial(sgd, momentum=0.9), epochs=1, batch_size=BATCH, learning_rate=LEARNING_RATE,
        schedules={"learning_rate": cosine(warmup_epochs=0)}, callbacks=[Jsonl(), clock],
    )  # fmt: skip
    hooks = callback_manager(pretraining.callbacks)
    hooks.hook.sslkit_run_start(run=SimpleNamespace(folder=folder))
    train(pretraining, hooks)
    return [after - before for before, after in pairwise(clock.times)]


def by_hand() -> list[float]:
    """Return seconds per step of the shortest loop that does the same work."""
    method = parts().train().to(memory_format=torch.channels_last)
    optimizer = sgd(parameter_groups(method, LEARNING_RATE, 0.0))
    order, table = Order(0, len(DATA.table("pretrain")), BATCH), DATA.table("pretrain")
    times = []
    for step in range(STEPS):
        indices = order.indices(step)
        draws = torch.from_numpy(VIEWS.draw(sample_keys(0, 0, indices)))
        views = VIEWS.apply((table[torch.from_numpy(indices)].unsqueeze(1),), draws)
        images = torch.cat([view.contiguous(memory_format=torch.channels_last) for view in views])
        projections = method.head(method.backbone(images))
        method.objective(list(projections.chunk(2))).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter())
    return [after - before for before, after in pairwise(times)]


def main() -> int:
    """Measure in turn, after one warm-up of each."""
    samples: dict[str, list[float]] = {"engine": [], "by hand": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS + 1):
            sides = [("engine", engine(Path(folder))), ("by hand", by_hand())]
            for name, times in sides if number else ():
                samples[name].append(statistics.median(times))
    ratios = [mine / plain for mine, plain in zip(samples["engine"], samples["by hand"], strict=True)]
    ratio = statistics.median(ratios)
    row = {
        "what": "engine step / hand-written step",
        "value": ratio,
        "goal": "<= 1.03",
        "passed": ratio <= 1.03,
        "ratios": spread(ratios),
        "seconds": {name: spread(values) for name, values in samples.items()},
    }
    return report("overhead", [row])


if __name__ == "__main__":
    sys.exit(main())
