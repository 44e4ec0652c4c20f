"""What `sslkit check --build` finds: every component built without storage, the data opened.

Enters: a checked recipe. Leaves: lines for a reader, or the error that a run would stop with. Nothing is trained or
written. Called by the `check` command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from sslkit.engine.assemble import parameter_groups
from sslkit.engine.batches import Source, sample_views
from sslkit.engine.build import (
    build_callback,
    load_frozen,
    method_without_storage,
    require_labels_to_train,
    starting_normalisation,
)
from sslkit.engine.choices import built, naming_the_size, open_data, reads_folder
from sslkit.engine.evaluations import checked_evaluation
from sslkit.engine.fit import require_channels, require_fit, require_shares, require_views
from sslkit.engine.interfaces import Data
from sslkit.engine.order import Order
from sslkit.engine.prepared_views import complete_views
from sslkit.errors import AbsentError, DataError
from sslkit.recipe.plan import Choice, PretrainPlan, Recipe
from sslkit.registry.hookspecs import callback_manager

_SPLITS: Final = ("pretrain", "train", "validation", "test")
_STAND_IN_CLASSES: Final = 2  # where no data is opened
_STAND_IN: Final = 256  # pixels; the image used where no data is opened


def check_build(recipe: Recipe, data_root: Path | None, *, skip_absent: bool = False) -> list[str]:
    """Build a recipe's components and open its data.

    Args:
        recipe: The checked recipe.
        data_root: What `folder` keys are below; without it, data that reads a folder is not opened.
        skip_absent: List evaluations whose data is not there, where else it is an error.

    Returns:
        What was found, line by line.

    Raises:
        SslkitError: What a run would stop with.
    """
    lines: list[str] = []
    data, measured, size = None, None, _STAND_IN
    if recipe.pretrain is not None:
        data = _opened(recipe.pretrain.data, data_root, recipe.seed, lines)
        measured, size = _check_pretraining(recipe.pretrain, data, recipe.seed, lines)
        for watcher in recipe.pretrain.callbacks:
            own = data if watcher.data is None else _opened(watcher.data, data_root, recipe.seed, lines)
            if own is not None or not watcher.takes_data:
                callback_manager([build_callback(watcher, own, recipe.seed)])  # type: ignore[arg-type]
    elif recipe.weights is not None or recipe.backbone is not None:
        measured = load_frozen(recipe)
        size = measured.input_size
    for plan in recipe.evaluate:
        try:
            test_data = data if plan.data is None else _opened(plan.data, data_root, recipe.seed, lines)
            for name in ("train", "test") if test_data is not None else ():
                test_data.split(name)  # type: ignore[union-attr]
        except AbsentError as error:
            if not skip_absent:
                raise
            lines.append(f"{plan.evaluation.path} would be skipped: {error}")
            continue
        checked_evaluation(plan, recipe, measured, test_data)
        if measured is not None and test_data is not None and plan.data is not None:
            require_channels(measured.backbone, test_data, size, plan.data.path)
    for choice in recipe.export:
        built(choice, recipe.seed)
    return lines


def _check_pretraining(plan: PretrainPlan, data: Data | None, seed: int, lines: list[str]) -> tuple[Any, int]:
    views = complete_views(built(plan.views, seed))
    source = Source([(_stand_in(), -1)] * 2) if data is None else Source.of(data, views)
    if data is not None:
        Order(seed, len(source.dataset), plan.batch_size)
    shapes = [tuple(view.shape[1:]) for view in sample_views(source, views, seed, (0, 1 % len(source.dataset)))]
    num_classes = _STAND_IN_CLASSES if data is None else data.num_classes
    method = method_without_storage(plan, seed, num_samples=len(source.dataset), num_classes=num_classes)
    if data is not None:
        require_labels_to_train(method, data, plan)
    require_views(method, len(shapes))
    require_shares(method, plan.batch_size, plan.micro_batch_size)
    with naming_the_size(plan.views):
        require_fit(method.backbone, shapes, starting_normalisation(plan))
    plan.optimizer.build(params=parameter_groups(method, 1.0, 0.0))
    for choice in plan.schedules.values():
        built(choice, seed)
    sizes = ", ".join(f"{channels} x {height} x {width}" for channels, height, width in dict.fromkeys(shapes))
    millions = sum(parameter.numel() for parameter in method.backbone.parameters()) / 1e6
    lines += [
        f"views: {len(shapes)} of {sizes}",
        f"backbone: {millions:.2f} M parameters, features of {method.backbone.feature_dim}",
    ]
    return method, shapes[0][1]


def _opened(choice: Choice, data_root: Path | None, seed: int, lines: list[str]) -> Data | None:
    if reads_folder(choice.component) and data_root is None and not Path(choice.keys["folder"] or "").is_absolute():
        lines.append(f"{choice.path}: not opened; say --data-root DIR")
        return None
    data = open_data(choice, data_root, seed)
    lines.append(f"{choice.path}: {choice.component.name}, {_classes(data)}")
    for name in _SPLITS:
        try:
            dataset = data.split(name)
        except DataError:  # a split that is not there is no fault: which ones are needed is checked elsewhere
            continue
        lines.append(f"  {name}: {len(dataset):,} images, the first {_size(dataset[0][0])}")
    return data


def _classes(data: Data) -> str:
    if data.num_classes is None:
        return "no labels"
    names = list(data.class_names or ())
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{data.num_classes} classes" + (f": {shown}" if shown else "")


def _size(image: Any) -> str:
    if isinstance(image, Image.Image):
        return f"{image.width} x {image.height} pixels"
    return " x ".join(map(str, image.shape))


def _stand_in() -> Image.Image:
    return Image.fromarray(np.zeros((_STAND_IN, _STAND_IN, 3), dtype=np.uint8))
