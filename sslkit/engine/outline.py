"""What a run is about to do, in rows for a reader.

Enters: a recipe and what was built from it. Leaves: (label, value) pairs, which the console shows. Called by `run`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sslkit.engine.build import Build
from sslkit.engine.distributed import world_size
from sslkit.recipe.plan import Recipe
from sslkit.text import one_line


def outline(recipe: Recipe, built: Build, device: torch.device) -> list[tuple[str, str]]:
    """Return what will happen, in rows for a reader."""
    rows = [("recipe", f"{recipe.name} ({recipe.source})")]
    if (pretraining := built.pretraining) is not None and (plan := recipe.pretrain) is not None:
        order = pretraining.order
        parts = ("method", "backbone", "head", "objective", "views", "data", "optimizer")
        for part in parts:
            choice = getattr(plan, part)
            if choice is not None:
                rows.append((part, choice.component.name))
        backbone = pretraining.method.backbone
        channels, height, width = pretraining.view_shape
        rows += [
            ("batch", _batch(plan.batch_size, plan.micro_batch_size)),
            ("images", f"{order.num_images:,}{_first(pretraining.source.dataset)}"),
            ("view size", f"{channels} x {height} x {width}"),
            ("parameters", _parameters(backbone)),
            ("learning rate", f"{pretraining.learning_rate:.6g} ({_rate_rule(plan.optimizer.keys, plan.batch_size)})"),
            ("steps", f"{built.derived['total_steps']:,} = {plan.epochs} epochs of {order.steps_per_epoch:,}"),
            ("images in memory", "yes, no loader" if pretraining.source.table is not None else
             f"no, {pretraining.workers} loader processes"),
        ]  # fmt: skip
    if (model := built.model) is not None:
        told = model.normalisation
        normalisation = "none" if told is None else f"mean {list(told.mean)}, deviation {list(told.std)}"
        rows += [
            ("weights", str(recipe.weights or (recipe.backbone and recipe.backbone.component.name))),
            ("parameters", _parameters(model.backbone)),
            ("image size", f"{model.input_size} pixels"),
            ("normalisation", normalisation),
        ]
    evaluations = ", ".join(dict.fromkeys(evaluation.name for evaluation in built.evaluations))
    rows.append(("evaluations", evaluations or "none"))
    rows += [("skipped", f"{name}: {reason}") for name, reason in built.skipped.items()]
    where = f"{device}, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)
    rows.append(("device", where if world_size() == 1 else f"{where}, {world_size()} processes"))
    return rows


def _parameters(backbone: nn.Module) -> str:
    millions = sum(parameter.numel() for parameter in backbone.parameters()) / 1e6
    return f"{millions:.2f} M in the backbone, features of {getattr(backbone, 'feature_dim', '?')}"


def _first(dataset: Any) -> str:
    describe = getattr(dataset, "describe", None)
    return "" if describe is None else f", the first is {one_line(describe(0))}"


def _batch(batch_size: int, micro_batch_size: int | None) -> str:
    cut = "" if micro_batch_size is None else f", {micro_batch_size:,} embedded at once"
    shared = "" if world_size() == 1 else f", {batch_size // world_size():,} on each of {world_size()} processes"
    return f"{batch_size:,} images{shared}{cut}"


def _rate_rule(keys: Any, batch_size: int) -> str:
    base = keys["learning_rate"]
    return {
        "none": "as given",
        "linear": f"{base:g} x {batch_size} / 256",
        "sqrt": f"{base:g} x sqrt({batch_size})",
    }[keys["learning_rate_scaling"]]
