"""The default method: embed every view, project, and let the objective compare the projections.

Enters: a backbone, a head and an objective; per step a batch of views. Leaves: the objective's loss. Called by
the engine's step; made for contrastive and redundancy-reducing losses alike, and, with one view and an objective
that declares `labels`, for supervised pretraining.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sslkit import Batch, Loss, PluginError, Progress, did_you_mean, full_precision, gather_rows

_OFFERED = ("labels", "indices", "progress")


class JointEmbedding(nn.Module):
    """A backbone and a head on all views together, and an objective on the projections.

    Both parts see the views of a batch in one forward pass, so that BatchNorm takes its statistics over all of
    them. Source: Chen et al. 2020 (SimCLR), whose code joins the two views before the network (`model.py`).
    Views of several sizes (multi-crop) take one pass per distinct size, as images of unequal sizes cannot be
    joined. Source: Caron et al. 2020 (SwAV), section 3.2.

    Shapes: V views [B, C, h, w]; features h V x [B, D]; projections z V x [B, P], float32 (float64 stays).

    Attributes:
        backbone: What is kept after pretraining.
        head: The projection head, or None when the objective takes the features themselves.
        objective: Any callable `(projections, labels?, indices?, progress?) -> Loss`; a module's parameters train.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module | None,
        objective: Callable[..., Loss],
    ) -> None:
        """Take the parts; what the objective wants is read from its signature, once.

        Args:
            backbone: Images [N, C, h, w] to features [N, D].
            head: Features [N, D] to projections [N, P]; None hands the features to the objective as they are.
            objective: Projections to a loss.

        Raises:
            PluginError: If the objective asks for what nobody offers.
        """
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.objective = objective
        self.wanted = wanted_arguments(objective)

    def embed(self, batch: Batch) -> list[Tensor]:
        """Return the features of every view, V tensors [B, D], in the order of the views."""
        return embed_views(self.backbone, batch.views)

    def loss(self, embeddings: Sequence[Tensor], batch: Batch) -> Loss:
        """Return the objective's loss of all embeddings of the local batch, together with those of all other ranks.

        Args:
            embeddings: V tensors [B, D], as `embed` returns them, of the whole batch.
            batch: The batch they came from.
        """
        projections = list(embeddings)
        if self.head is not None:
            # Joined even after several sizes: features have one width, and the head's BatchNorm sees all views.
            projections = list(self.head(_join(projections)).chunk(len(projections)))
        # Similarities in half precision lose the differences that an objective lives from.
        projections = [z if z.dtype == torch.float64 else z.float() for z in projections]
        offered: dict[str, Any] = {"labels": batch.labels, "indices": batch.indices, "progress": batch.progress}
        if not getattr(self.objective, "rank_local", False):
            # The global batch, so that a plainly written objective means the same on any number of ranks.
            projections = list(gather_rows(torch.stack(projections, dim=1)).unbind(dim=1))
            offered |= {name: gather_rows(offered[name]) for name in ("labels", "indices") if name in self.wanted}
        # Products in half precision would undo it within: an objective written plainly is right under bf16 too.
        with full_precision(projections[0].device):
            return self.objective(projections, **{name: offered[name] for name in self.wanted})

    def forward(self, batch: Batch) -> Loss:
        """Return the loss of a batch in one go: `loss(embed(batch), batch)`."""
        return self.loss(self.embed(batch), batch)

    def after_backward(self, progress: Progress) -> None:
        """Pass the moment between backward and the update on to an objective that has the hook."""
        hook = getattr(self.objective, "after_backward", None)
        if hook is not None:
            hook(progress)

    def after_step(self, progress: Progress) -> None:
        """Pass the moment after the update on to an objective that has the hook."""
        hook = getattr(self.objective, "after_step", None)
        if hook is not None:
            hook(progress)


def embed_views(backbone: Callable[[Tensor], Tensor], views: Sequence[Tensor]) -> list[Tensor]:
    """Return the features of every view, in one forward pass for each size of images.

    Views of one size pass together, so that BatchNorm takes its statistics over all of them.

    Args:
        backbone: Images [N, C, h, w] to features [N, D].
        views: V tensors [B, C, h, w]; sizes may differ.

    Returns:
        V tensors [B, D], in the order of the views.

    Raises:
        PluginError: If the backbone returns something else.
    """
    by_size: dict[torch.Size, list[int]] = {}
    for position, view in enumerate(views):
        by_size.setdefault(view.shape[1:], []).append(position)
    features: dict[int, Tensor] = {}
    for positions in by_size.values():
        images = _join([views[position] for position in positions])
        joined = backbone(images)
        if not isinstance(joined, Tensor) or joined.ndim != 2 or len(joined) != len(images):
            found = list(joined.shape) if isinstance(joined, Tensor) else type(joined).__name__
            raise PluginError(
                f"the backbone must return features [{len(images)}, D] for {len(images)} images, "
                f"but returned {found}; pool it, or choose another backbone"
            )
        features.update(zip(positions, joined.chunk(len(positions)), strict=True))
    return [features[position] for position in range(len(views))]


def wanted_arguments(objective: Callable[..., Loss]) -> tuple[str, ...]:
    """Return which of `labels`, `indices` and `progress` an objective declares by name.

    A module is asked for the signature of its `forward`, unless it carries a `__signature__` of its own, as a
    wrapper around another objective does. `**kwargs` declares nothing.

    Raises:
        PluginError: If it requires an argument that nobody offers.
    """
    is_plain_module = isinstance(objective, nn.Module) and not hasattr(objective, "__signature__")
    try:
        signature = inspect.signature(objective.forward if is_plain_module else objective)  # type: ignore[attr-defined]
    except (TypeError, ValueError):  # some C functions have none
        return ()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    declared = [parameter for parameter in list(signature.parameters.values())[1:] if parameter.kind in named]
    for parameter in declared:
        if parameter.name not in _OFFERED and parameter.default is inspect.Parameter.empty:
            label = getattr(objective, "__name__", type(objective).__name__)
            raise PluginError(
                f"the objective {label} asks for {parameter.name!r}, but an objective is given its projections and "
                f"on request {', '.join(_OFFERED)}{did_you_mean(parameter.name, _OFFERED)}"
            )
    return tuple(parameter.name for parameter in declared if parameter.name in _OFFERED)


def _join(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
