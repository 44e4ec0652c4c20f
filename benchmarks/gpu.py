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
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from common import figures, goal, report
from gpu_clock import CARD, PROGRESS, Rows, in_turns, peak
from gpu_training import cached, overhead, steps
from ntxent import masked_form, plain_form
from probes import blobs
from sslkit_simclr import NTXent, TwoCrops
from torch import Tensor

from sslkit import sample_keys
from sslkit.builtin.evaluations.class_losses import class_loss
from sslkit.builtin.evaluations.l2_path import NUMBERS_HELD, fit_path
from sslkit.builtin.evaluations.logistic_regression import L2_VALUES
from sslkit.builtin.evaluations.principal_axes import PrincipalAxes
from sslkit.engine.order import Order


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
