"""One execution of a recipe, as callbacks see it, and how it stands, as others see it.

Called by `run` and `score`.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from sslkit.engine.distributed import rank
from sslkit.engine.evaluate import Result
from sslkit.engine.frozen import FrozenModel
from sslkit.recipe.plan import Recipe
from sslkit.run_folder import write_json


@dataclass
class RunInfo:
    """One execution of a recipe, as callbacks see it.

    Attributes:
        name: The recipe's name.
        folder: Where everything is written.
        recipe: The checked recipe.
        device: Where it runs.
        plan: (label, value) rows that say what will happen.
        results: Of the evaluations so far.
        warnings: What was to be said before the run began.
        model: The frozen weights, once pretraining is over; None if the run was complete: `load_backbone(folder)`.
        complete: The run had already been finished.
        compiled_views: The views were told to compile themselves.
    """

    name: str
    folder: Path
    recipe: Recipe
    device: torch.device
    plan: list[tuple[str, str]]
    results: list[Result] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    model: FrozenModel | None = None
    complete: bool = False
    compiled_views: bool = False


def write_status(info: RunInfo, status: str, reason: str) -> None:
    """Write how the run stands into its folder."""
    if rank() > 0:
        return
    write_json(
        info.folder / "status.json", {"status": status, "reason": reason, "time": time.time(), "pid": os.getpid()}
    )
