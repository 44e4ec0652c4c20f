"""Floating-point operations of a network, counted without computing any.

Enters: modules on torch's meta device, and the shapes of images. Leaves: counts; a multiplication and an addition are
two. Called by `cost`. What is counted are convolutions and matrix products, as torch does: all the rest of a network is
a per cent of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import flop_registry

from sslkit.engine.interfaces import Batch, LossOutput, Progress, embeds
from sslkit.recipe.plan import Choice

Shape = tuple[int, ...]

_FEW: Final = 2  # images, where it takes more than one
_COLOURS: Final = 3  # channels of images, where no convolution says so
_THRICE: Final = 3.0  # a forward pass, and a backward worth two


class Operations(NamedTuple):
    """What one image takes.

    Attributes:
        trained: Forward and backward; in pretraining of all its views, with head and objective.
        embedded: Forward through the backbone; in pretraining of all its views.
    """

    trained: float
    embedded: float

    @property
    def ratio(self) -> float:
        """How many times as much an image takes that is trained on; what counts nothing takes thrice as much."""
        return self.trained / self.embedded if self.embedded else _THRICE


class Network(NamedTuple):
    """A backbone, and what an image of the size that it is fed takes.

    Attributes:
        name: What tells it from others.
        make: Makes it, with storage.
        shape: (C, h, w).
        operations: Of one image.
        num_parameters: Its size.
    """

    name: str
    make: Callable[[], nn.Module]
    shape: Shape
    operations: Operations
    num_parameters: int


def of_step(method: Any, shapes: Sequence[Shape], batch_size: int) -> Operations:
    """Return the operations of one image in a step of pretraining.

    An objective that cannot do without numbers is left out. Similarities are few beside a network's products, but grow
    with the batch: in batches of 1024, NT-Xent's are 7 % of what the smallest ResNet takes.

    Args:
        method: On the meta device, or with numbers; its normalisations are switched off by it.
        shapes: (C, h, w) of each view.
        batch_size: Images of the step.
    """
    images = [_images(method, shape, batch_size) for shape in shapes]
    places = torch.zeros(batch_size, dtype=torch.int64, device=images[0].device)
    batch = Batch(images, places, places, Progress(0, 1, 1.0, measured=False))
    _without_normalisation(method).train()
    with _Counter() as counter:
        if not embeds(method):
            loss, embedded = method(batch), 0
        else:
            embeddings = method.embed(batch)
            embedded = counter.total
            try:
                loss = method.loss(embeddings, batch)
            except (NotImplementedError, RuntimeError):
                counter.total = embedded
                loss = _sum(method, embeddings)
        LossOutput.of(loss).loss.backward()  # type: ignore[no-untyped-call]
    return Operations(counter.total / batch_size, embedded / batch_size)


def of_backbone(backbone: nn.Module, shape: Shape) -> Operations:
    """Return the operations of one image.

    Args:
        backbone: On any device; it stays as it is.
        shape: (C, h, w).
    """
    own = copy.deepcopy(backbone).requires_grad_(True).train()
    try:
        return _of_backbone(_without_normalisation(copy.deepcopy(own).to("meta")), shape)
    except (NotImplementedError, RuntimeError):  # something in it does not work without numbers
        return _of_backbone(own, shape)


def shape_for(backbone: nn.Module, size: int) -> Shape:
    """Return the shape (C, h, w) of the images that a backbone is fed: its first convolution knows the channels.

    Args:
        backbone: On any device.
        size: Side of the images, pixels.
    """
    first = next((module for module in backbone.modules() if isinstance(module, nn.Conv2d)), None)
    return (_COLOURS if first is None else first.in_channels), size, size


def num_parameters(module: nn.Module) -> int:
    """Return the number of a module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def shaping(choice: Choice | None) -> tuple[str, object] | None:
    """Return what tells an objective or an optimizer from others as far as it changes how long a step takes.

    Numbers with a fraction, such as a temperature or a momentum, give nothing its shape.

    Args:
        choice: Of a recipe; None if it has none.
    """
    if choice is None:
        return None
    return choice.component.name, {key: value for key, value in choice.options.items() if not isinstance(value, float)}


def _of_backbone(backbone: nn.Module, shape: Shape) -> Operations:
    with _Counter() as counter:
        features = backbone(_images(backbone, shape, _FEW))
        embedded = counter.total
        features.sum().backward()
    return Operations(counter.total / _FEW, embedded / _FEW)


def _sum(method: Any, embeddings: Any) -> Tensor:
    """Return something that backward can begin with, in place of a loss: all projections, or else embeddings."""
    found = [tensor for tensor in tree_flatten(embeddings)[0] if tensor.requires_grad]
    head = getattr(method, "head", None)
    return torch.stack([(tensor if head is None else head(tensor)).sum() for tensor in found]).sum()


def _images(module: nn.Module, shape: Shape, count: int) -> Tensor:
    return torch.zeros((count, *shape), device=next(module.parameters()).device)


def _without_normalisation(module: nn.Module) -> nn.Module:
    """Let BatchNorm return what it is given: it counts nothing, and takes most of the time without numbers."""
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.forward = lambda images: images  # type: ignore[method-assign,assignment]
    return module


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the operations of convolutions and matrix products, by torch's own formulas.

    torch's FlopCounterMode also takes every other operation apart, which takes seconds for a large network.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result
