"""A backbone maps images to features of a width that it says, and nothing else about a batch matters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslkit.engine.choices import built
from sslkit.engine.fit import MisfitError, require_fit
from sslkit.errors import PluginError
from sslkit.testing.subject import Subject
from sslkit.testing.training import percent, relative, state_of


def feature_dim_is_true(subject: Subject) -> None:
    """It returns [N, feature_dim]."""
    backbone, images = _backbone(subject), _images(subject)
    returned, width = backbone(images), getattr(backbone, "feature_dim", None)
    shape = list(returned.shape) if isinstance(returned, Tensor) else type(returned).__name__
    subject.require(
        isinstance(width, int) and shape == [len(images), width],
        "return [N, feature_dim]",
        f"it returns {shape} for {len(images)} images, and feature_dim is {width!r}",
        "set self.feature_dim, an integer, and pool maps to one row an image",
    )


def eval_mode_is_deterministic(subject: Subject) -> None:
    """There, an image always has the same features, alone as in a batch."""
    backbone, images = _backbone(subject).eval(), _images(subject)
    with torch.no_grad():
        torch.manual_seed(0)
        first = backbone(images)
        torch.manual_seed(1)
        again, alone = backbone(images), torch.cat([backbone(image[None]) for image in images])
    subject.require(
        torch.equal(first, again),
        "return the same for the same images in eval mode",
        f"features differ by {percent(relative(again, first, 1e-6))}",
        "draw nothing in eval mode: ask self.training before dropout and the like",
    )
    subject.require(
        relative(alone, first, 1e-6) < 1e-3,
        "return the same for an image alone as in a batch, in eval mode",
        f"features differ by {percent(relative(alone, first, 1e-6))}",
        "use running statistics in eval mode",
    )


def gradients_reach_all_parameters(subject: Subject) -> None:
    """None is left out."""
    backbone = _backbone(subject)
    backbone(_images(subject)).square().mean().backward()
    idle = [n for n, parameter in backbone.named_parameters() if parameter.requires_grad and parameter.grad is None]
    subject.require(
        not idle,
        "use every parameter",
        f"{len(idle)} get no gradient: {', '.join(idle[:5])}",
        "leave out what forward does not use, such as a classifier, or set requires_grad = False",
    )


def state_loads_into_a_fresh_one(subject: Subject) -> None:
    """Loaded strictly, it has the same features."""
    backbone, fresh, images = _backbone(subject), _backbone(subject), _images(subject)
    backbone(images)  # BatchNorm's statistics move
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.mul_(1.1)
    fresh.load_state_dict(state_of(backbone), strict=True)
    subject.require(
        torch.equal(backbone.eval()(images), fresh.eval()(images)),
        "keep all of its state in its state dict",
        "a fresh one with the same state dict has other features",
        "register what forward depends on as parameter or buffer",
    )


def takes_channels_last(subject: Subject) -> None:
    """The memory format in which the engine trains changes nothing but rounding."""
    backbone, images = _backbone(subject).eval(), _images(subject)
    with torch.no_grad():
        plain = backbone(images)
        try:
            last = backbone.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))
        except RuntimeError as error:
            subject.fail("take channels_last", f"it raises {error}", "use reshape or flatten in place of view")
    subject.require(
        relative(last, plain, 1e-6) < 1e-3,
        "have the same features in channels_last",
        f"they differ by {percent(relative(last, plain, 1e-6))}",
        "permute dimensions by name or number, never by strides",
    )


def takes_another_size_or_refuses_it(subject: Subject) -> None:
    """Larger images have features of the same width, or raise an error, which the engine makes one line of."""
    backbone, side = _backbone(subject), _images(subject).shape[-1]
    try:
        require_fit(backbone, [(3, side, side), (3, side + side // 2, side + side // 2)])
    except MisfitError:
        return  # in one line, with the sizes that fit
    except PluginError as error:
        subject.fail(
            "return [N, feature_dim] for images of any size, or refuse them",
            str(error),
            "pool over all positions, or raise ValueError for sizes that do not fit",
        )


def _backbone(subject: Subject) -> nn.Module:
    plan = subject.plan()
    assert plan.backbone is not None
    backbone: nn.Module = built(plan.backbone, 0)
    return backbone.train()


def _images(subject: Subject) -> Tensor:
    side = int(subject.plan().views.options.get("image_size", 32))
    return torch.rand(4, 3, side, side, generator=torch.Generator().manual_seed(0))
