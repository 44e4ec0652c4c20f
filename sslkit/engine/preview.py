"""What a pretraining would see: a few images with their views, and histograms of intensity. No model is built.

Enters: a recipe's data and views, and which images. Leaves: a `Preview` of pictures, texts and numbers. Views come
through `batches`, so they are those of the run: one (seed, epoch, index), one view. Called by the `preview` command,
which hands the result to `preview_page`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from sslkit.engine.batches import RawBatch, Source, sample_batch
from sslkit.engine.choices import built, open_data
from sslkit.engine.histograms import Panel, intensity_histograms, picture_of
from sslkit.engine.interfaces import Dataset, Views
from sslkit.engine.prepared_views import as_uint8, complete_views
from sslkit.errors import PluginError, RunError
from sslkit.images import BadImageError
from sslkit.recipe.plan import Choice, Viewing

_ROWS: Final = 2  # images with histograms, as in the paper's figure 6


@dataclass(frozen=True)
class Shown:
    """One image and its views.

    Attributes:
        index: Position that was asked for.
        name: What the dataset calls the image that is shown.
        label: Its class or classes; empty where none is known.
        bad: Why the image asked for cannot be read and another one is shown; empty if it can.
        size: (width, height) of the original, pixels.
        original: As it lies in the dataset, upright.
        views: V pictures.
        parameters: What was drawn, name to text, for each view; None if the generator does not tell.
    """

    index: int
    name: str
    label: str
    bad: str
    size: tuple[int, int]
    original: Image.Image
    views: list[Image.Image]
    parameters: Sequence[Mapping[str, str]] | None


@dataclass(frozen=True)
class Preview:
    """Everything that the page shows.

    Attributes:
        recipe: The recipe's name.
        generator: The view generator's name.
        options: Its options, defaults filled in.
        names: Of the images of the histograms' rows.
        notes: What a reader should know: channels that are not shown, values that no view should have.
        panels: Of the histograms; empty unless they were asked for.
        about_colour: What was turned off in the panel without colour operations, or why there is none.
    """

    recipe: str
    generator: str
    options: Mapping[str, Any]
    seed: int
    epoch: int
    images: list[Shown]
    notes: list[str]
    names: list[str]
    panels: list[Panel]
    about_colour: str


def preview(
    recipe: Viewing,
    *,
    data_root: Path | None = None,
    epoch: int = 0,
    indices: Sequence[int] | None = None,
    first: int | None = None,
    num_images: int = 8,
    histograms: bool = False,
) -> Preview:
    """Make the views of a few images of the pretrain split.

    Args:
        recipe: The checked recipe.
        data_root: What its `folder` keys are below.
        epoch: Whose views, from 0.
        indices: Which images; without it `num_images` of them.
        first: Take them from here on; without it, spread over the whole split.
        num_images: How many; fewer if there are not as many.
        histograms: Also count the intensities of several crops of the first images.

    Raises:
        SslkitError: What a run would stop with; or there is no such image.
    """
    data = open_data(recipe.data, data_root, recipe.seed)
    views = complete_views(built(recipe.views, recipe.seed))
    source = Source.of(data, views)
    chosen = _chosen(len(source.dataset), indices, first, num_images)
    raw = sample_batch(source, views, recipe.seed, epoch, chosen)
    finished = views.apply(raw.groups, raw.draws)
    images = []
    channels = 0
    for row, (asked, index) in enumerate(zip(chosen, raw.indices.tolist(), strict=True)):
        original = as_uint8(source.dataset[index][0])
        channels, height, width = original.shape
        images.append(
            Shown(
                index=asked,
                name=_name_of(source.dataset, index),
                label=_label_text(raw.labels[row], data.class_names),
                bad="" if index == asked else _reason(source.dataset, asked),
                size=(width, height),
                original=picture_of(original),
                views=[picture_of(view[row]) for view in finished],
                parameters=_parameters(recipe.views, views, raw.draws[row].numpy(), (height, width), len(finished)),
            )
        )
    panels: list[Panel] = []
    about_colour = ""
    readable = [image for image in images if not image.bad][:_ROWS]
    if histograms and readable:
        rows = [image.index for image in readable]
        panels, about_colour = intensity_histograms(source, recipe.views, views, recipe.seed, epoch, rows)
    elif histograms:
        about_colour = "None of these images can be read."
    return Preview(
        recipe=recipe.name,
        generator=recipe.views.component.name,
        options=recipe.views.options,
        seed=recipe.seed,
        epoch=epoch,
        images=images,
        notes=_notes(channels, finished) + _company(views, raw, finished),
        names=[image.name for image in readable],
        panels=panels,
        about_colour=about_colour,
    )


def _chosen(num_images: int, indices: Sequence[int] | None, first: int | None, count: int) -> list[int]:
    if indices is not None:
        chosen = list(indices)
    elif first is not None:
        chosen = list(range(first, max(min(first + count, num_images), first + 1)))
    else:
        count = min(count, num_images)
        chosen = [number * num_images // count for number in range(count)]
    for index in chosen:
        if not 0 <= index < num_images:
            raise RunError(f"there is no image {index}: the pretrain split has those from 0 to {num_images - 1}")
    return chosen


def _parameters(
    choice: Choice, views: Views, draws: npt.NDArray[np.float32], size: tuple[int, int], num_views: int
) -> Sequence[Mapping[str, str]] | None:
    if not hasattr(views, "describe"):
        return None
    parameters: Sequence[Mapping[str, str]] = views.describe(draws, *size)
    if len(parameters) != num_views:
        raise PluginError(f"{choice.component.name}: describe() names {len(parameters)} views, there are {num_views}")
    return parameters


def _name_of(dataset: Dataset, index: int) -> str:
    return str(dataset.describe(index)) if hasattr(dataset, "describe") else f"image {index}"


def _reason(dataset: Dataset, index: int) -> str:
    try:
        dataset[index]
    except BadImageError as error:
        return str(error)
    return ""  # somebody has mended it meanwhile


def _label_text(label: Tensor, names: Sequence[str] | None) -> str:
    present = [int(label)] if label.ndim == 0 else (label == 1).nonzero().flatten().tolist()
    return ", ".join(str(names[number]) if names else f"class {number}" for number in present if number >= 0)


def _notes(channels: int, views: Sequence[Tensor]) -> list[str]:
    notes = []
    if channels not in (1, 3):
        shown = "the first three are shown" if channels > 3 else "the first is shown"
        notes.append(f"Images have {channels} channels; {shown}.")
    for number, view in enumerate(views, 1):
        low, high = float(view.min()), float(view.max())
        if not (low >= -1e-3 and high <= 1 + 1e-3):  # NaN fails this test too
            notes.append(f"View {number} has values from {low:.3g} to {high:.3g}; views should lie in [0, 1].")
    return notes


def _company(views: Views, raw: RawBatch, finished: Sequence[Tensor]) -> list[str]:
    """Say so if views come out otherwise behind a stranger: then those of the run, whose batches are others, do too."""
    stranger = torch.from_numpy(views.draw(np.zeros(1, dtype=np.uint64)))
    groups = [torch.cat([group[:1], group]) for group in raw.groups]
    again = views.apply(groups, torch.cat([stranger, raw.draws]))
    pairs = zip(again, finished, strict=True)
    if all(torch.allclose(view[1:], known, atol=1e-3, equal_nan=True) for view, known in pairs):
        return []
    return ["These views depend on the rest of their batch: pretraining, whose batches are others, sees them changed."]
