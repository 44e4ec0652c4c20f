"""DINO: a student says of every crop of an image what its own moving average says of the large ones.

Enters: views of a batch, the large crops first. Leaves: the cross-entropy of what the two say. Called by the engine
once a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn
from torch.nn.functional import log_softmax, softmax

from sslkit import Batch, LossOutput, MomentumCopy, Progress, embed_views, rising_momentum, sum_over_ranks, world_size
from sslkit_dino.prototype_head import PrototypeHead

Share = Annotated[float, Interval(ge=0, le=1)]


class SelfDistillation(nn.Module):
    """Self-distillation without labels: cross-entropy between teacher and student, over crops of several sizes.

    The loss is the mean over the images and over all pairs of a large crop and another crop of
    `-sum over p of P_teacher(p | large) log P_student(p | other)`. Two things keep the teacher from saying the same of
    all images: a centre, the running mean of its logits, is taken away from them, which alone would end in equal shares
    for all prototypes; and its temperature is low, which alone would end in one prototype for all images.

    The teacher is what is exported and evaluated.

    Source: Caron et al. 2021 (DINO, arXiv:2104.14294), section 3.1, algorithm 1; multi-crop and momentum there;
    equation 4 for the centre; temperatures: section 3.2 and appendix D; the frozen last layer: the authors' code.

    Args:
        backbone: The student's; the engine gives it. The teacher begins as a copy.
        head: The student's, `dino.prototype_head`; the engine gives it.
        num_global_views: Large crops, the first ones of the views; the teacher sees these only.
        student_temperature: Divides the student's logits.
        teacher_temperature: Divides the teacher's, after the warm-up. Section 3.2: 0.07; the code's
            default, which it calls safer, is 0.04.
        initial_teacher_temperature: What it is at the start of its warm-up.
        teacher_warmup_epochs: Length of that: a straight line, which the last of these epochs is the end of.
        momentum: The teacher's at the start; it rises to 1 along half a cosine.
        centre_momentum: Share of the centre's own past.
        centring: Whether there is a centre at all. False collapses, as figure 7 of the paper shows.
        frozen_epochs: Epochs in which the prototypes do not train. The code: 1.
        clip_gradient: Largest norm of each parameter's gradient; 0 clips none. The code: 3.

    Attributes:
        backbone: The teacher's.
        head: The teacher's.
        centre: float32 [P].

    Raises:
        TypeError: Another head, which has no prototypes.
    """

    min_views = 2
    centre: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        num_global_views: Annotated[int, Ge(1)] = 2,
        student_temperature: Annotated[float, Gt(0)] = 0.1,
        teacher_temperature: Annotated[float, Gt(0)] = 0.07,
        initial_teacher_temperature: Annotated[float, Gt(0)] = 0.04,
        teacher_warmup_epochs: Annotated[float, Ge(0)] = 30,
        momentum: Share = 0.996,
        centre_momentum: Share = 0.9,
        centring: bool = True,
        frozen_epochs: Annotated[float, Ge(0)] = 1,
        clip_gradient: Annotated[float, Ge(0)] = 3.0,
    ) -> None:
        super().__init__()
        if not isinstance(head, PrototypeHead):
            raise TypeError(f'self-distillation needs the head "dino.prototype_head", not {type(head).__name__}')
        self.student = nn.ModuleDict({"backbone": backbone, "head": head})
        self.teacher = MomentumCopy(self.student)
        self.register_buffer("centre", torch.zeros(head.out_dim))
        self._num_global_views = num_global_views
        self._student_temperature = student_temperature
        self._temperatures = (initial_teacher_temperature, teacher_temperature, teacher_warmup_epochs)
        self._momentum = momentum
        self._centre_momentum = centre_momentum
        self._centring = centring
        self._frozen_epochs = frozen_epochs
        self._clip_gradient = clip_gradient
        self._mean_logits: Tensor | None = None  # of this step, over the global batch

    @property
    def backbone(self) -> nn.Module:
        """The teacher's backbone."""
        return self.teacher.module.get_submodule("backbone")

    @property
    def head(self) -> nn.Module:
        """The teacher's head."""
        return self.teacher.module.get_submodule("head")

    def embed(self, batch: Batch) -> dict[str, list[Tensor]]:
        """Return the student's features of all views and the teacher's of the large ones, each [B, D]."""
        with torch.no_grad():
            taught = embed_views(self.backbone, batch.views[: self._num_global_views])
        return {"student": embed_views(self.student["backbone"], batch.views), "teacher": taught}

    def loss(self, embeddings: dict[str, Sequence[Tensor]], batch: Batch) -> LossOutput:
        """Return the loss of the rank's batch.

        Returns:
            The loss; and, in steps that are measured, `teacher_entropy`, the entropy of what the teacher says, nats: 0
            and log P are the two ways to collapse.
        """
        said = _logits(self.student["head"], embeddings["student"])
        with torch.no_grad():
            taught = _logits(self.head, embeddings["teacher"])
            self._mean_logits = sum_over_ranks(torch.stack(taught).mean(dim=(0, 1))) / world_size()
            temperature = self.teacher_temperature(batch.progress)
            targets = [softmax((logits - self.centre) / temperature, dim=-1) for logits in taught]
        guesses = [log_softmax(logits / self._student_temperature, dim=-1) for logits in said]
        pairs = [
            -(target * guess).sum(dim=-1).mean()
            for place, target in enumerate(targets)
            for other, guess in enumerate(guesses)
            if place != other
        ]
        metrics = {"teacher_entropy": _entropy(torch.stack(targets))} if batch.progress.measured else {}
        return LossOutput(torch.stack(pairs).mean(), metrics)

    def after_backward(self, progress: Progress) -> None:
        """Clip the gradient of each parameter, and keep the prototypes as they are in the first epochs."""
        if self._clip_gradient:
            gradients = [p.grad for p in self.student.parameters() if p.grad is not None]
            norms = torch.stack(torch._foreach_norm(gradients))
            torch._foreach_mul_(gradients, list((self._clip_gradient / (norms + 1e-6)).clamp(max=1.0)))
        if progress.epoch < self._frozen_epochs:
            head = self.student["head"]
            head.prototypes.grad = None
            if head.lengths is not None:
                head.lengths.grad = None

    @torch.no_grad()
    def after_step(self, progress: Progress) -> None:
        """Let teacher and centre follow."""
        self.teacher.follow(self.student, self.teacher_momentum(progress))
        if self._centring and self._mean_logits is not None:
            self.centre.lerp_(self._mean_logits, 1 - self._centre_momentum)
        self._mean_logits = None

    def teacher_temperature(self, progress: Progress) -> float:
        """Return what divides the teacher's logits in a step: a straight line, then level."""
        first, last, epochs = self._temperatures
        # By whole epochs, and the last of them at the end, as the code has it.
        done = 1.0 if progress.epoch >= epochs else min(progress.epoch / max(epochs - 1, 1), 1.0)
        return first + (last - first) * done

    def teacher_momentum(self, progress: Progress) -> float:
        """Return the teacher's momentum in a step: from its base value to 1 along half a cosine."""
        return rising_momentum(self._momentum, 1.0, progress.fraction)


def _entropy(shares: Tensor) -> Tensor:
    return -(shares * shares.clamp(min=1e-12).log()).sum(dim=-1).mean()


def _logits(head: Any, features: Sequence[Tensor]) -> list[Tensor]:
    """Return the head's float32 logits of each view, of one pass over all of them."""
    logits: Tensor = head(torch.cat(list(features)))
    return list(logits.float().chunk(len(features)))
