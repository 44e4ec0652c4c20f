"""A head maps features to projections of a width that it says."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslkit.engine.choices import built
from sslkit.testing.subject import Subject
from sslkit.testing.training import relative, state_of

_IN_DIM, _CLASSES = 16, 10


def out_dim_is_true(subject: Subject) -> None:
    """It returns [N, out_dim]."""
    head, features = _head(subject), _features(8)
    returned, width = head(features), getattr(head, "out_dim", None)
    shape = list(returned.shape) if isinstance(returned, Tensor) else type(returned).__name__
    subject.require(
        isinstance(width, int) and shape == [8, width],
        "return [N, out_dim]",
        f"it returns {shape} for 8 images, and out_dim is {width!r}",
        "set self.out_dim, an integer, to the width of what forward returns",
    )


def gradients_reach_all_parameters(subject: Subject) -> None:
    """None is left out, and the features get a gradient."""
    head, features = _head(subject), _features(8).requires_grad_()
    head(features).square().mean().backward()
    idle = [name for name, parameter in head.named_parameters() if parameter.requires_grad and parameter.grad is None]
    subject.require(
        not idle, "use every parameter", f"{', '.join(idle[:5])} get no gradient", "leave out what forward does not use"
    )
    subject.require(
        features.grad is not None and bool(torch.isfinite(features.grad).all()),
        "send a finite gradient back to the features",
        "there is none, or it is not finite",
        "no detach() or no_grad() in forward",
    )


def takes_one_image_in_eval_mode(subject: Subject) -> None:
    """There, the projection of an image does not depend on its batch."""
    head, features = _head(subject).eval(), _features(8)
    expected = "return the same for an image alone as in a batch, in eval mode"
    advice = "use running statistics in eval mode: no BatchNorm with track_running_stats = False"
    try:
        together, alone = head(features), torch.cat([head(row[None]) for row in features])
    except ValueError as error:
        subject.fail(expected, f"it refuses: {error}", advice)
    subject.require(relative(alone, together, 1e-6) < 1e-4, expected, "it differs", advice)


def state_loads_into_a_fresh_one(subject: Subject) -> None:
    """With the state dict of another, it returns the same."""
    head, fresh, features = _head(subject), _head(subject), _features(8)
    head(features)  # BatchNorm's statistics move
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.1)
    fresh.load_state_dict(state_of(head), strict=True)
    subject.require(
        torch.equal(head.eval()(features), fresh.eval()(features)),
        "keep all of its state in its state dict",
        "a fresh one with the same state dict returns something else",
        "register what forward depends on as parameter or buffer",
    )


def _head(subject: Subject) -> nn.Module:
    plan = subject.plan()
    assert plan.head is not None
    head: nn.Module = built(plan.head, 0, in_dim=_IN_DIM, num_classes=_CLASSES)
    return head.train()


def _features(count: int) -> Tensor:
    return torch.randn(count, _IN_DIM, generator=torch.Generator().manual_seed(0))
