"""How many images a recipe feeds through its network, known before it runs and without reading one.

Enters: the recipe's plans, and how many images each split has. Leaves: `Work`. Called by `cost`; evaluations say their
own part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from sslkit.engine.order import Order
from sslkit.recipe.merge import RANDOM
from sslkit.recipe.plan import EvaluatePlan, PretrainPlan, Recipe

Sizes: TypeAlias = Mapping[str, int]
"""Images of every split that there is, by its name: `pretrain`, `train`, `validation`, `test`."""


class Work(NamedTuple):
    """Images that are fed through the backbone, each as often as it is.

    Attributes:
        trained: Forward and backward.
        embedded: Forward only.
        features: Of what an evaluation does: the splits whose features it asks for. Those are embedded once for all
            evaluations of the same data, so the engine counts them; a split that the data lack counts nothing.
    """

    trained: int = 0
    embedded: int = 0
    features: tuple[str, ...] = ()


class Nominal(NamedTuple):
    """What is known of a data set without its files, from `nominal(options)` of a data component.

    Attributes:
        sizes: Images of each split that it has: `pretrain`, `train`, `validation`, `test`.
        num_classes: Number of classes; None without labels.
        image_size: Side of the images in pixels, where all are squares of one size; None for files of many sizes.
        name: What the set is called.
    """

    sizes: Sizes
    num_classes: int | None = None
    image_size: int | None = None
    name: str = ""


DEFAULT: Final = Work(features=("train", "test"))
"""What an evaluation does that does not say: it asks for the features of all training and test images."""

Place: TypeAlias = tuple[str, str, float, str]
"""One pass over images: of which weights, over which data, the share of them that is kept, the split."""


def pretraining_work(plan: PretrainPlan, seed: int, num_images: int) -> Work:
    """Return what a pretraining does, in images: each has all of its views.

    Raises:
        RunError: There are fewer images than one batch needs.
    """
    trained = plan.epochs * Order(seed, num_images, plan.batch_size).steps_per_epoch * plan.batch_size
    return Work(trained, embedded=0 if plan.micro_batch_size is None else trained)


def evaluation_work(
    recipe: Recipe, plan: EvaluatePlan, evaluation: Any, data: str, sizes: Sizes, passed: set[Place]
) -> Work:
    """Return what one [[evaluate]] table does, its baselines and repetitions included.

    Args:
        recipe: The whole recipe.
        plan: The table.
        evaluation: Built from it.
        data: What tells its data from others.
        sizes: Of these data.
        passed: The passes that earlier tables make; those of this one are added.

    Raises:
        KeyError: The data have no such split.
    """
    declared = getattr(evaluation, "work", None)
    own: Work = DEFAULT if declared is None else declared(sizes)
    subjects = _subjects(recipe, plan)
    splits = [("pretrained", split) for split in own.features]
    if "random" in subjects:
        splits += [("random", split) for split in own.features]
    if plan is recipe.evaluate[0]:  # the maps of the report show features of its test images
        splits.append(("pretrained", "test"))
        if any("random" in table.baselines for table in recipe.evaluate):
            splits.append(("random", "test"))
    embedded = 0
    for weights, split in splits:
        place = (weights, data, plan.central_share, split)
        embedded += 0 if place in passed else sizes.get(split, 0)
        passed.add(place)
    times = len(subjects) * plan.num_seeds
    return Work(times * own.trained, times * own.embedded + embedded)


def _subjects(recipe: Recipe, plan: EvaluatePlan) -> Sequence[str]:
    """Return whose features are measured, once for each kind of them; pixels pass through no network."""
    features = [name for name in plan.features if name != "pixels"]
    subjects = ["pretrained"] * len(features)
    if "random" in plan.baselines and recipe.weights != RANDOM:
        of_backbone = [name for name in features if name != "z" and not name.startswith("head.")]
        subjects += ["random"] * max(1, len(of_backbone))
    return subjects
