"""SimCLRv2's distillation: a student learns, without labels, the class probabilities of a teacher.

Enters: views of a batch. Leaves: the cross-entropy of the student's probabilities with the teacher's. Called by the
engine once a step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn.functional import log_softmax, softmax

from sslkit import Batch, LossOutput, RunError, load_backbone, one_line


class Distillation(nn.Module):
    """A backbone and a head of one output for each class, taught by a frozen network of the same classes.

    The loss is the mean over the images of `-sum over y of P_teacher(y) log P_student(y)`, both probabilities the
    softmax of logits divided by the temperature. The teacher is in eval mode and sees the same view. Labels have no
    part in it; with several views, each is an image.

    Teacher and student are fed the same pixels: `normalize` in [pretrain.data] has to be what the teacher was trained
    with, and be left out where it had none.

    The teacher is the folder of a run that trained a classifier, such as one with `pretrain.weights` of a SimCLR run,
    `builtin.classifier` and `builtin.cross_entropy` on a few labels. It is not saved with the student.

    Source: Chen et al. 2020 (SimCLRv2, arXiv 2006.10029), section 2, equation 2.

    Args:
        backbone: The student's; the engine gives it.
        head: Its classifier; the engine gives it.
        teacher: Folder of the teacher's run, absolute, or relative to where the command is run.
        temperature: Divides the logits of both. SimCLRv2 has 1.0 for a smaller student, 0.1 for one of the teacher's
            own kind.

    Raises:
        RunError: The teacher has no classifier, or not one of as many classes as the student.
    """

    def __init__(
        self, backbone: nn.Module, head: nn.Module, *, teacher: str, temperature: Annotated[float, Gt(0)] = 1.0
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.temperature = temperature
        self._teacher = _Teacher(Path(teacher).expanduser())
        given, wanted = getattr(head, "out_dim", None), self._teacher.num_classes
        if given != wanted:
            raise RunError(f"the teacher {one_line(teacher)} tells {wanted} classes apart, the student's head {given}")

    def forward(self, batch: Batch) -> LossOutput:
        """Return the loss, and `teacher_agreement`, the share of images for which both name the same class."""
        images = torch.cat(list(batch.views))
        target = self._teacher(images)
        logits = self.head(self.backbone(images)).float()
        loss = soft_cross_entropy(logits, target, self.temperature)
        agreement = (logits.detach().argmax(dim=1) == target.argmax(dim=1)).float().mean()
        return LossOutput(loss, {"teacher_agreement": agreement})


class _Teacher:
    """A frozen network, no module: neither trained nor saved with the student.

    Attributes:
        num_classes: Its outputs.
    """

    def __init__(self, folder: Path) -> None:
        with torch.device("cpu"):  # the student may be built without storage, to be looked at only
            model = load_backbone(folder)
        if model.head is None or not isinstance(getattr(model.head, "out_dim", None), int):
            raise RunError(f"the teacher {one_line(folder)} has no head; name the folder of a run with a classifier")
        self.num_classes: int = model.head.out_dim  # type: ignore[assignment]
        self._network = nn.Sequential(model.backbone, model.head).eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return logits, float32 [N, classes]."""
        logits: Tensor = self._network.to(images.device)(images)
        return logits.float()


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the mean over the images of the cross-entropy of two softmaxes.

    Args:
        student: Logits [N, classes].
        teacher: Logits [N, classes], without gradient.
        temperature: Divides both.
    """
    target = softmax(teacher / temperature, dim=1)
    return -(target * log_softmax(student / temperature, dim=1)).sum(dim=1).mean()
