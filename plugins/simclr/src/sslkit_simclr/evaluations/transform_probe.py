"""What features still know about the transform that an image went through: table 3 of the paper.

Enters: frozen weights and images, labelled or not. Leaves: for each transform, how often a small network names it from
the features, and how often it would without looking. Called by the engine for each `[[evaluate]]` table that names it,
once for h and once for z where both are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Gt, Interval, MinLen
from torch import Tensor, nn

from sslkit import (
    BadImageError,
    Data,
    DataError,
    Evaluation,
    Features,
    MLPProbe,
    Outcome,
    Pretrained,
    Work,
    sample_keys,
    uniforms,
)
from sslkit_simclr.operations.distortion import ColourDistortion
from sslkit_simclr.operations.fused import PIXELS
from sslkit_simclr.operations.geometry import QuarterTurns
from sslkit_simclr.operations.noise import Noise
from sslkit_simclr.operations.operation import Operation

Target = Literal["colour", "rotation", "noise", "sobel"]

# The place of the epoch in the hash. Epochs count from 0: no transform shares its numbers with a view of pretraining.
_FIRST_EPOCHS: dict[str, int] = {"colour": -1, "rotation": -3, "noise": -5, "sobel": -7, "chosen": -9}
_NUM_DRAWS = 7  # as many as the greediest operation takes


class _Question(NamedTuple):
    """A transform, and what of its parameters is to be named, int64 [N]."""

    operation: Operation
    answer: Callable[[Any], Tensor]


def transform_probe(
    *,
    targets: Annotated[tuple[Target, ...], MinLen(1)] = ("colour", "rotation", "noise", "sobel"),
    noise_deviation: Annotated[float, Gt(0)] = 0.1,
    max_train_images: Annotated[int, Ge(2)] = 50_000,
    hidden_dim: Annotated[int, Ge(1)] = MLPProbe.hidden_dim,
    epochs: Annotated[int, Ge(1)] = MLPProbe.epochs,
    batch_size: Annotated[int, Ge(1)] = MLPProbe.batch_size,
    learning_rate: Annotated[float, Gt(0)] = MLPProbe.learning_rate,
    weight_decays: Annotated[tuple[Annotated[float, Ge(0)], ...], MinLen(1)] = MLPProbe.weight_decays,
    validation_fraction: Annotated[float, Interval(gt=0, lt=1)] = MLPProbe.validation_fraction,
) -> Evaluation:
    """Return the evaluation: for each target, a small network names from features which transform was applied.

    `colour`: grey with probability 0.2, or as it was. `rotation`: which of four quarter turns, each as likely.
    `noise` and `sobel`: changed with probability 0.5, or as it was. The operations are those that pretraining uses, and
    act one at a time on images as evaluations see them, without crop or flip; labels are not needed. What happens to an
    image follows from the seed, the target and its place among the split's images alone.

    The metrics hold each target's accuracy and, as `chance_<target>`, that of always naming what is most frequent in
    training; the headline is the mean of the accuracies. Ask for `features = ["h", "z"]`: the paper finds that the
    projection head loses what the network before it knows.

    The paper gives neither the size of its networks nor their training, nor the noise's deviation nor the data, so
    those here are ours; weight decay and epoch are chosen on a share of the training images. Rotation, noise and Sobel
    belong to backbones that were pretrained with them as additional transforms: the numbers of the paper's table are
    only to be compared with those.

    Source: SimCLR, section 4.2, table 3, whose 80, 25, 50 and 50 % by chance give the four probabilities.

    Args:
        targets: What is to be named.
        noise_deviation: Of the noise, for pixels in [0, 1].
        max_train_images: Train on at most so many images, drawn from the seed; all test images count.
        hidden_dim: Width of the network's hidden layer.
        epochs: Passes over the training images.
        batch_size: At most this many images per step.
        learning_rate: Adam's, at the first step; one cosine to zero.
        weight_decays: Decoupled weight decays to choose from.
        validation_fraction: Share of the training images that chooses decay and epoch.

    Raises:
        DataError: (before the run) If colour is to be named and images have none; (by the evaluation) if there are too
            few.
        NonFiniteError: (by the evaluation) If a feature is not finite.
    """
    probe = MLPProbe(hidden_dim, epochs, batch_size, learning_rate, weight_decays, validation_fraction)
    questions = {target: _question(target, noise_deviation) for target in dict.fromkeys(targets)}

    def check(backbone: nn.Module, measure: str, data: Data) -> None:
        if "colour" not in questions:
            return
        try:
            image, _ = data.split("test")[0]
        except BadImageError:  # what that means is for the policy to say
            return
        _require_colour(len(image.getbands() if hasattr(image, "getbands") else image))

    def work(sizes: Mapping[str, int]) -> Work:
        return Work(embedded=len(questions) * (min(sizes["train"], max_train_images) + sizes["test"]))

    def evaluate(pretrained: Pretrained, data: Data) -> Outcome:
        check(pretrained.backbone, pretrained.measure, data)
        train = _transformed(pretrained, data, "train", questions, max_train_images)
        test = _transformed(pretrained, data, "test", questions, None)
        return probe.outcome(train, test, pretrained)

    evaluate.check, evaluate.work = check, work  # type: ignore[attr-defined]
    return evaluate


def _require_colour(channels: int) -> None:
    if channels != 3:
        raise DataError(
            f"images have {channels} channels, and colour needs 3; leave it out: "
            'targets = ["rotation", "noise", "sobel"]'
        )


def _question(target: Target, noise_deviation: float) -> _Question:
    if target == "colour":
        operation = ColourDistortion(0.0, 0.2, 0.0, "paper", PIXELS.distort)
        return _Question(operation, lambda parameters: parameters.gray.long())
    if target == "rotation":
        return _Question(QuarterTurns(0.75), lambda parameters: parameters.quarters.long())
    if target == "noise":
        return _Question(Noise(0.5, noise_deviation), lambda parameters: parameters.chosen.long())
    from sslkit_simclr.operations.corrupt import Sobel  # imports kornia, which takes seconds

    return _Question(Sobel(0.5), lambda parameters: parameters.chosen.long())


def _transformed(
    pretrained: Pretrained, data: Data, split: str, questions: dict[Target, _Question], limit: int | None
) -> dict[str, Features]:
    """Return, for each target, features of a split's transformed images and what is to be named."""
    chosen = _chosen(len(data.split(split)), limit, pretrained.seed)
    found: dict[str, list[Features]] = {target: [] for target in questions}
    start = 0
    for images, _ in pretrained.images(data, split):
        places = np.arange(start, start + len(images))
        start += len(images)
        kept = chosen[places]
        if not kept.any():
            continue
        if "colour" in questions:
            _require_colour(images.shape[1])
        pixels = images[torch.from_numpy(kept)].to(pretrained.device)
        for target, question in questions.items():
            keys = sample_keys(pretrained.seed, _FIRST_EPOCHS[target] - (split == "test"), places[kept])
            draws = torch.from_numpy(uniforms(keys, 1, _NUM_DRAWS)[:, 0]).to(pretrained.device)
            parameters = question.operation.parameters(draws)
            changed = question.operation(pixels.float() / 255, parameters)
            found[target].append(Features(pretrained.embed(changed).cpu(), question.answer(parameters).cpu()))
    return {target: Features(*map(torch.cat, zip(*parts, strict=True))) for target, parts in found.items()}


def _chosen(count: int, limit: int | None, seed: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which of `count` images take part, bool [count]."""
    taken = np.ones(count, dtype=np.bool_)
    if limit is not None and limit < count:
        numbers = uniforms(sample_keys(seed, _FIRST_EPOCHS["chosen"], np.arange(count)), 1, 1)[:, 0, 0]
        taken[numbers.argsort(kind="stable")[limit:]] = False
    return taken
