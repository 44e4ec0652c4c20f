"""An objective is a loss of the global batch, whatever the order, the precision and the number of processes.

Called with an objective's subject. It is asked through `builtin.joint_embedding`, as in a run: that gives it what it
declares by name, and gathers for it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Final

import torch
from torch import Tensor, nn

from sslkit.engine.build import build_method
from sslkit.engine.interfaces import Batch, LossOutput, Progress
from sslkit.errors import SslkitError
from sslkit.testing.subject import Subject
from sslkit.testing.training import (
    percent,
    relative,
    require_same_state_on_all_ranks,
    require_two_equal_one,
    state_of,
)

_IMAGES: Final = 12
_CLASSES: Final = 4


def loss_is_a_finite_scalar(subject: Subject) -> None:
    """One number, and metrics that are detached numbers."""
    output = _Asked(subject).loss(_projections(subject))
    subject.require(
        isinstance(output.loss, Tensor) and output.loss.ndim == 0 and bool(torch.isfinite(output.loss)),
        "return a finite scalar",
        f"it returns {_shown(output.loss)}",
        "average over the batch; keep logarithms, roots and quotients away from zero",
    )
    for name, metric in output.metrics.items():
        subject.require(
            isinstance(metric, Tensor) and metric.ndim == 0 and not metric.requires_grad,
            "return metrics that are detached scalar tensors",
            f"{name} is {_shown(metric)}",
            "detach it, and average it to one number; no .item(), which would wait for the device",
        )


def gradient_is_finite_and_not_zero(subject: Subject) -> None:
    """Every view but those that are targets only learns from it."""
    views = _projections(subject)
    gradients = _Asked(subject).gradients(views)
    subject.require(
        all(bool(torch.isfinite(gradient).all()) for gradient in gradients),
        "have a finite gradient",
        "that of the projections holds nan or infinity",
        "keep logarithms, roots and quotients away from zero, with an epsilon inside the root",
    )
    subject.require(
        any(float(gradient.norm()) > 0 for gradient in gradients),
        "have a gradient that is not zero",
        "that of all projections is zero",
        "compute the loss from the projections, without detach() or no_grad() on the way",
    )


def agreeing_views_lower_it(subject: Subject) -> None:
    """Views that agree have a lower loss than those of other images."""
    asked = _Asked(subject)
    if getattr(asked.objective, "needs_labels", False):
        subject.skip("compares with labels, not views with each other")
    views = _projections(subject)
    if len(views) < 2:
        subject.skip("compares no views")
    agreeing = _Asked(subject).loss([views[0] for _ in views]).loss
    others = _Asked(subject).loss([views[0].roll(number, dims=0) for number in range(len(views))]).loss
    subject.require(
        agreeing < others,
        "be lower where the views of an image agree",
        f"it is {agreeing.item():.4g}, and {others.item():.4g} where they are those of other images",
        "look at the sign, and at which rows are taken for one image: row b of every view is from image b",
    )


def order_of_the_batch_does_not_matter(subject: Subject) -> None:
    """The same images in another order, with their labels and indices, have the same loss and gradient."""
    views, order = _projections(subject), torch.randperm(_IMAGES, generator=torch.Generator().manual_seed(1))
    plain, moved = _Asked(subject), _Asked(subject)
    loss, other = plain.loss(views).loss, moved.loss([view[order] for view in views], order).loss
    subject.require(
        relative(other, loss, 1e-3) < 1e-4,
        "not depend on the order of the images in the batch",
        f"the loss is {loss.item():.6g}, and {other.item():.6g} in another order",
        "compare rows by image, label or index, never by where they stand",
    )
    gradients = zip(plain.gradients(views), moved.gradients([view[order] for view in views], order), strict=True)
    worst = max(relative(two, one[order], 1e-6) for one, two in gradients)
    subject.require(
        worst < 1e-3,
        "not depend on the order of the images in the batch",
        f"the gradient of a projection differs by {percent(worst)} in another order",
        "compare rows by image, label or index, never by where they stand",
    )


def precision_is_kept_inside_autocast(subject: Subject) -> None:
    """With `precision = "bf16"` its loss is that of full precision: similarities in half of it lose what matters."""
    views = [view.bfloat16() for view in _projections(subject)]
    exact = [view.double() for view in views]
    asked = _Asked(subject, bf16=True)
    advice = "compute in the precision of the projections, which come in float32: no bfloat16() or autocast of its own"
    found = asked.loss(views).loss
    try:
        expected, gradients = _Asked(subject).loss(exact).loss, _Asked(subject).gradients(exact)
    except RuntimeError:  # it has float32 of its own that does not mix with float64
        exact = [view.float() for view in views]
        expected, gradients = _Asked(subject).loss(exact).loss, _Asked(subject).gradients(exact)
    subject.require(
        found.dtype in (torch.float32, torch.float64) and relative(found, expected, 1e-3) < 1e-3,
        "compute in float32",
        f"the loss is {found.item():.6g} ({found.dtype}) inside autocast, {expected.item():.6g} in full precision",
        advice,
    )
    worst = max(relative(one, other, 1e-6) for one, other in zip(asked.gradients(views), gradients, strict=True))
    subject.require(
        worst < 1e-2, "compute in float32", f"the gradient differs by {percent(worst)} inside autocast", advice
    )


def one_image_is_right_or_refused(subject: Subject) -> None:
    """A batch of one image has a finite loss and gradient, or is refused in one line."""
    one = [view[:1] for view in _projections(subject)]
    try:
        asked = _Asked(subject)
        numbers = [asked.loss(one).loss, *asked.gradients(one)]
    except (ValueError, SslkitError) as error:
        subject.require(
            str(error).strip() and "\n" not in str(error),
            "refuse a batch of one image in one line",
            f"it says {str(error)!r}",
            "say what it needs: raise ValueError('... compares images: it needs at least 2')",
        )
        return
    except Exception as error:
        subject.fail(
            "take a batch of one image, or refuse it",
            f"{type(error).__name__} is raised: {error}",
            "raise ValueError('... compares images: it needs at least 2')",
        )
    subject.require(
        all(bool(torch.isfinite(number).all()) for number in numbers),
        "take a batch of one image, or refuse it",
        "loss or gradient is not finite",
        "there is no variance of one row and no negative: raise ValueError('... it needs at least 2 images')",
    )


def state_loads_into_a_fresh_one(subject: Subject) -> None:
    """After two steps, a fresh one with its state dict has the same loss for the third."""
    asked, fresh = _Asked(subject), _Asked(subject)
    if not isinstance(asked.objective, nn.Module):
        subject.skip("is no module: it has no state")
    for step in range(2):
        views = _projections(subject, seed=step)
        asked.gradients(views, step=step)
        asked.method.after_step(_progress(step))
    try:
        fresh.objective.load_state_dict(state_of(asked.objective))
    except Exception as error:
        subject.fail(
            "load its own state dict",
            f"a fresh one refuses that of a trained one: {error}",
            "register buffers at their full size, under names that never change",
        )
    views = _projections(subject, seed=2)
    loss, other = asked.loss(views, step=2).loss, fresh.loss(views, step=2).loss
    subject.require(
        torch.equal(loss, other),
        "keep all of its state in its state dict",
        f"a fresh one with the same state dict has the loss {other.item():.8g} in place of {loss.item():.8g}",
        "register what later steps depend on as a buffer, or compute it from progress",
    )


def two_processes_equal_one(subject: Subject) -> None:
    """Losses, gradients, weights and buffers of three steps are those of a single process."""
    require_two_equal_one(subject)


def state_is_the_same_on_all_ranks(subject: Subject) -> None:
    """A checkpoint keeps the first rank's."""
    require_same_state_on_all_ranks(subject)


class _Asked:
    """A fresh objective within the default method, which takes the projections as they are."""

    def __init__(self, subject: Subject, *, bf16: bool = False) -> None:
        plan = subject.plan()
        self.method: Any = build_method(plan, 0, num_samples=64, num_classes=10)
        self.method.head = None
        self.objective = self.method.objective
        self._bf16 = bf16

    def loss(self, views: Sequence[Tensor], order: Tensor | None = None, step: int = 0) -> LossOutput:
        """Return what it says of V views [B, P]; of images that stand in this order."""
        images = torch.arange(len(views[0])) if order is None else order
        batch = Batch([], images, images % _CLASSES, _progress(step))
        torch.manual_seed(step)
        with torch.autocast("cpu", torch.bfloat16) if self._bf16 else nullcontext():
            return LossOutput.of(self.method.loss(list(views), batch))

    def gradients(self, views: Sequence[Tensor], order: Tensor | None = None, step: int = 0) -> list[Tensor]:
        """Return the gradient of each view; zero where it has none."""
        leaves = [copy.deepcopy(view).requires_grad_() for view in views]
        loss = self.loss(leaves, order, step).loss
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]


def _projections(subject: Subject, seed: int = 0) -> list[Tensor]:
    """Return V views [B, P] of images, alike within an image."""
    plan = subject.plan()
    generator = torch.Generator().manual_seed(seed)
    width = int(plan.head.options["out_dim"]) if plan.head is not None else 10
    images = torch.randn(_IMAGES, width, generator=generator)
    num_views = int(plan.views.options.get("num_views", 2))
    return [images + 0.3 * torch.randn(_IMAGES, width, generator=generator) for _ in range(num_views)]


def _progress(step: int) -> Progress:
    return Progress(step, 4, 4)


def _shown(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"{type(value).__name__} {value!r}"
    kind = "a tensor" if not value.requires_grad else "a tensor with gradient"
    return f"{value.item()}, {kind}" if value.numel() == 1 else f"{kind} of shape {list(value.shape)}"
