"""How fast and how lean is NT-Xent? `python benchmarks/ntxent.py`, two threads; takes about a minute.

Forward and backward at d = 128, in turns within one process: sslkit, lightly where it is installed, the form that
solo-learn has and the plain form with one cross-entropy, both written out below. Seconds are wall time, medians over
rounds after one that does not count. The measured rate of float32 matrix products bounds what is possible: with tiles
of the upper triangle there are 4 M^2 d operations for M = 2N rows. Memory is the peak of a fresh process above what it
held before, gradients of the projections included. On a CUDA device the same figures are taken with its own clock and
counter; the goals are those of a CPU.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import ROUNDS, figures, goal, report
from sslkit_simclr import NTXent
from torch import Tensor

from sslkit import Progress

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DIM, TEMPERATURE = 128, 0.1
SIZES = (256, 512, 1024, 2048, 4096)
STATUS = Path("/proc/self/status")
Form = Callable[[Tensor, Tensor], Tensor]


def main() -> int:
    """Measure everything, print the table, return the number of goals missed."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    rows = [*accuracy(), *speed()]
    if STATUS.exists() or DEVICE == "cuda":
        rows += memory()
    return report("ntxent", rows)


def forms() -> dict[str, Form]:
    """Return what is compared."""
    objective, unmeasured = NTXent(temperature=TEMPERATURE), Progress(1, 2, 1, measured=False)
    found: dict[str, Form] = {
        "sslkit": lambda a, b: objective([a, b], progress=unmeasured).loss,
        "solo-learn's form": masked_form,
        "plain form": plain_form,
    }
    if find_spec("lightly") is not None:
        from lightly.loss import NTXentLoss

        found["lightly"] = NTXentLoss(temperature=TEMPERATURE)
    return found


def masked_form(first: Tensor, second: Tensor) -> Tensor:
    """Exponentials of all pairs, and two masks that pick positives and negatives by the number of the image."""
    z = F.normalize(torch.cat((first, second)), dim=1)
    exponentials = torch.exp(z @ z.T / TEMPERATURE)
    images = torch.arange(len(first), device=z.device).repeat(2).unsqueeze(0)
    positive = (images == images.T).fill_diagonal_(False)
    negative = images != images.T
    of_positives = (exponentials * positive).sum(dim=1)
    of_negatives = (exponentials * negative).sum(dim=1)
    return -(of_positives / (of_positives + of_negatives)).log().mean()


def plain_form(first: Tensor, second: Tensor) -> Tensor:
    """One matrix of logits and one cross-entropy."""
    z = F.normalize(torch.cat((first, second)), dim=1)
    logits = (z @ z.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    numbers = torch.arange(len(z), device=z.device)
    return F.cross_entropy(logits, numbers.roll(len(first)))


def projections(size: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return two views of random images, related as those of a half-trained network are."""
    anchors = torch.randn(size, DIM, dtype=dtype)
    return [(anchors + torch.randn_like(anchors)).to(DEVICE).requires_grad_() for _ in range(2)]


def accuracy() -> list[dict[str, Any]]:
    """Compare loss and gradient in float32 with the plain form in float64."""
    exact = projections(1024, torch.float64)
    expected = plain_form(*exact)
    wanted = torch.cat(torch.autograd.grad(expected, exact))
    single = [view.detach().float().requires_grad_() for view in exact]
    errors = {}
    for name, form in forms().items():
        single = [view.detach().float().requires_grad_() for view in exact]
        loss = form(*single)
        assert abs(loss.item() - expected.item()) < 1e-5 * expected.item(), f"{name} computes another loss"
        gradient = torch.cat(torch.autograd.grad(loss, single)).double()
        errors[name] = ((gradient - wanted).norm() / wanted.norm()).item()
    what = "N = 1024, relative error of the gradient in float32"
    return [goal(f"{what}: sslkit", errors.pop("sslkit"), at_most=1e-5), *figures(what, errors, "1")]


def speed() -> list[dict[str, Any]]:
    """Time forward and backward, and matrix products beside them."""
    rows = []
    square, product = torch.randn(2048, 2048, device=DEVICE), torch.empty(2048, 2048, device=DEVICE)
    for size in SIZES:
        views = projections(size)
        competitors: dict[str, Callable[[], Any]] = {name: partial(step, form, views) for name, form in forms().items()}
        competitors["matrix product"] = partial(torch.mm, square, square, out=product)
        taken = wall(competitors)
        rate = 2 * len(square) ** 3 / taken.pop("matrix product")
        share = 4 * (2 * size) ** 2 * DIM / taken["sslkit"] / rate
        ratios = {name: seconds / taken["sslkit"] for name, seconds in taken.items() if name != "sslkit"}
        rows += figures(f"N = {size}", {name: seconds * 1e3 for name, seconds in taken.items()}, "ms")
        rows += figures(f"N = {size}", {"float32 matrix products": rate / 1e9}, "GFLOP/s")
        if size == SIZES[-1] and DEVICE == "cpu":
            rows.append(goal(f"N = {size}: sslkit's share of the rate of matrix products", share, at_least=0.6))
            if "lightly" in ratios:
                wide = "AVX512" in torch.backends.cpu.get_cpu_capability()
                what = f"N = {size}: time of lightly / sslkit"
                rows.append(goal(what, ratios.pop("lightly"), at_least=10 if wide else 6))
        rows += figures(f"N = {size}, time / sslkit's", ratios, "times")
    return rows


def step(form: Form, views: list[Tensor]) -> None:
    """Do one forward and backward."""
    torch.autograd.grad(form(*views), views)


def wall(competitors: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the median wall time of each, seconds, over rounds in which each runs once."""
    samples: dict[str, list[float]] = {name: [] for name in competitors}
    for number in range(ROUNDS + 1):
        for name, work in competitors.items():
            seconds = timed(work)
            if number:
                samples[name].append(seconds)
    return {name: statistics.median(values) for name, values in samples.items()}


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds that something takes, by the device's own clock if it has one."""
    if DEVICE == "cpu":
        before = time.perf_counter()
        work()
        return time.perf_counter() - before
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def memory() -> list[dict[str, Any]]:
    """Measure the peak of each form in a process of its own."""
    taken = {name: peak_of(name, 4096) for name in forms()}
    rows = figures("N = 4096, extra memory", taken, "MiB")
    if "lightly" in taken:
        rows.append(goal("N = 4096: memory of sslkit / lightly", taken["sslkit"] / taken["lightly"], at_most=1 / 50))
    return [*rows, goal("N = 32768: sslkit, extra memory, MiB", peak_of("sslkit", 32768), at_most=300)]


def peak_of(name: str, size: int) -> float:
    """Return the extra memory of a form at its peak, MiB, measured in a fresh process."""
    command = [sys.executable, __file__, "--peak", name, str(size)]
    return float(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def print_peak(name: str, size: int) -> None:
    """Do one step after a small one that loads what is needed, and print what memory it took, MiB."""
    torch.set_num_threads(2)
    form, views = forms()[name], projections(size)
    form(*projections(64)).backward()
    before = held(reset=True)
    form(*views).backward()
    print(held(reset=False) - before)


def held(*, reset: bool) -> float:
    """Return the greatest memory in use since the last reset, MiB."""
    if DEVICE == "cuda":
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated() / 2**20
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 2**10


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        print_peak(sys.argv[2], int(sys.argv[3]))
        sys.exit(0)
    sys.exit(main())
