"""The best linear classifiers for many strengths of L2 regularisation, each to a guaranteed accuracy, by L-BFGS.

Enters: features along their principal axes, a loss, and the strengths. Leaves: one classifier per strength. Called by
`logistic_regression`.

The problem is convex, and everything here only makes its solution fast. Along principal axes the curvature is close to
diagonal and known before the first step: variance times the spread of the probabilities, plus the strength. That is
where L-BFGS starts from (Liu and Nocedal 1989), and it corrects the rest. Strengths are solved from the largest down;
each starts where a parabola through the last three solutions points. Scores are linear in the step, so that a line
search needs no matrix product. On a GPU, where one small problem cannot fill the device, many strengths are solved at
once, each with a step of its own, until each has converged.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, prod
from typing import Final, NamedTuple

import torch
from torch import Tensor

from sslkit.builtin.evaluations.class_losses import ClassLoss

NUMBERS_HELD: Final = 5
"""At once, for each image, class and strength that are solved together."""

_MEMORY: Final = 10  # pairs of L-BFGS
_SLOPE: Final = 0.5  # a step is taken when this share of the slope, or less, is left
_MAX_TRIALS: Final = 20  # of one line search
_PATIENCE: Final = 50  # steps without progress: float32 has no more digits
_PROGRESS: Final = 1e-7  # of the objective


class Fit(NamedTuple):
    """The best classifier for one strength.

    Attributes:
        weights: float32 [D, K], the last row the bias; scores are features @ weights.
        objective: The loss plus the penalty.
        excess: A bound on how far the objective is above the smallest possible one, as a fraction of it.
        iterations: Steps taken.
        converged: Whether `excess` is within the tolerance, or further steps bring nothing in float32, whose gradient
            can be too coarse for a tight bound on an objective that is exact.
    """

    weights: Tensor
    objective: float
    excess: float
    iterations: int
    converged: bool


def fit_path(
    features: Tensor,
    loss: ClassLoss,
    num_classes: int,
    l2_values: Sequence[float],
    *,
    tolerance: float,
    max_iterations: int,
    at_once: int = 1,
) -> list[Fit]:
    """Return the classifiers that minimise mean loss + l2 / 2 * |weights|^2, the bias left out of the penalty.

    Args:
        features: float32 [n, D] along principal axes, the last column 1.
        loss: Of n images.
        num_classes: Columns of a classifier, K.
        l2_values: Strengths, all positive and different.
        tolerance: The `excess` at which a strength is solved.
        max_iterations: For each strength.
        at_once: How many strengths are solved together; about `NUMBERS_HELD` n K float32 are held for each.
    """
    order = sorted(range(len(l2_values)), key=lambda place: -l2_values[place])
    nothing = (1.0, features.new_zeros(features.shape[1], num_classes))
    found: dict[int, Fit] = {}
    for first in range(0, len(order), at_once):
        places = order[first : first + at_once]
        known = order[max(0, first - (3 if at_once == 1 else 1)) : first]
        solved = [(l2_values[place], found[place].weights) for place in known] or [nothing]
        l2 = [l2_values[place] for place in places]
        start = torch.stack([_extrapolated(solved, to) for to in l2], dim=1)
        fits = _Problems(features, loss, l2, start).solve(tolerance, max_iterations)
        found.update(zip(places, fits, strict=True))
    return [found[place] for place in range(len(l2_values))]


def _extrapolated(solved: Sequence[tuple[float, Tensor]], l2: float) -> Tensor:
    """Return what the polynomial in log(l2) through some solutions says about another strength."""
    nodes = [log(known) for known, _ in solved]
    weights = torch.zeros_like(solved[0][1])
    for node, (_, solution) in zip(nodes, solved, strict=True):
        weights += solution * prod((log(l2) - other) / (node - other) for other in nodes if other != node)
    return weights


class _Pair(NamedTuple):
    """A step, the change of the gradient over it, and 1 over their product: what L-BFGS remembers."""

    step: Tensor
    change: Tensor
    inverse: Tensor


class _Problems:
    """G strengths on the way to their solutions.

    Whatever has the shape of weights is float32 [D, G, K], scores are [n, G, K], figures float64 [G] on the CPU.
    """

    def __init__(self, features: Tensor, loss: ClassLoss, l2: Sequence[float], start: Tensor) -> None:
        self._features = features
        self._variances = features.square().mean(dim=0)[:, None, None]
        self._loss = loss
        self._l2 = torch.tensor(l2, dtype=torch.float64)
        self._weights = start
        self._memory: list[_Pair] = []
        self._look()

    def solve(self, tolerance: float, max_iterations: int) -> list[Fit]:
        """Return the fits, in the order of the strengths."""
        fits: dict[int, Fit] = {}
        active = list(range(len(self._l2)))
        least, lowest = torch.full_like(self._l2, torch.inf), torch.full_like(self._l2, torch.inf)
        waited = torch.zeros_like(self._l2)
        for iteration in range(max_iterations + 1):
            excess, objective = self._excess(), self._objective()
            better = (excess < least) | (objective < lowest * (1 - _PROGRESS))
            least, lowest = torch.minimum(least, excess), torch.minimum(lowest, objective)
            waited = torch.where(better, 0.0, waited + 1)
            if self._stops(excess, tolerance, waited, iteration == max_iterations).any():
                self._look()  # steps have added up rounding, and the spread has changed
                excess = self._excess()
                stops = self._stops(excess, tolerance, waited, iteration == max_iterations)
                for place in stops.nonzero()[:, 0].tolist():
                    fits[active[place]] = Fit(
                        self._weights[:, place].clone(),
                        float(self._objective()[place]),
                        float(excess[place]),
                        iteration,
                        bool(excess[place] <= tolerance or waited[place] >= _PATIENCE),
                    )
                if stops.all():
                    break
                self._keep(~stops)
                active = [number for number, stop in zip(active, stops.tolist(), strict=True) if not stop]
                least, lowest, waited = least[~stops], lowest[~stops], waited[~stops]
            self._step()
        return [fits[place] for place in sorted(fits)]

    @staticmethod
    def _stops(excess: Tensor, tolerance: float, waited: Tensor, last: bool) -> Tensor:
        return (excess <= tolerance) | (waited >= _PATIENCE) | last

    def _look(self) -> None:
        """Compute everything anew from the weights."""
        self._scores = self._product(self._weights)
        self._losses, residuals = self._evaluate(self._scores.clone())
        spread = self._loss.spread(residuals).clamp(min=torch.finfo(torch.float32).tiny)
        self._penalty = self._l2.to(self._weights).repeat(len(self._weights), 1)[:, :, None]
        self._penalty[-1] = 0.0
        self._scale = 1 / (self._variances * spread + self._penalty)
        self._gradient = self._gradient_of(residuals)

    def _keep(self, chosen: Tensor) -> None:
        """Go on with some of the problems."""
        on_device = chosen.to(self._weights.device)
        for name in ("_weights", "_gradient", "_scale", "_penalty", "_scores"):
            setattr(self, name, getattr(self, name)[:, on_device])
        self._l2, self._losses = self._l2[chosen], self._losses[chosen]
        self._memory = [_Pair(*(part[:, on_device] for part in pair)) for pair in self._memory]

    def _objective(self) -> Tensor:
        return self._losses + _figures((self._weights.square() * self._penalty).sum(dim=(0, 2))) / 2

    def _excess(self) -> Tensor:
        """Return how far the objective may be above its minimum, as a fraction of it.

        The penalty makes the objective strongly convex: it lies at most |gradient|^2 / (2 l2) above its minimum,
        which is also the gap to the dual problem. Along the bias, which has no penalty, the curvature is the spread
        here and may be less on the way to the minimum: twice as much is allowed for it.
        """
        gap = (self._gradient[:-1].square() / self._penalty[:-1]).sum(dim=(0, 2)) / 2
        gap += (self._gradient[-1].square() * self._scale[-1]).sum(dim=1)
        return _figures(gap) / self._objective()

    def _step(self) -> None:
        """Take one step of L-BFGS."""
        direction = self._direction()
        along = self._product(direction)
        length, residuals = self._search(direction, along)
        length = length.to(direction)[:, None]
        step = direction.mul_(length)
        self._weights = self._weights + step
        self._scores.addcmul_(along, length)
        gradient = self._gradient_of(residuals)
        change = gradient - self._gradient
        self._gradient = gradient
        product = _dot(step, change)
        self._memory = [*self._memory, _Pair(step, change, torch.where(product > 0, 1 / product, 0.0))][-_MEMORY:]

    def _direction(self) -> Tensor:
        rest = self._gradient.clone()
        shares = []
        for pair in reversed(self._memory):
            shares.append(pair.inverse * _dot(pair.step, rest))
            rest.addcmul_(pair.change, shares[-1], value=-1)
        direction = rest.mul_(self._scale)
        if self._memory:
            _, change, inverse = self._memory[-1]
            product = inverse * _dot(change, self._scale * change)
            direction.div_(torch.where(product > 0, product, 1.0))
        if self._loss.shift_invariant:  # the solution adds up to 0 over classes, and so do all gradients
            direction -= direction.mean(dim=2, keepdim=True)
        for pair, share in zip(self._memory, reversed(shares), strict=True):
            direction.addcmul_(pair.step, share - pair.inverse * _dot(pair.change, direction))
        return direction.neg_()

    def _search(self, direction: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
        """Return each problem's length of the step, and the residuals there; notes the losses.

        On a line the objective is convex and its slope known: a length is good when little of the slope is left.
        """
        before = _figures(_dot(self._gradient, direction))
        from_penalty = _figures(_dot(self._weights * self._penalty, direction))
        bend = _figures(_dot(direction * self._penalty, direction))
        length, low, high = torch.ones_like(before), torch.zeros_like(before), torch.full_like(before, torch.inf)
        slope_low, slope_high = before.clone(), torch.full_like(before, torch.inf)
        for _ in range(_MAX_TRIALS):
            scores = torch.addcmul(self._scores, along, length.to(along)[:, None])
            self._losses, residuals = self._evaluate(scores)
            slope = _figures(_dot(residuals, along)) / len(along) + from_penalty + length * bend
            good = slope.abs() <= _SLOPE * before.abs()
            if good.all():
                break
            short = slope < 0
            low, slope_low = torch.where(short, length, low), torch.where(short, slope, slope_low)
            high, slope_high = torch.where(short, high, length), torch.where(short, slope_high, slope)
            secant = -slope_low / (slope_high - slope_low)
            inside = low + (high - low) * secant.clamp(0.1, 0.9)
            length = torch.where(good, length, torch.where(high.isinf(), 4 * length, inside))
        return length, residuals

    def _product(self, weights: Tensor) -> Tensor:
        return (self._features @ weights.reshape(len(weights), -1)).view(-1, *weights.shape[1:])

    def _evaluate(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        losses, residuals = self._loss(scores)
        if losses.device.type == "cuda":  # where float64 is known, only the means need travel
            return losses.mean(dim=0, dtype=torch.float64).cpu(), residuals
        return losses.cpu().double().mean(dim=0), residuals

    def _gradient_of(self, residuals: Tensor) -> Tensor:
        product = residuals.view(len(residuals), -1).T @ self._features  # this way round BLAS is twice as fast
        return (product.T / len(residuals)).view_as(self._weights).addcmul_(self._weights, self._penalty)


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """Return each problem's inner product, [1, G, 1]."""
    return (first * second).sum(dim=(0, 2), keepdim=True)


def _figures(values: Tensor) -> Tensor:
    return values.flatten().cpu().double()
