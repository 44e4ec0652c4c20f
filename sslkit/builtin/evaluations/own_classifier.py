"""The score of weights that bring their classifier along: what supervised pretraining reached.

Enters: weights with a head that gives a logit for every class of the data; the split `test`. Leaves: accuracies and
every prediction. Called by the engine for each `[[evaluate]]` table that names it. Nothing is trained.
"""

from __future__ import annotations

from torch import nn

from sslkit import (
    Data,
    Evaluation,
    Outcome,
    Pretrained,
    RunError,
    Work,
    check_labels,
    classification_outcome,
    count_classes,
    labelled_features,
    needs_labels,
    one_line,
)


def own_classifier() -> Evaluation:
    """Return the evaluation: the head's outputs are taken as the scores of the classes.

    For weights of a supervised pretraining, whose head is `builtin.classifier`; `features = ["z"]`.

    Raises:
        RunError: (before the run) If something else than z is to be measured, or z is not as wide as there are
            classes.
        DataError: (before the run, where labels are known without opening images) If there is an image without a label,
            or no image.
    """

    def check(backbone: nn.Module, measure: str, data: Data, head: nn.Module | None = None) -> None:
        if measure != "z":
            raise RunError(f'looks at the outputs of the head, not at "{one_line(measure)}"; set features = ["z"]')
        check_labels(data, "test")
        width = getattr(head, "out_dim", data.num_classes)
        if width != data.num_classes:
            raise RunError(
                f"the head has {width} outputs, the data {data.num_classes} classes; a new classifier is trained by "
                "builtin.linear"
            )

    def evaluate(pretrained: Pretrained, data: Data) -> Outcome:
        check(pretrained.backbone, pretrained.measure, data, pretrained.head)
        logits, labels = labelled_features(pretrained, data, "test", multi_label=True)
        num_classes = count_classes(data, labels)
        if logits.shape[1] != num_classes:
            raise RunError(
                f"builtin.own_classifier: the head has {logits.shape[1]} outputs, the data {num_classes} classes; "
                "a new classifier is trained by builtin.linear"
            )
        return classification_outcome(logits, labels, data)

    evaluate.check = check  # type: ignore[attr-defined]
    evaluate.work = lambda sizes: Work(features=("test",))  # type: ignore[attr-defined]
    return needs_labels(evaluate)
