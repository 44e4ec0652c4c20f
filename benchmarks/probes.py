"""How fast are the probes of frozen features? `python benchmarks/probes.py`, two threads; takes a quarter of an hour.

- Logistic regression: 45 strengths on 20,000 x 512 features of 50 classes against a loop of scikit-learn's
  `LogisticRegression` (lbfgs). sslkit solves every strength to 1e-5 of its objective; scikit-learn needs
  a tenth of the largest entry of the gradient that sslkit ends with as its tolerance to come as close, and float64: in
  float32 it stops up to 1 % above. Its loop takes an hour, so that it does one strength in four, and at most
  `MAX_ITERATIONS` steps for each: its time, times 45 / 12, is then less than the true one. `--whole` does all of it.
  Objectives are computed anew, in float64. The smallest possible is had by solving those strengths in float64 too, less
  the bound that its gradient gives.
- kNN: 100,000 x 512 images, 10,000 queries, k = 200, against `KNeighborsClassifier(algorithm="brute", metric="cosine")`
  with the same weights; a part of the queries, in turns. Memory is the peak of a fresh process, all queries, above the
  features themselves.
- Linear: raw pixels of CIFAR-10's shape, 50,000 x 3,072, seven rates, 100 epochs.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from common import figures, goal, report
from torch import Tensor

from sslkit import AbsentError, Features, knn, linear
from sslkit.builtin.evaluations.class_losses import class_loss
from sslkit.builtin.evaluations.knn import knn_votes
from sslkit.builtin.evaluations.l2_path import fit_path
from sslkit.builtin.evaluations.logistic_regression import L2_VALUES
from sslkit.builtin.evaluations.principal_axes import PrincipalAxes

ROUNDS = 3
MAX_ITERATIONS = 400
K, TEMPERATURE = 200, 0.07
CPU = torch.device("cpu")
STATUS = Path("/proc/self/status")


def main() -> int:
    """Measure everything, print the table, return the number of goals missed."""
    torch.set_num_threads(2)
    rows = [*logistic_rows(whole="--whole" in sys.argv), *knn_rows(), *linear_rows()]
    return report("probes", rows)


def blobs(num: int, dim: int, num_classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return features like those of a network: not negative, overlapping classes, a spectrum that falls as 1 / k."""
    generator = torch.Generator().manual_seed(seed)
    latent = 64
    centres = torch.randn(num_classes, latent, generator=torch.Generator().manual_seed(1)) * 0.9
    mixing = torch.randn(latent, dim, generator=torch.Generator().manual_seed(2)) / latent**0.5
    labels = torch.randint(num_classes, (num,), generator=generator)
    hidden = (centres[labels] + 2 * torch.randn(num, latent, generator=generator)) @ mixing
    scale = 8 * torch.arange(1, dim + 1).float().rsqrt()
    return torch.relu(hidden + 0.5 * torch.randn(num, dim, generator=generator)) * scale, labels


def logistic_rows(*, whole: bool) -> list[dict[str, Any]]:
    """Compare the whole grid of strengths with scikit-learn's loop."""
    from sklearn.linear_model import LogisticRegression

    num_classes = 50
    values, labels = blobs(20_000, 512, num_classes)
    taken = []
    for _ in range(ROUNDS):
        before = time.perf_counter()
        axes = PrincipalAxes.of(values)
        features = axes.lay(values, CPU)
        fits = fit_path(features, class_loss(labels), num_classes, L2_VALUES, tolerance=1e-5, max_iterations=5_000)
        taken.append(time.perf_counter() - before)
    seconds = statistics.median(taken)

    print(f"sslkit: {seconds:.3g} s, {sum(fit.iterations for fit in fits)} steps", flush=True)
    step = 1 if whole else 4
    strengths = L2_VALUES[::step]
    raw, ones = values.double(), torch.ones(len(values), 1, dtype=torch.float64)
    laid = torch.cat([(raw - axes.centre) @ axes.axes, ones], dim=1)
    best = fit_path(laid, class_loss(labels), num_classes, strengths, tolerance=1e-5, max_iterations=5_000)
    ratios, bounds, theirs, finished = [], [], 0.0, 0
    for l2, fit, exactly in zip(strengths, fits[::step], best, strict=True):
        own, gradient = objective(laid, labels, fit.weights.double(), l2)
        bounds.append(own / (exactly.objective * (1 - exactly.excess)) - 1)
        in_features = torch.cat([axes.axes @ gradient[:-1], gradient[-1:]])
        model = LogisticRegression(
            C=1 / (l2 * len(values)),
            tol=max(float(in_features.abs().max()) / 10, 1e-10),
            max_iter=100_000 if whole else MAX_ITERATIONS,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            before = time.perf_counter()
            model.fit(raw.numpy(), labels.numpy())
            theirs += time.perf_counter() - before
        weights = torch.from_numpy(np.vstack([model.coef_.T, model.intercept_]))
        found, _ = objective(torch.cat([raw, ones], dim=1), labels, weights, l2)
        finished += int(model.n_iter_[0] < model.max_iter)
        ratios.append(own / found - 1)
        print(f"l2 = {l2:.0e}: sslkit {own:.7f}, scikit-learn {found:.7f} after {model.n_iter_[0]} steps", flush=True)
    theirs *= len(L2_VALUES) / len(ratios)
    what = "20,000 x 512, 50 classes, 45 strengths"
    return [
        *figures(what, {"sslkit": seconds, "scikit-learn, at least": theirs}, "s"),
        *figures(what, {"sslkit": sum(fit.iterations for fit in fits)}, "steps"),
        *figures(what, {"solved by scikit-learn": finished, "tried": len(ratios)}, "strengths"),
        goal(f"{what}: time of scikit-learn / sslkit, at least", theirs / seconds, at_least=10),
        goal(f"{what}: objective above scikit-learn's, at most, as a fraction", max(ratios), at_most=1e-4),
        goal(f"{what}: objective above the smallest possible, at most, as a fraction", max(bounds), at_most=1e-4),
    ]


def objective(features: Tensor, labels: Tensor, weights: Tensor, l2: float) -> tuple[float, Tensor]:
    """Return the objective and its gradient, by autograd in float64; the last feature is 1, and its weight the bias."""
    weights = weights.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(features @ weights, labels)
    total = loss + l2 / 2 * weights[:-1].square().sum()
    return total.item(), torch.autograd.grad(total, weights)[0]


def knn_rows() -> list[dict[str, Any]]:
    """Compare exact kNN with scikit-learn's brute force."""
    from sklearn.neighbors import KNeighborsClassifier

    (bank, labels), (queries, _) = blobs(100_000, 512, 50), blobs(2_000, 512, 50, seed=1)

    def weights(far: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.exp((far.min(axis=1, keepdims=True) - far) / TEMPERATURE)

    model = KNeighborsClassifier(K, algorithm="brute", metric="cosine", weights=weights)
    model.fit(bank.numpy(), labels.numpy())
    found: dict[str, Any] = {}

    def ours() -> None:
        found["sslkit"] = knn_votes(queries, bank, labels, 50, K, TEMPERATURE).argmax(dim=1).numpy()

    def theirs() -> None:
        found["scikit-learn"] = model.predict(queries.numpy())

    taken = wall({"sslkit": ours, "scikit-learn": theirs})
    what = "kNN, 100,000 x 512"
    same = float((found["sslkit"] == found["scikit-learn"]).mean())
    rows = [
        *figures(f"{what}, 2,000 queries", taken, "s"),
        goal(f"{what}: time of scikit-learn / sslkit", taken["scikit-learn"] / taken["sslkit"], at_least=2),
        goal(f"{what}: share of equal answers", same, at_least=0.999),
    ]
    if STATUS.exists():
        printed = subprocess.run([sys.executable, __file__, "--peak"], capture_output=True, text=True, check=True)
        rows.append(goal(f"{what}, 10,000 queries: extra memory, MiB", json.loads(printed.stdout), at_most=1024))
    return rows


def wall(competitors: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Return the median wall time of each, seconds, over rounds in which each runs once."""
    samples: dict[str, list[float]] = {name: [] for name in competitors}
    for _ in range(ROUNDS):
        for name, work in competitors.items():
            before = time.perf_counter()
            work()
            samples[name].append(time.perf_counter() - before)
    return {name: statistics.median(values) for name, values in samples.items()}


class Frozen:
    """Features without a network, as an evaluation sees them."""

    device, seed = CPU, 0

    def features(self, data: Held, split: str) -> Features:
        """Return the features of a split."""
        return Features(*data.split(split))


class Held:
    """Splits that are features and labels."""

    class_names = None

    def __init__(self, num_classes: int, **splits: tuple[Tensor, Tensor]) -> None:
        self.num_classes = num_classes
        self._splits = splits

    def split(self, name: str) -> tuple[Tensor, Tensor]:
        """Return features and labels."""
        if name not in self._splits:
            raise AbsentError(f"there is no split {name}")
        return self._splits[name]


def print_peak() -> None:
    """Evaluate once, and print what memory it took beside the features, MiB."""
    torch.set_num_threads(2)
    data = Held(50, train=blobs(100_000, 512, 50), test=blobs(10_000, 512, 50, seed=1))
    evaluation = knn(k=K, temperature=TEMPERATURE)
    small = tuple(part[:512] for part in data.split("train"))
    evaluation(Frozen(), Held(50, train=small, test=small))  # type: ignore[arg-type]
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    evaluation(Frozen(), data)  # type: ignore[arg-type]
    print(peak() - before)


def peak() -> float:
    """Return the greatest memory in use since it was last reset, MiB."""
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 2**10


def linear_rows() -> list[dict[str, Any]]:
    """Time the whole evaluation of raw pixels, once."""
    data = Held(10, train=blobs(50_000, 3_072, 10), test=blobs(10_000, 3_072, 10, seed=1))
    before = time.perf_counter()
    outcome = linear()(Frozen(), data)  # type: ignore[arg-type]
    seconds = time.perf_counter() - before
    what = "linear, 50,000 x 3,072, 7 rates, 100 epochs"
    return [goal(f"{what}, s", seconds, at_most=120), *figures(what, {"top-1": outcome.metrics["top1"]}, "1")]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        print_peak()
        sys.exit(0)
    sys.exit(main())
