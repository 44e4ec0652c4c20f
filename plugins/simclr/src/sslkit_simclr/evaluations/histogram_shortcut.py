"""How far histograms of intensity give away which crops belong together: figure 6 of the paper as a number.

Enters: images of a split; no feature is looked at. Leaves: how often the histogram of one crop is nearest to that of
the other crop of its image, with colour distortion and without. Called by the engine for each `[[evaluate]]` table that
names it. `sslkit preview --histograms` draws the figure itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from sslkit import BadImageError, Data, DataError, Dataset, Evaluation, Outcome, Pretrained, Work, sample_keys
from sslkit_simclr.two_crops import Probability, TwoCrops

_BINS: Final = 64  # of 256 levels, as in the previews
_AT_ONCE: Final = 64  # images whose crops are made together


class Retrieval(NamedTuple):
    """What histograms know of which crops belong together.

    Attributes:
        hits: float64 [n], 1 where the nearest histogram is that of the image's other crop; of k equally near ones,
            1 / k.
        within: Mean overlap of the two histograms of an image, 0 to 1 (equal).
        between: The same of different images.
    """

    hits: Tensor
    within: float
    between: float


def histogram_shortcut(
    *,
    image_size: Annotated[int, Gt(0)] = 224,
    area: tuple[float, float] = (0.08, 1.0),
    colour_strength: Annotated[float, Interval(ge=0, le=1.5)] = 1.0,
    jitter_probability: Probability = 0.8,
    grayscale_probability: Probability = 0.2,
    candidates: Annotated[int, Ge(2)] = 256,
    max_images: Annotated[int, Ge(2)] = 2048,
    split: Literal["pretrain", "train", "validation", "test"] = "train",
) -> Evaluation:
    """Return the evaluation: the other crop of an image is looked for by its histogram of intensity alone.

    Each image is cropped twice and mirrored as in pretraining. The histogram of a crop counts the values of all
    channels together, as the figure does. Among the second crops of `candidates` images, that whose histogram has the
    largest area in common with the first crop's is taken for its partner. `retrieval_top1` (headline) is how often that
    is right with the colour distortion of the options, `retrieval_top1_without_colour` the same of the same crops
    without it, and `chance` what guessing reaches. `overlap_within` and `overlap_between` are the mean common area of
    crops of one image and of different ones, 1 being equal.

    What is found is a property of data and views: weights and features play no part, so `weights = "random"` with any
    `[backbone]` will do. Labels are not needed.

    Source: SimCLR, section 3.1, figure 6, which shows two images; the number, and the way to it, are ours.

    Args:
        image_size: Side of a crop, pixels.
        area: Least and greatest area of a crop, as fractions of the image.
        colour_strength: s in the paper.
        jitter_probability: Of the colour jitter.
        grayscale_probability: Of dropping colour.
        candidates: Crops among which the partner has to be found; at most as many as there are images.
        max_images: At most so many images take part, evenly spaced over the split.
        split: Whose images.

    Raises:
        DataError: (before the run) If there is no such split, there are not two images, or they have no colour.
    """
    distorted = TwoCrops(
        image_size=image_size,
        area=area,
        colour_strength=colour_strength,
        jitter_probability=jitter_probability,
        grayscale_probability=grayscale_probability,
        blur_probability=0.0,
    )
    plain = TwoCrops(
        image_size=image_size, area=area, jitter_probability=0.0, grayscale_probability=0.0, blur_probability=0.0
    )

    def check(backbone: nn.Module, measure: str, data: Data) -> None:
        dataset = data.split(split)
        if len(dataset) < 2:
            raise DataError(f'the split "{split}" has {len(dataset)} image: histograms are compared; give it two')
        try:
            image, _ = dataset[0]
        except BadImageError:  # what that means is for the policy to say
            return
        channels = len(image.getbands() if hasattr(image, "getbands") else image)
        if channels != 3:
            raise DataError(f"images have {channels} channels, and simclr.histogram_shortcut distorts colours of 3")

    def evaluate(pretrained: Pretrained, data: Data) -> Outcome:
        check(pretrained.backbone, pretrained.measure, data)
        dataset = data.split(split)
        found: dict[str, list[Retrieval]] = {"": [], "_without_colour": []}
        for group in _groups(len(dataset), candidates, max_images):
            histograms = _histograms(dataset, group, (distorted, plain), pretrained.seed)
            for name, (first, second) in zip(found, histograms, strict=True):
                found[name].append(retrieval(first, second))
        metrics, predictions = dict[str, float](), dict[str, npt.NDArray[np.float64]]()
        for name, parts in found.items():
            hits = torch.cat([part.hits for part in parts])
            metrics |= {
                f"retrieval_top1{name}": float(hits.mean()),
                f"overlap_within{name}": float(np.mean([part.within for part in parts])),
                f"overlap_between{name}": float(np.mean([part.between for part in parts])),
            }
            predictions[f"hits{name}"] = hits.numpy()
        sizes = [len(part.hits) for part in found[""]]
        metrics |= {"chance": len(sizes) / sum(sizes), "n": float(sum(sizes))}
        return Outcome("retrieval_top1", metrics, predictions, split)

    evaluate.check = check  # type: ignore[attr-defined]
    evaluate.work = lambda sizes: Work()  # type: ignore[attr-defined]
    return evaluate


def retrieval(first: Tensor, second: Tensor) -> Retrieval:
    """Look for each first crop's partner among the second crops.

    Args:
        first: [n, bins], n >= 2: shares of the values in each bin, of one crop of each image.
        second: The same of the other crop.
    """
    overlaps = torch.stack([torch.minimum(row, second).sum(dim=1) for row in first])
    own = overlaps.diagonal()
    # Sums of shares differ in their last bits where histograms are alike.
    nearest = overlaps >= overlaps.amax(dim=1, keepdim=True) - 1e-9
    hits = nearest.diagonal().double() / nearest.sum(dim=1)
    between = (overlaps.sum() - own.sum()) / (overlaps.numel() - len(own))
    return Retrieval(hits, float(own.mean()), float(between))


def _groups(count: int, size: int, most: int) -> list[npt.NDArray[np.int64]]:
    """Return positions in groups of about `size`; each is spread over the split, which may be in the order of classes.

    Like the images of a batch, those of a group are of all classes.
    """
    count_used = min(count, most)
    number = max(1, count_used // size)
    positions = np.linspace(0, count - 1, min(count_used, number * size)).round().astype(np.int64)
    return [positions[start::number] for start in range(number)]


def _histograms(
    dataset: Dataset, positions: npt.NDArray[np.int64], generators: tuple[TwoCrops, ...], seed: int
) -> list[Tensor]:
    """Return the histograms of two crops of some images by each generator, float64 [2, n, bins]; bad ones are left out.

    The crops are the same for all generators: those of the first epoch.
    """
    parts: list[list[Tensor]] = [[] for _ in generators]
    for images, kept in _read(dataset, positions):
        for generator, found in zip(generators, parts, strict=True):
            draws = generator.draw(sample_keys(seed, 0, np.asarray(kept)))
            crops = [generator.prepare(image, numbers)[0] for image, numbers in zip(images, draws, strict=True)]
            views = generator.apply((torch.stack(crops),), torch.from_numpy(draws))
            found.append(torch.stack([intensities(view) for view in views]))
    if sum(part.shape[1] for part in parts[0]) < 2:
        raise DataError("simclr.histogram_shortcut: not two of the images can be read")
    return [torch.cat(found, dim=1) for found in parts]


def intensities(images: Tensor) -> Tensor:
    """Return the share of the values of all channels in each bin, float64 [N, bins], of images [N, C, h, w] in [0, 1].

    A value is one of 256 levels, and four levels share a bin.
    """
    levels = images.flatten(1).mul(255).round_().long() * _BINS // 256
    counts = torch.zeros(len(images), _BINS, dtype=torch.float64)
    counts.scatter_add_(1, levels, torch.ones(1, dtype=torch.float64).expand_as(levels))
    return counts / levels.shape[1]


def _read(dataset: Dataset, positions: npt.NDArray[np.int64]) -> Iterator[tuple[list[object], list[int]]]:
    for start in range(0, len(positions), _AT_ONCE):
        images, kept = [], []
        for position in positions[start : start + _AT_ONCE].tolist():
            try:
                images.append(dataset[position][0])
            except BadImageError:
                continue
            kept.append(position)
        if kept:
            yield images, kept
