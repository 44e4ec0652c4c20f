"""Fine-tuning: what the weights are worth as a start for training the network itself, on all labels or on a few.

Enters: weights; the images of the splits `train`, `test` and, where the data has one, `validation`. Leaves: accuracies
of the trained network on the test images after the last step, the chosen setting, and every prediction. Called by the
engine for each `[[evaluate]]` table that names it; with the baseline "random" it is training from scratch. The weights
that it is lent stay as they are: it trains a copy.
"""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Gt, Interval, MinLen
from torch import Tensor, nn

from sslkit import (
    Data,
    Evaluation,
    FrozenModel,
    NonFiniteError,
    Outcome,
    Pretrained,
    RunError,
    Work,
    balanced_holdout,
    classification_outcome,
    count_classes,
    labels_of,
    needs_labels,
    one_line,
    rank,
)
from sslkit.builtin.evaluations.classification import metric_of
from sslkit.builtin.evaluations.labelled import splits_to_learn_from
from sslkit.builtin.evaluations.partly_frozen import PartlyFrozen, require_block, set_batch_norm_decay
from sslkit.builtin.evaluations.train_classifier import (
    Precision,
    fitting_batch,
    images_seen,
    steps_of,
    train_classifier,
)
from sslkit.builtin.evaluations.training_images import TrainingImages
from sslkit.builtin.evaluations.up_to_head_layer import UpToHeadLayer

_DIVERGED = -1.0  # below every score

logger = logging.getLogger("sslkit")


class Setting(NamedTuple):
    """How one network is trained.

    Attributes:
        learning_rate: For 256 images per step.
        weight_decay: As given, before it is divided by the learning rate.
    """

    learning_rate: float
    weight_decay: float

    def __str__(self) -> str:
        return f"learning_rate {self.learning_rate:g}, weight_decay {self.weight_decay:g}"


def fine_tune(
    *,
    epochs: Annotated[int, Ge(1)] = 30,
    steps: Annotated[int, Ge(1)] | None = None,
    batch_size: Annotated[int, Ge(1)] = 256,
    learning_rates: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] = (0.05,),
    weight_decays: Annotated[tuple[Annotated[float, Ge(0)], ...], MinLen(1)] = (0.0,),
    decay_over_rate: bool = False,
    labels: Annotated[float, Interval(gt=0, le=1)] = 1.0,
    from_block: str | None = None,
    validation_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.1,
    precision: Precision = "float32",
) -> Evaluation:
    """Return the evaluation: the network trained on with a new classifier, on cropped and mirrored images.

    SGD with Nesterov momentum 0.9, learning rate times batch size / 256, no warm-up, one cosine to zero; the classifier
    is always a new one and starts from zero. BatchNorm statistics decay by max(1 - 10/s, 0.9), s the steps of an epoch.
    With several settings each is trained by itself and scored on validation images (the data's own split, or else a
    share of each class), by the metric of the data; the best one is trained again on train and validation images
    together, and the score is that of its last step on the test images. A setting that diverges is lost. With a single
    setting nothing is held out. Of data with several labels an image, every class has a binary classifier of its own.

    With `features = ["head.layers.2"]` the first layer of the head of `simclr.mlp`, with its BatchNorm and ReLU, stays
    on the network and is trained with it, as SimCLRv2 does of a head of three layers where labels are few; so does any
    layer of a head, by its name. The baseline "random" is then the backbone alone.

    Source: Chen et al. 2020 (SimCLR), appendix B.5 (ImageNet with 1 % and 10 % of the labels: a single setting, 0.05,
    batches of 4096, 60 and 30 epochs) and B.8.1 (other data: 20 000 steps of 256 images, 40 000 from scratch; a grid of
    7 learning rates times 8 weight decays, the decays divided by the rates; the decay of the statistics). The schedule
    is not stated; the cosine is that of the paper's code.

    Args:
        epochs: Passes over the images; what an epoch leaves out of its last batch is made up for in the end.
        steps: Optimizer steps, instead of epochs.
        batch_size: Images per step, of all processes together; at most all there are.
        learning_rates: Rates to choose from, for 256 images per step; in proportion for more or fewer.
        weight_decays: L2 penalties to choose from, on weights, not on norms and biases.
        decay_over_rate: Divide each weight decay by the learning rate that is applied, as the paper does where it has
            a grid of both.
        labels: Share of the labelled images to train on: of each class, at least one; drawn from the seed. Of a
            validation split, the same share.
        from_block: Name of a layer of the backbone: what it lists before this one stays frozen, with its BatchNorm
            statistics. Left out, everything is trained.
        validation_fraction: Share of each class held out where the data has no validation split.
        precision: Of the training, `float32` or `bf16`.

    Raises:
        DataError: (before the run, where labels are known without opening images) If there is an image without a label,
            or no image can be held out.
        RunError: (before the run) If there is no such block, or something else than h or a layer of the head is to be
            measured.
        NonFiniteError: (by the evaluation) If every setting diverged, or the chosen one did on all images.
    """
    settings = [Setting(rate, decay) for rate, decay in product(learning_rates, weight_decays)]

    def check(backbone: nn.Module, measure: str, data: Data) -> None:
        if measure != "h" and _layer_of_head(measure, backbone) is None:
            raise RunError(
                f'trains the network up to its features h, or on to a layer of its head, not "{one_line(measure)}"; '
                'set features = ["h"]'
            )
        if from_block is not None:
            require_block(backbone, from_block)
        splits = splits_to_learn_from(data)
        known = {split: labels_of(data, split) for split in (*splits, "test")}
        count_classes(data, *known.values())
        if len(settings) > 1 and splits == ["train"]:
            every = known["train"]
            # Whether images can be held out is a matter of their numbers: any seed tells.
            balanced_holdout(every[_share(every, labels, seed=0)], validation_fraction, seed=0)

    def work(sizes: Mapping[str, int]) -> Work:
        chosen = {split: round(labels * sizes[split]) for split in ("train", "validation") if split in sizes}
        num_images = sum(chosen.values())
        trained, embedded = images_seen(num_images, batch_size, epochs, steps), sizes["test"]
        if len(settings) > 1:
            held = chosen.get("validation", round(validation_fraction * num_images))
            trained += len(settings) * images_seen(num_images - held, batch_size, epochs, steps)
            embedded += len(settings) * held
        return Work(trained, embedded)

    def evaluate(pretrained: Pretrained, data: Data) -> Outcome:
        check(pretrained.backbone, pretrained.measure, data)
        positions = {
            split: _share(labels_of(data, split), labels, pretrained.seed) for split in splits_to_learn_from(data)
        }
        everything = TrainingImages(data, positions)
        num_classes = count_classes(data, everything.labels, labels_of(data, "test"))
        logger.info("builtin.fine_tune: %d images, a new head for %d classes", len(everything), num_classes)

        def trained(images: TrainingImages, setting: Setting, name: str) -> FrozenModel:
            batch = fitting_batch(batch_size, len(images))
            rate = setting.learning_rate * batch / 256
            backbone: nn.Module = PartlyFrozen(copy.deepcopy(pretrained.backbone), from_block)
            layer = _layer_of_head(pretrained.measure, pretrained.backbone)
            if layer is not None and pretrained.head is not None:
                backbone = UpToHeadLayer(backbone, copy.deepcopy(pretrained.head), layer)
            set_batch_norm_decay(backbone, len(images) / batch)
            return train_classifier(
                "builtin.fine_tune",
                backbone,
                num_classes,
                images,
                pretrained,
                steps=steps or steps_of(epochs, len(images), batch),
                batch_size=batch,
                learning_rate=rate,
                weight_decay=setting.weight_decay / (rate if decay_over_rate else 1.0),
                normalisation=pretrained.normalisation,
                precision=precision,
                name=name,
            )

        chosen, metrics = settings[0], dict[str, float]()
        if len(settings) > 1:
            fit_part, held_out = _parted(data, positions, validation_fraction, pretrained.seed)
            metric = metric_of(data, everything.labels)

            def trial(setting: Setting, name: str) -> float:
                return _scored(trained(fit_part, setting, name), held_out, data).metrics[metric]

            chosen, best = _best(settings, trial, pretrained)
            metrics[f"validation_{metric}"] = best
        try:
            outcome = _scored(trained(everything, chosen, "chosen"), data, data)
        except NonFiniteError as error:
            raise NonFiniteError(f"builtin.fine_tune diverged with {chosen}: lower learning_rates; {error}") from error
        outcome.metrics.update(metrics | chosen._asdict() | {"num_train": float(len(everything))})
        return outcome

    evaluate.check, evaluate.work = check, work  # type: ignore[attr-defined]
    return needs_labels(evaluate)


def _layer_of_head(measure: str, backbone: nn.Module) -> str | None:
    """Return the name of the layer of the head that is measured, or None."""
    if not measure.startswith("head.") or measure in dict(backbone.named_modules()):
        return None
    return measure.removeprefix("head.")


def _best(
    settings: Sequence[Setting], trial: Callable[[Setting, str], float], pretrained: Pretrained
) -> tuple[Setting, float]:
    """Return the setting with the highest score on validation, the first among equals, and that score.

    Scores are noted: after a stop, a setting that was tried is not tried again.
    """
    for number, setting in enumerate(settings, start=1):
        place = f"builtin.fine_tune: setting {number} of {len(settings)}, {setting}"
        if str(setting) not in pretrained.notes:
            name = f"setting-{number}"
            try:
                pretrained.notes[str(setting)] = trial(setting, name)
            except NonFiniteError:
                pretrained.notes[str(setting)] = _DIVERGED
            if pretrained.checkpoints is not None and rank() == 0:
                shutil.rmtree(pretrained.checkpoints / name, ignore_errors=True)
        score = pretrained.notes[str(setting)]
        logger.info("%s: %s", place, "diverged" if score == _DIVERGED else f"{score:.4f} on validation")
    scores = [pretrained.notes[str(setting)] for setting in settings]
    if max(scores) == _DIVERGED:
        raise NonFiniteError("every setting of builtin.fine_tune diverged; give it lower learning_rates")
    best = scores.index(max(scores))
    return settings[best], scores[best]


def _share(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Return the positions of a share of each class, at least one image of each, in rising order."""
    if fraction == 1:
        return torch.arange(len(labels))
    return torch.nonzero(~balanced_holdout(labels, 1 - fraction, seed)).flatten()


def _parted(
    data: Data, positions: dict[str, Tensor], fraction: float, seed: int
) -> tuple[TrainingImages, TrainingImages]:
    """Return what to try settings on, and what to choose by."""
    train = positions["train"]
    if "validation" in positions:
        return TrainingImages(data, {"train": train}), TrainingImages(data, {"validation": positions["validation"]})
    held = balanced_holdout(labels_of(data, "train")[train], fraction, seed)
    return TrainingImages(data, {"train": train[~held]}), TrainingImages(data, {"train": train[held]})


def _scored(model: FrozenModel, images: Data, data: Data) -> Outcome:
    """Return the outcome of a trained network on the images' test split; `data` says by which metric."""
    logits, labels = model.measuring("z").features(images, "test")
    if not torch.isfinite(logits).all():
        raise NonFiniteError("the logits of the trained network are not finite")
    return classification_outcome(logits, labels, data)
