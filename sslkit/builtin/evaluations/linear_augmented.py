"""The paper's linear evaluation: a classifier on frozen features of freshly cropped and mirrored images.

Enters: frozen weights; the images of the splits `train`, `test` and, where the data has one, `validation`. Leaves:
accuracies on the test images after the last step, and every prediction. Called by the engine for each `[[evaluate]]`
table that names it. `linear` is its quick relative, which sees each image once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from sslkit import (
    Data,
    Evaluation,
    NonFiniteError,
    Outcome,
    Pretrained,
    Work,
    classification_outcome,
    count_classes,
    labelled_features,
    labels_of,
    needs_labels,
)
from sslkit.builtin.evaluations.labelled import splits_to_learn_from
from sslkit.builtin.evaluations.train_classifier import (
    Precision,
    fitting_batch,
    images_seen,
    steps_of,
    train_classifier,
)
from sslkit.builtin.evaluations.training_images import TrainingImages


def linear_augmented(
    *,
    epochs: Annotated[int, Ge(1)] = 90,
    batch_size: Annotated[int, Ge(1)] = 4096,
    learning_rate: Annotated[float, Gt(0)] = 0.1,
    weight_decay: Annotated[float, Ge(0)] = 0.0,
    precision: Precision = "float32",
) -> Evaluation:
    """Return the evaluation: a linear classifier trained on fresh crops of every image in every epoch.

    Nesterov momentum 0.9, learning rate times batch size / 256, no warm-up, one cosine to zero, no weight decay,
    weights from zero; random crop and mirroring; the backbone frozen with its BatchNorm statistics. The features are
    taken as they are. Trained on train and validation images together, nothing is chosen, and the score is that of the
    last step. The features may be h, z or those of any layer; of data with several labels an image, every class has a
    binary classifier of its own.

    Source: Chen et al. 2020 (SimCLR), appendix B.6; zero initialisation, cosine and the frozen statistics are those of
    its code and README. On CIFAR-10 the README has batches of 512 and 100 epochs.

    Args:
        epochs: Passes over the images; what an epoch leaves out of its last batch is made up for in the end.
        batch_size: Images per step, of all processes together; at most all there are.
        learning_rate: For 256 images per step; in proportion for more or fewer.
        weight_decay: L2 penalty on the weights but not on the bias. The README's command for ImageNet has 1e-6.
        precision: In which the backbone runs on the training images, `float32` or `bf16`.

    Raises:
        DataError: (before the run, where labels are known without opening images) If there is an image without a label,
            or no image.
        NonFiniteError: (by the evaluation) If the training diverged.
    """

    def check(backbone: nn.Module, measure: str, data: Data) -> None:
        count_classes(data, *(labels_of(data, split) for split in (*splits_to_learn_from(data), "test")))

    def work(sizes: Mapping[str, int]) -> Work:
        seen = images_seen(sizes["train"] + sizes.get("validation", 0), batch_size, epochs)
        return Work(embedded=seen, features=("test",))

    def evaluate(pretrained: Pretrained, data: Data) -> Outcome:
        check(pretrained.backbone, pretrained.measure, data)
        test = labelled_features(pretrained, data, "test", multi_label=True)
        images = TrainingImages.whole(data, *splits_to_learn_from(data))
        num_classes = count_classes(data, images.labels, test.labels)
        batch = fitting_batch(batch_size, len(images))
        try:
            trained = train_classifier(
                "builtin.linear_augmented",
                _Frozen(lambda views: pretrained.embed(views), test.values.shape[1]),
                num_classes,
                images,
                pretrained,
                steps=steps_of(epochs, len(images), batch),
                batch_size=batch,
                learning_rate=learning_rate * batch / 256,
                weight_decay=weight_decay,
                normalisation=None,  # `embed` applies it
                precision=precision,
            )
        except NonFiniteError as error:
            raise NonFiniteError(f"builtin.linear_augmented diverged: lower its learning_rate; {error}") from error
        assert trained.head is not None
        with torch.no_grad():
            scores = trained.head(test.values.to(trained.device)).cpu()
        outcome = classification_outcome(scores, test.labels, data)
        outcome.metrics["batch_size"] = float(batch)
        return outcome

    evaluate.check, evaluate.work = check, work  # type: ignore[attr-defined]
    return needs_labels(evaluate)


class _Frozen(nn.Module):
    """A backbone that holds no weights, only the way to those of somebody else: nothing here can change them."""

    def __init__(self, embed: Callable[[Tensor], Tensor], feature_dim: int) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self._embed = embed

    def forward(self, images: Tensor) -> Tensor:
        return self._embed(images)
