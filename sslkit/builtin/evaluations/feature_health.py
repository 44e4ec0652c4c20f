"""Whether features have collapsed, and how much of their space they use: needs no labels.

Enters: frozen features of a split, and features of views made here of some of its images. Leaves: RankMe, alpha-ReQ,
LiDAR, alignment, uniformity, deviations and a verdict. Called by the engine for each `[[evaluate]]` table that names
it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from sslkit import (
    CropFlip,
    Data,
    DataError,
    Evaluation,
    Outcome,
    Pretrained,
    Work,
    fitted_images,
    sample_keys,
)
from sslkit.builtin.evaluations.labelled import require_finite
from sslkit.builtin.evaluations.spectrum import Spectrum, alpha_req, effective_dimensions, lidar, rankme
from sslkit.builtin.evaluations.sphere import alignment, deviations, uniformity

DEAD = 1e-3
"""A dimension that deviates less than this, where 1 is spread evenly, is dead. Our choice."""

ALIKE = 0.02
"""Mean deviation below which features are all alike: cosines between images above 0.9996. Our choice; an untrained
ResNet has 0.05 or more."""

FEW = 5.0
"""RankMe below which only a few dimensions are left; for features of fewer than 20 dimensions, a quarter of them. Our
choice: SimCLR's projections have tens, those of a loss without negatives 1 to 4."""

_MOST_PAIRED = 5_000  # images whose pairs are taken for uniformity: 25 million pairs
_AT_ONCE = 256  # views that are embedded together

logger = logging.getLogger("sslkit")


def feature_health(
    *,
    split: Literal["test", "validation", "train", "pretrain"] = "test",
    view_images: Annotated[int, Ge(2)] = 1000,
    views_per_image: Annotated[int, Ge(2)] = 10,
    crop_area: tuple[Annotated[float, Gt(0)], Annotated[float, Le(1)]] = (0.25, 1.0),
    lidar_delta: Annotated[float, Gt(0)] = 1e-4,
) -> Evaluation:
    """Return the evaluation: numbers that tell collapsed features from useful ones, without a label.

    `rankme` (headline), `effective_dimensions` and `alpha_req` (fitted over the ranks `alpha_req_first` to
    `alpha_req_last`; left out where nothing varies) describe the spectrum of the split's features. `deviation_mean`,
    `deviation_min` and `dead_fraction` are about their dimensions one by one, 1 being spread evenly; `uniformity` about
    pairs of images. `lidar` and `alignment` compare views of the same image, made here by random crops and mirroring:
    features of a view are never taken for those of another image's. `dimensions` is D, and `n` the number of images.

    `collapsed` is 1 in two cases, told apart in the log: complete collapse, where images are all alike
    (`deviation_mean` below 0.02), and dimensional collapse, where a few directions hold everything (`rankme` below 5,
    or below a quarter of the dimensions where those are fewer than 20). A network that was never trained may well be
    called collapsed: in eval mode, its images differ along one direction above all.

    RankMe and LiDAR are not fractions: they count dimensions. They grow with the number of images, so compare them at
    equal `n`, and never across different D.

    Args:
        split: Whose images.
        view_images: Images of which views are made, evenly spaced over the split.
        views_per_image: Views of each, q.
        crop_area: Least and greatest area of a crop, as fractions of the image.
        lidar_delta: LiDAR's delta, relative to the mean square of the features' entries.

    Raises:
        DataError: (before the run) If there is no such split, or not two images in it.
        NonFiniteError: (by the evaluation) If a feature is not finite.
    """
    CropFlip(area=crop_area)  # refuses a range that leaves no crop now, not after the pretraining

    def check(backbone: nn.Module, measure: str, data: Data) -> None:
        _require_two(len(data.split(split)), split)

    def work(sizes: Mapping[str, int]) -> Work:
        return Work(embedded=min(sizes[split], view_images) * views_per_image, features=(split,))

    def evaluate(pretrained: Pretrained, data: Data) -> Outcome:
        check(pretrained.backbone, pretrained.measure, data)
        values = require_finite(pretrained.features(data, split).values, f'images of the split "{split}"')
        _require_two(len(values), split)  # bad ones are left out
        groups = _view_features(pretrained, data, split, view_images, views_per_image, crop_area)
        spectrum, law = Spectrum.of(values), alpha_req(values)
        spread = deviations(values)
        paired = values[torch.from_numpy(evenly_spaced(len(values), _MOST_PAIRED))]
        metrics = {
            "rankme": rankme(spectrum),
            "effective_dimensions": effective_dimensions(spectrum),
            "lidar": lidar(groups, delta=lidar_delta),
            "alignment": alignment(groups),
            "uniformity": uniformity(paired),
            "deviation_mean": float(spread.mean()),
            "deviation_min": float(spread.min()),
            "dead_fraction": float((spread < DEAD).double().mean()),
            "dimensions": float(values.shape[1]),
            "n": float(len(values)),
        }
        if not math.isnan(law.exponent):
            metrics |= {"alpha_req": law.exponent, "alpha_req_first": law.first, "alpha_req_last": law.last}
        verdict = collapse(metrics["deviation_mean"], metrics["rankme"], values.shape[1])
        metrics["collapsed"] = float(verdict is not None)
        whose = "" if pretrained.is_trained else " of the random backbone"
        logger.log(
            logging.WARNING if verdict and not whose else logging.INFO,  # what is random has not been trained badly
            "feature health of %s%s, %d %s images: %s (RankMe %.1f of %d, mean deviation %.3f)",
            pretrained.measure, whose, len(values), split, verdict or "no collapse",
            metrics["rankme"], values.shape[1], metrics["deviation_mean"],
        )  # fmt: skip
        return Outcome("rankme", metrics, split=split)

    evaluate.check, evaluate.work = check, work  # type: ignore[attr-defined]
    return evaluate


def collapse(deviation: float, rank: float, dim: int) -> str | None:
    """Return which collapse numbers show, in words, or None.

    Args:
        deviation: Mean over the dimensions of `deviations`.
        rank: RankMe.
        dim: Dimensions of the features, D.
    """
    if deviation < ALIKE:
        return "complete collapse, the features of all images are nearly the same"
    if rank < min(FEW, dim / 4):
        return "dimensional collapse, few directions hold everything"
    return None


def evenly_spaced(count: int, most: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return at most so many positions below a count, evenly spaced: data in the order of classes gives all of them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _view_features(
    pretrained: Pretrained, data: Data, split: str, images: int, views: int, area: tuple[float, float]
) -> Tensor:
    """Return the features of views, [n, q, D]: those of one image in one row."""
    size = pretrained.input_size
    positions = evenly_spaced(len(data.split(split)), images)
    generator = CropFlip(image_size=size, area=area, crop_on="device", num_views=views)
    found = []
    for part in np.array_split(positions, -(-len(positions) * views // _AT_ONCE)):
        pixels, _ = fitted_images(data, split, size, part.tolist(), share=pretrained.central_share)
        # Bad images are left out, so keys go by place among the readable ones.
        keys = sample_keys(pretrained.seed, 0, part[: len(pixels)])
        draws = torch.from_numpy(generator.draw(keys)).to(pretrained.device)
        made = generator.apply((pixels.to(pretrained.device).unsqueeze(1),), draws)
        features = pretrained.embed(torch.stack(made, dim=1).flatten(0, 1))
        found.append(features.view(len(pixels), views, -1).cpu())
    return require_finite(torch.cat(found), f'images of the split "{split}", cropped,')


def _require_two(count: int, split: str) -> None:
    if count < 2:
        raise DataError(f'the split "{split}" has {count} image: feature_health compares images; give it two')
