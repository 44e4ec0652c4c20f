"""What does a CUDA card make of it? `python benchmarks/gpu.py [PART ...]`, three minutes; parts are named below.

In turns within one process, by the card's own clock, medians after rounds that do not count. Peers do the same work:
all operations of the paper's policy on the same uint8 images; the plain form of the loss, written out in `ntxent`; a
loop written by hand. Results go to `results/gpu_<part>.json`.

- views: two views of each image, from uint8 images on the card to float32 views on it.
- ntxent: forward and backward at d = 128, and memory above the projections and their gradients.
- steps: a training step, and its parts by themselves. Those wait to be launched, as they do not in a step: there may be
  less than nothing left as the rest.
- overhead: the engine's loop with everything a run has, against one by hand. Goal: at most 3 % longer.
- cached: a batch of 4096 in micro-batches of 128; images per second, and memory beside a batch at once.
- logistic: 45 strengths of L2 regularisation, solved together, and one after the other.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from common import figures, goal, report, spread
from ntxent import masked_form, plain_form
from probes import blobs
from sslkit_simclr import LARS, MLP, NTXent, TwoCrops, simclr_resnet
from torch import Tensor

from sslkit import JointEmbedding, Progress, cosine, hookimpl, sample_keys
from sslkit.builtin.callbacks.jsonl import Jsonl
from sslkit.builtin.evaluations.class_losses import class_loss
from sslkit.builtin.evaluations.l2_path import NUMBERS_HELD, fit_path
from sslkit.builtin.evaluations.logistic_regression import L2_VALUES
from sslkit.builtin.evaluations.principal_axes import PrincipalAxes
from sslkit.engine.assemble import Pretraining, assemble, parameter_groups
from sslkit.engine.order import Order
from sslkit.engine.pretrain import train
from sslkit.registry.hookspecs import callback_manager

CARD = torch.device("cuda")
ROUNDS = 7
OVERHEAD_ROUNDS, COUNT, WARM_UP = 5, 60, 10
PROGRESS = Progress(1, 1000, 1000, measured=False)
Rows = list[dict[str, Any]]


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


def seconds(work: Callable[[], Any]) -> float:
    """Return how long something takes on the card."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def in_turns(competitors: Mapping[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median seconds of each, over rounds in which each runs once; the first two do not count."""
    samples: dict[str, list[float]] = {name: [] for name in competitors}
    for number in range(rounds + 2):
        for name, work in competitors.items():
            taken = seconds(work)
            if number > 1:
                samples[name].append(taken)
    return {name: statistics.median(values) for name, values in samples.items()}


def peak(work: Callable[[], Any]) -> float:
    """Return the memory that something takes at its peak above what is held before, MiB."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def views() -> Rows:
    """Views of 32 pixels of small images, and of 224 pixels of images of 256 x 256."""
    return [row for sizes in ((32, 32, 1024), (224, 256, 256)) for row in views_of_size(*sizes)]


def views_of_size(size: int, source: int, count: int) -> Rows:
    """The same of one size."""
    images = torch.randint(0, 256, (count, 1, 3, source, source), dtype=torch.uint8, device=CARD)
    options: dict[str, Any] = {"image_size": size, "crop_on": "device", "blur_probability": 0.5 * (size > 32)}
    fused, compiled, composed = TwoCrops(**options), TwoCrops(**options), TwoCrops(**options, backend="kornia")
    compiled.compile()
    draws = torch.from_numpy(fused.draw(sample_keys(0, 0, Order(0, count, count).indices(0)))).to(CARD)
    kornia, second = peers_of(size)
    few = images[:32, 0]
    taken = in_turns(
        {
            "sslkit, compiled": lambda: compiled.apply([images], draws),
            "sslkit": lambda: fused.apply([images], draws),
            'sslkit, backend = "kornia"': lambda: composed.apply([images], draws),
            "kornia": lambda: [kornia(images[:, 0].float() / 255) for _ in range(2)],
        }
    )
    slow = in_turns({"v2": lambda: [second(image) for image in few for _ in range(2)]}, 3)["v2"]
    per_second = {name: 2 * count / each for name, each in taken.items()}
    per_second["torchvision v2, image by image"] = 2 * len(few) / slow
    memory = {
        "sslkit, both views": peak(lambda: fused.apply([images], draws)),
        "kornia, one view": peak(lambda: kornia(images[:, 0].float() / 255)),
    }
    what = f"views of {size} px, batch {count}"
    return [
        *figures(what, per_second, "views per s"),
        *figures(what, {"sslkit compiled / kornia": taken["kornia"] / taken["sslkit, compiled"]}, "times as fast"),
        *figures(what, memory, "MiB"),
    ]


def peers_of(size: int) -> tuple[Any, Any]:
    """Return the paper's policy as kornia and torchvision's v2 have it; v2 draws once a call, so for one image."""
    import kornia.augmentation as K
    from torchvision.transforms import v2

    kernel = 2 * (size // 10 // 2) + 1
    blurs = size > 32
    kornia = K.AugmentationSequential(
        K.RandomResizedCrop((size, size), scale=(0.08, 1.0)),
        K.RandomHorizontalFlip(p=0.5),
        K.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
        K.RandomGrayscale(p=0.2),
        *([K.RandomGaussianBlur((kernel, kernel), (0.1, 2.0), p=0.5)] if blurs else []),
    )
    second = v2.Compose(
        [
            v2.RandomResizedCrop(size, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], 0.8),
            v2.RandomGrayscale(0.2),
            *([v2.RandomApply([v2.GaussianBlur(kernel, (0.1, 2.0))], 0.5)] if blurs else []),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    return kornia, second


def ntxent() -> Rows:
    """Time and memory of three forms."""
    rows = []
    objective = NTXent(temperature=0.1)
    forms: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "sslkit": lambda a, b: objective([a, b], progress=PROGRESS).loss,
        "plain form": plain_form,
        "solo-learn's form": masked_form,
    }
    for count in (512, 4096, 32768):
        anchors = torch.randn(count, 128, device=CARD)
        parts = [(anchors + torch.randn_like(anchors)).requires_grad_() for _ in range(2)]
        works = {name: partial(_step_of, form, parts) for name, form in forms.items()}
        taken, memory = {}, {}
        for name, work in works.items():
            try:
                memory[name] = peak(work)
                taken[name] = in_turns({name: work}, 5)[name]
            except torch.OutOfMemoryError:
                print(f"N = {count}: {name} needs more memory than there is", flush=True)
                torch.cuda.empty_cache()
        rows += figures(f"N = {count}", {name: 1e3 * each for name, each in taken.items()}, "ms")
        rows += figures(f"N = {count}", memory, "MiB")
        rate = 16 * count**2 * 128 * 1.5 / taken["sslkit"] / 1e12  # M^2 d products, once forward and twice backward
        rows += figures(f"N = {count}", {"sslkit's products": rate}, "TFLOP/s, float32")
    return rows


def _step_of(form: Callable[[Tensor, Tensor], Tensor], parts: list[Tensor]) -> None:
    torch.autograd.grad(form(*parts), parts)


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


def logistic() -> Rows:
    """All strengths, on features that lie on the card."""
    num_classes = 50
    values, labels = blobs(20_000, 512, num_classes)
    room = 0.25 * torch.cuda.get_device_properties(CARD).total_memory
    at_once = min(len(L2_VALUES), int(room / (NUMBERS_HELD * 4 * len(labels) * num_classes)))
    rows, objectives = [], {}
    for name, together in (("together", at_once), ("one after the other", 1)):
        samples = []
        for number in range(4 if together > 1 else 2):
            torch.cuda.synchronize()
            before = time.perf_counter()
            axes = PrincipalAxes.of(values.to(CARD))
            fits = fit_path(
                axes.lay(values, CARD), class_loss(labels.to(CARD)), num_classes, L2_VALUES, tolerance=1e-5,
                max_iterations=5_000, at_once=together,
            )  # fmt: skip
            torch.cuda.synchronize()
            if number:
                samples.append(time.perf_counter() - before)
        objectives[name] = [fit.objective for fit in fits]
        what = f"20,000 x 512, 50 classes, 45 strengths {name} (of {together})"
        rows += figures(what, {"time": statistics.median(samples)}, "s")
        rows += figures(what, {"unsolved": float(sum(not fit.converged for fit in fits))}, "strengths")
    apart = max(abs(a / b - 1) for a, b in zip(*objectives.values(), strict=True))
    rows.append(goal("objectives together and one by one, difference as a fraction", apart, at_most=1e-4))
    return rows


PARTS: dict[str, Callable[[], Rows]] = {
    "views": views, "ntxent": ntxent, "steps": steps, "overhead": overhead, "cached": cached, "logistic": logistic,
}  # fmt: skip


def main(names: list[str]) -> int:
    """Measure the parts that are named, or all."""
    if not torch.cuda.is_available():
        print("there is no CUDA device")
        return 0
    torch.set_num_threads(2)
    return sum(report(f"gpu_{name}", PARTS[name]()) for name in names or PARTS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
