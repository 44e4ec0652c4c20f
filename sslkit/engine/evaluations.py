"""The [[evaluate]] tables of a recipe, built: each evaluation with its data, checked before anything is trained.

Enters: a checked recipe, and the modules that will be measured. Leaves: `BuiltEvaluation`s, and what had to be skipped.
Called by `build`; `checked_evaluation` by `check`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from sslkit.engine.choices import OpenedData, built
from sslkit.engine.fit import require_channels
from sslkit.engine.frozen import require_measurable, without_head
from sslkit.engine.interfaces import Data, Evaluation
from sslkit.errors import AbsentError, RunError, SslkitError
from sslkit.recipe.plan import Choice, EvaluatePlan, Recipe


@dataclass(frozen=True)
class BuiltEvaluation:
    """One [[evaluate]] table, built.

    Attributes:
        index: Its number, from 0.
        name: The component's name.
        data_name: What the set is called, or else the data component's name.
    """

    index: int
    name: str
    data_name: str
    evaluation: Evaluation
    data: Data
    plan: EvaluatePlan


def build_evaluations(
    recipe: Recipe, data: OpenedData, measured: Any, size: int, *, skip_absent: bool
) -> tuple[list[BuiltEvaluation], dict[str, str]]:
    """Build every evaluation of a recipe.

    Args:
        recipe: The checked recipe.
        data: Opens what the tables name.
        measured: Has the backbone, and perhaps a head.
        size: Side of the images that it is fed, pixels.
        skip_absent: Leave out evaluations whose data cannot be opened.

    Returns:
        Those built, and the reason why each other one is left out.

    Raises:
        SslkitError: Something does not exist, is empty, or does not fit; names the recipe's key.
    """
    evaluations: list[BuiltEvaluation] = []
    skipped: dict[str, str] = {}
    for number, plan in enumerate(recipe.evaluate):
        choice = plan.data or recipe.pretrain.data  # type: ignore[union-attr]
        is_new = choice not in data
        try:
            opened = data.open_for_evaluation(choice)
        except AbsentError as error:
            if not skip_absent:
                raise
            skipped[f"{plan.evaluation.path} ({plan.evaluation.component.name})"] = str(error)
            continue
        if is_new:  # the pretraining's own images are checked with their views
            require_channels(measured.backbone, opened, size, choice.path)
        evaluation = checked_evaluation(plan, recipe, measured, opened)
        data_name = str(getattr(opened, "name", choice.component.name))
        evaluations.append(BuiltEvaluation(number, plan.evaluation.component.name, data_name, evaluation, opened, plan))
    if skipped and not evaluations and recipe.pretrain is None:
        raise RunError(f"no data of any evaluation is there; the first: {next(iter(skipped.values()))}")
    return evaluations, skipped


def checked_evaluation(plan: EvaluatePlan, recipe: Recipe, measured: Any, data: Data | None) -> Evaluation:
    """Build one evaluation and check that it can measure these weights on these data.

    Args:
        plan: Its table.
        recipe: The whole recipe.
        measured: Has the backbone, and perhaps a head; None if there are no weights to look at.
        data: Opened; None if it is not.

    Raises:
        SslkitError: It cannot; names the recipe's table.
    """
    evaluation: Evaluation = built(plan.evaluation, recipe.seed)
    with _naming(plan):
        for name in plan.features if measured is not None else ():
            require_measurable(name, measured.backbone, getattr(measured, "head", None))
    if data is None:
        return evaluation
    choice = plan.data or recipe.pretrain.data  # type: ignore[union-attr]
    _require_labels(evaluation, data, plan.evaluation, choice)
    check = getattr(evaluation, "check", None)
    if check is None or measured is None:
        return evaluation
    measures = [*plan.features, *(name for name in plan.baselines if name == "pixels")]
    if "random" in plan.baselines:
        measures += without_head(plan.features, measured.backbone)
    wants_head = "head" in inspect.signature(check).parameters
    beside = {"head": getattr(measured, "head", None)} if wants_head else {}
    for measure in dict.fromkeys(measures):
        with _naming(plan):
            check(measured.backbone, measure, data, **beside)
    return evaluation


@contextmanager
def _naming(plan: EvaluatePlan) -> Iterator[None]:
    """Name the recipe's table in an error."""
    try:
        yield
    except SslkitError as error:
        error.args = (f"{plan.evaluation.path} ({plan.evaluation.component.name}): {error}",)
        raise


def _require_labels(evaluation: Evaluation, data: Data, choice: Choice, data_choice: Choice) -> None:
    """Refuse an evaluation that needs labels on data that has none, before anything is trained.

    Raises:
        RunError: All or some of the labels are missing.
    """
    if not getattr(evaluation, "needs_labels", False):
        return
    what = f"{choice.path} ({choice.component.name}) needs labels, and {data_choice.component.name}"
    advice = "use data with labels, give this evaluation a data table of its own, or leave it out"
    for split in ("train", "test"):
        labels = getattr(data.split(split), "labels", None)
        missing = 0 if labels is None or np.ndim(labels) != 1 else int((np.asarray(labels) < 0).sum())
        if data.num_classes is None or missing:
            how_many = "has none" if data.num_classes is None else f"lacks {missing:,} of its {split} split"
            raise RunError(f"{what} {how_many}: {advice}")
