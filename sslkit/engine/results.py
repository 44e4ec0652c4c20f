"""What a run found, on disk: scores and predictions of each evaluation once it is through, and samples to look at.

Enters: results. Leaves: `evaluate/<i>-<name>/` with `metrics.json` and `predictions.npz`, what of them a continued run
need not do again, and the samples of views and features that the report shows. Called by `run`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import torch
from torch import nn

from sslkit.engine.assemble import Pretraining
from sslkit.engine.batches import sample_views
from sslkit.engine.centre_crop import fit_image
from sslkit.engine.evaluate import Result
from sslkit.engine.frozen import FrozenModel
from sslkit.engine.interfaces import Data, Outcome
from sslkit.images import BadImageError
from sslkit.run_folder import read_json, write_json
from sslkit.text import safe_text

_METRICS: Final = "metrics.json"
_PREDICTIONS: Final = "predictions.npz"
_SAMPLE: Final = 2_000  # features for maps
_MOST_CLASSES: Final = 20  # that a map can tell apart
_DRAWN_CLASSES: Final = 10  # of more
_SHOWN_IMAGES: Final = 6


def write_results(
    folder: Path, identity: Mapping[str, Any], results: Sequence[Result], class_names: Sequence[str] | None = None
) -> None:
    """Write the results that one evaluation has so far.

    Args:
        folder: The evaluation's own.
        identity: What they depend on: the recipe's table, the weights, the data.
        results: All of them, one or more.
        class_names: Of the data, for reports.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{_prefix(result)}.{name}": array for result in results for name, array in result.outcome.predictions.items()
    }
    write_arrays(folder / _PREDICTIONS, arrays)
    rows = [
        result.row()
        | {
            "metrics": result.outcome.metrics,
            "predictions": _prefix(result),
            "data_fingerprint": result.data_fingerprint,
        }
        for result in results
    ]
    names = None if class_names is None else [safe_text(name) for name in class_names]
    write_json(folder / _METRICS, {"identity": dict(identity), "class_names": names, "results": rows})


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays by name, so that a reader or a kill never sees half of the file."""
    temporary = path.with_name(f".{path.stem}.tmp.npz")
    np.savez_compressed(temporary, **arrays)
    temporary.replace(path)


def sample_digest(path: Path) -> str | None:
    """Return of which weights a sample of features is; None if there is no whole one."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return str(arrays["weights"])
    except (OSError, ValueError, LookupError, EOFError, BadZipFile):
        return None


def feature_sample(model: FrozenModel, untrained: FrozenModel | None, data: Data) -> dict[str, Any]:
    """Return a few features of the test images, for maps of them; those that evaluations have extracted.

    Of more classes than a map can tell apart they are of ten, drawn from the seed, and `drawn_from` says of how many.
    Source: SimCLR, figure B.4, which shows ten random classes.

    Args:
        model: The weights.
        untrained: The backbone before training, if it was measured.
        data: Whose test images.
    """
    values, labels = model.measuring("h", data).features(data, "test")
    classes = torch.unique(labels[labels >= 0]) if labels.ndim == 1 else labels.new_empty(0)
    rows = torch.arange(len(values))
    if len(classes) > _MOST_CLASSES:
        order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(model.seed))
        rows = rows[torch.isin(labels, classes[order[:_DRAWN_CLASSES]])]
    rows = rows[torch.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE)).long()]
    arrays: dict[str, Any] = {"h": values[rows].half().numpy(), "label": labels[rows].numpy()}
    if model.head is not None:
        arrays["z"] = model.measuring("z").features(data, "test").values[rows].half().numpy()
    if untrained is not None:
        arrays["h_random"] = untrained.measuring("h").features(data, "test").values[rows].half().numpy()
    if len(classes) > _MOST_CLASSES:
        arrays["drawn_from"] = np.array(len(classes))
    if data.class_names is not None:
        arrays["class_names"] = np.array([safe_text(name) for name in data.class_names])
    return arrays


def write_view_sample(folder: Path, pretraining: Pretraining) -> None:
    """Write a few images and the views that the first epoch makes of them, for people to look at.

    Args:
        folder: The run's.
        pretraining: What makes the views.
    """
    source, stepper = pretraining.source, pretraining.stepper
    size = pretraining.view_shape[1]
    fitted = {}
    for index in torch.linspace(0, len(source.dataset) - 1, min(len(source.dataset), _SHOWN_IMAGES)).long().tolist():
        with contextlib.suppress(BadImageError):  # what that means is for the policy to say
            fitted[index] = fit_image(source.dataset[index][0], size)
    if not fitted:
        return
    views = sample_views(source, stepper.views, stepper.seed, list(fitted))
    images = torch.stack(list(fitted.values())).float() / 255
    shown = [images, *(nn.functional.interpolate(v, (size, size), mode="area") for v in views)]
    pixels = torch.stack(shown, dim=1).clamp(0, 1).mul(255).round().to(torch.uint8)
    write_arrays(folder / "views.npz", {"views": pixels.numpy()})


def stored_results(run: Path) -> list[Result]:
    """Return all results in a finished run's folder, in the order of its recipe."""
    folders = sorted((run / "evaluate").glob("*-*"), key=lambda folder: int(folder.name.partition("-")[0]))
    return [result for folder in folders for result in read_results(folder)]


def read_results(folder: Path, identity: Mapping[str, Any] | None = None) -> list[Result]:
    """Return the results of one evaluation that are there already; none if anything is damaged.

    Args:
        folder: The evaluation's own.
        identity: What they have to depend on; None takes them as they are.
    """
    try:
        known = read_json(folder / _METRICS)
        if known is None or identity not in (None, known.get("identity")):
            return []
        with (folder / _PREDICTIONS).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            stored = {name: arrays[name] for name in arrays.files}
        return [_result(row, stored) for row in known["results"]]
    except (OSError, ValueError, LookupError, TypeError, BadZipFile):
        return []


def _prefix(result: Result) -> str:
    """Return what the names of a result's predictions begin with."""
    return f"{result.weights}.{result.features}.{result.seed}"


def _result(row: Mapping[str, Any], stored: Mapping[str, Any]) -> Result:
    prefix = f"{row['predictions']}."
    names = {name: name.removeprefix(prefix) for name in stored if name.startswith(prefix)}
    predictions = {short: stored[name] for name, short in names.items() if "." not in short}  # not those of layer.0
    interval = None if row["interval"] is None else (row["interval"][0], row["interval"][1])
    return Result(
        row["evaluation"],
        row["data"],
        row["features"],
        row["weights"],
        Outcome(row["metric"], row["metrics"], predictions, row["split"]),
        row["seed"],
        interval,
        row["data_fingerprint"],
        row["index"],
    )
