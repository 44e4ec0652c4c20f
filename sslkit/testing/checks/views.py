"""A view generator is a pure function of images and keys, in three parts that run in three places.

Called with its subject. One with only `prepare(image)` is examined as the engine uses it.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from sslkit.engine.choices import built
from sslkit.engine.interfaces import Views
from sslkit.engine.prepared_views import complete_views
from sslkit.engine.randomness import Keys, sample_keys, seeded
from sslkit.errors import SslkitError
from sslkit.testing.subject import Subject

_IMAGES: Final = 6
_PURE: Final = "draw everything in draw(keys), with sslkit.uniforms; prepare and apply only use those numbers"


def makes_the_views_that_it_promises(subject: Subject) -> None:
    """`num_views` tensors [B, C, h, w], from float32 draws [B, V, K]."""
    generator = _generator(subject)
    made = _made(generator, _photographs(64, 64))
    count = generator.num_views
    subject.require(
        made.draws.dtype == np.float32 and made.draws.ndim == 3 and made.draws.shape[:2] == (_IMAGES, count),
        f"return draws float32 [B, {count}, K]",
        f"for {_IMAGES} keys they are {made.draws.dtype} {list(made.draws.shape)}",
        "return sslkit.uniforms(keys, num_views, num_draws)",
    )
    shapes = [tuple(view.shape) for view in made.views]
    subject.require(
        len(shapes) == count and all(len(shape) == 4 and shape[:2] == (_IMAGES, 3) for shape in shapes),
        f"make num_views = {count} tensors [B, C, h, w]",
        f"of {_IMAGES} images in colour they have the shapes {shapes}",
        "set num_views to what apply returns",
    )


def pixels_are_floats_between_0_and_1(subject: Subject) -> None:
    """Normalisation is the engine's."""
    for number, view in enumerate(_made(_generator(subject), _photographs(64, 64)).views):
        low, high = float(view.min()), float(view.max())
        subject.require(
            view.dtype == torch.float32 and low >= 0 and high <= 1,
            "make float32 views in [0, 1]",
            f"view {number} is {view.dtype}, from {low:.4g} to {high:.4g}",
            "divide by 255, clamp to [0, 1], and leave normalisation to the recipe's data table",
        )


def draws_follow_from_the_key_alone(subject: Subject) -> None:
    """Neither its neighbours nor its place in the batch change what an image gets."""
    generator, keys = _generator(subject), _keys()
    with_seeds = [_seeded(seed, lambda: generator.draw(keys)) for seed in range(2)]
    subject.require(
        np.array_equal(*with_seeds), "draw the same numbers from the same keys", "they differ from call to call", _PURE
    )
    expected = with_seeds[0]
    for place, found in (
        ("in another order", generator.draw(keys[::-1].copy())[::-1]),
        ("alone", np.concatenate([generator.draw(keys[row : row + 1]) for row in range(len(keys))])),
    ):
        subject.require(
            np.array_equal(found, expected), "draw from each key by itself", f"its numbers differ {place}", _PURE
        )


def images_share_no_draws(subject: Subject) -> None:
    """The same picture twice in a batch, with two keys, gets different views."""
    generator = _generator(subject)
    made = _made(generator, _photographs(64, 64)[:1] * _IMAGES)
    for number, view in enumerate(made.views):
        alike = sum(torch.equal(view[0], other) for other in view[1:])
        subject.require(
            alike < _IMAGES - 1 or not _random(made.draws, number),
            "draw for each image by itself",
            f"view {number} is the same for {_IMAGES} images of one picture",
            "use the row of draws that belongs to the image: draws[:, view]",
        )
    subject.require(
        any(_random(made.draws, number) for number in range(generator.num_views)),
        "draw different numbers from different keys",
        "all keys give the same numbers",
        _PURE,
    )


def views_of_an_image_differ(subject: Subject) -> None:
    """Otherwise there is nothing to learn from them."""
    views = _made(_generator(subject), _photographs(64, 64)).views
    if len(views) < 2:
        subject.skip("makes one view of an image")
    for number, (one, other) in enumerate(itertools.pairwise(views)):
        subject.require(
            one.shape != other.shape or not torch.equal(one, other),
            "make views that differ",
            f"view {number} and view {number + 1} are equal for all images",
            "use draws[:, view] for each view",
        )


def takes_a_batch_of_one(subject: Subject) -> None:
    """Previews and tests have such."""
    made = _made(_generator(subject), _photographs(64, 64)[:1])
    subject.require(
        all(len(view) == 1 for view in made.views),
        "take a batch of one image",
        f"the views have the shapes {[tuple(view.shape) for view in made.views]}",
        "keep the first dimension: no squeeze()",
    )


def takes_images_that_are_not_square(subject: Subject) -> None:
    """Photographs are not."""
    generator = _generator(subject)
    sides = [
        [tuple(view.shape[2:]) for view in _made(generator, _photographs(*size)).views] for size in ((48, 80), (80, 48))
    ]
    whole = getattr(generator, "whole_images", False)
    subject.require(
        sides[0] == sides[1] or whole,
        "make views of the same size from any image",
        f"they are {sides[0]} from images 80 wide and 48 high, and {sides[1]} the other way round",
        "crop or resize to an option such as image_size",
    )


def takes_grey_images_or_refuses_them(subject: Subject) -> None:
    """An image of one channel gives views of one channel (or three), or one line that says why not."""
    grey: list[Any] = [torch.from_numpy(np.array(image))[None, :, :, 0] for image in _photographs(64, 64)]
    try:
        views = _made(_generator(subject), grey).views
    except (SslkitError, ValueError) as error:
        subject.require(
            str(error).strip() and "\n" not in str(error),
            "refuse grey images in one line",
            f"it says {str(error)!r}",
            "raise sslkit.DataError with what it needs",
        )
        return
    except Exception as error:
        subject.fail(
            "take grey images, or refuse them",
            f"{type(error).__name__} is raised: {error}",
            "raise sslkit.DataError('... needs images of 3 channels')",
        )
    subject.require(
        all(view.shape[1] in (1, 3) and bool(torch.isfinite(view).all()) for view in views),
        "make sound views of grey images",
        f"they have the shapes {[tuple(view.shape) for view in views]}",
        "keep the channels that there are, or raise sslkit.DataError",
    )


def can_be_sent_to_workers(subject: Subject) -> None:
    """Loader processes get a pickled copy."""
    generator = _generator(subject)
    try:
        copy = pickle.loads(pickle.dumps(generator))
    except Exception as error:
        subject.fail(
            "be picklable",
            f"{type(error).__name__} is raised: {error}",
            "keep no lambda, open file or local function as an attribute",
        )
    one, other = (_made(each, _photographs(64, 64)) for each in (generator, copy))
    subject.require(_same(one.views, other.views), "make the same views as a pickled copy", "they differ", _PURE)


def prepare_and_apply_draw_nothing(subject: Subject) -> None:
    """Called again, they return the same, and leave what they were given as it was."""
    generator, images = _generator(subject), _photographs(64, 64)
    first, second = (_seeded(seed, lambda: _made(generator, images)) for seed in range(2))
    subject.require(
        _same(first.groups, second.groups), "prepare the same from the same image and draws", "it differs", _PURE
    )
    subject.require(_same(first.views, second.views), "apply the same to the same draws", "views differ", _PURE)
    groups = [group.clone() for group in first.groups]
    draws = torch.from_numpy(first.draws.copy())
    once = generator.apply(groups, draws)
    subject.require(
        _same(groups, first.groups) and np.array_equal(draws.numpy(), first.draws),
        "leave the pixels and draws that apply is given as they are",
        "it has changed them",
        "no operation in place on its arguments: the second pass of cached gradients needs them again",
    )
    subject.require(_same(once, first.views), "apply the same to the same draws", "views differ", _PURE)


def shapes_are_fixed(subject: Subject) -> None:
    """Neither draws nor their values decide a shape: batches could not be stacked, nor graphs be captured."""
    generator = _generator(subject)
    first, second = (_made(generator, _photographs(64, 64), epoch) for epoch in (0, 1))
    shapes = [[tuple(tensor.shape) for tensor in (*made.groups, *made.views)] for made in (first, second)]
    subject.require(
        shapes[0] == shapes[1],
        "always make the same shapes",
        f"they are {shapes[0]}, and {shapes[1]} with other draws",
        "resize to sizes that are options",
    )


def apply_looks_at_each_image_alone(subject: Subject) -> None:
    """A batch is its images, one by one: they may be dealt to any number of processes."""
    generator = _generator(subject)
    made = _made(generator, _photographs(64, 64))
    alone = [
        generator.apply([group[row : row + 1] for group in made.groups], torch.from_numpy(made.draws[row : row + 1]))
        for row in range(_IMAGES)
    ]
    for number, view in enumerate(made.views):
        worst = float((view - torch.cat([views[number] for views in alone])).abs().max())
        subject.require(
            worst < 1e-4,
            "treat each image of a batch by itself",
            f"view {number} differs by up to {worst:.2g} when images come one by one",
            "no statistics, sorting or draws over the batch in apply",
        )


def describes_every_view(subject: Subject) -> None:
    """`describe` has words for each, if it is there."""
    generator: Any = _generator(subject)
    if not hasattr(generator, "describe"):
        subject.skip("has no describe")
    described = generator.describe(generator.draw(_keys())[0], 64, 64)
    subject.require(
        isinstance(described, list)
        and len(described) == generator.num_views
        and all(isinstance(each, dict) and all(isinstance(text, str) for text in each.values()) for each in described),
        "describe each view by {name: text}",
        f"it returns {described!r}",
        "return one dictionary of texts for each view",
    )


class _Made(NamedTuple):
    draws: npt.NDArray[np.float32]
    groups: list[Tensor]
    views: list[Tensor]


def _generator(subject: Subject) -> Views:
    return complete_views(built(subject.plan().views, 0))


def _made(generator: Views, images: Sequence[Any], epoch: int = 0) -> _Made:
    draws = generator.draw(_keys(epoch)[: len(images)])
    prepared = [generator.prepare(image, row) for image, row in zip(images, draws, strict=True)]
    groups = [torch.stack(list(group)) for group in zip(*prepared, strict=True)]
    return _Made(draws, groups, list(generator.apply(groups, torch.from_numpy(draws))))


def _keys(epoch: int = 0) -> Keys:
    return sample_keys(0, epoch, np.arange(_IMAGES))


def _photographs(height: int, width: int) -> list[Any]:
    """Return PIL images of soft colours, all different."""
    small = np.random.default_rng(0).integers(0, 256, (_IMAGES, 8, 8, 3), dtype=np.uint8)
    return [Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC) for image in small]


def _random(draws: npt.NDArray[np.float32], view: int) -> bool:
    return bool((draws[:, view] != draws[:1, view]).any())


def _same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


def _seeded(seed: int, make: Any) -> Any:
    with seeded(seed):
        return make()
