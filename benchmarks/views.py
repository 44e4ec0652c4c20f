"""How fast are the views? `python benchmarks/views.py`, one thread; takes about five minutes.

Beside sslkit's run kornia, torchvision (v1 and v2) and, where they are installed, lightly and albumentations: the same
operations of the paper's policy, on the same images, in turns within one process. Figures are processor time per view
or image, medians over rounds after one that does not count. Peers that are not installed are left out by name.

Parts: colour jitter and grayscale alone; all of a batch's views at 32 pixels from uint8 images; and, at 224 pixels,
from a JPEG file of 375 x 500 pixels to two crops in a worker, and to two finished views.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from common import figures, goal, interleaved, report
from PIL import Image


def main() -> int:
    """Measure everything, print the table, return the number of goals missed."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for size, count in ((32, 512), (224, 32)):
        rows += colour(size, count)
    rows += whole(32, 512)
    rows += file_to_views()
    return report("views", rows)


def colour(size: int, count: int) -> list[dict[str, Any]]:
    """Colour jitter at probability 1 and grayscale on float images of one size."""
    import kornia.augmentation as K
    from sslkit_simclr import TwoCrops
    from torchvision.transforms import ColorJitter, RandomGrayscale, v2

    images = torch.rand(count, 3, size, size)
    options: dict[str, Any] = {"image_size": size, "jitter_probability": 1.0, "blur_probability": 0.0}
    views = TwoCrops(**options)
    draws = draws_of(views, count)[:, 0]
    eager, compiled = views._policy, TwoCrops(**options)._policy
    compiled.compile()
    kornia = torch.nn.Sequential(K.ColorJitter(0.8, 0.8, 0.8, 0.2, p=1.0), K.RandomGrayscale(p=0.2))
    first = torch.nn.Sequential(ColorJitter(0.8, 0.8, 0.8, 0.2), RandomGrayscale(0.2))
    second = v2.Compose([v2.ColorJitter(0.8, 0.8, 0.8, 0.2), v2.RandomGrayscale(0.2)])
    taken = interleaved(
        {
            "sslkit, compiled": lambda: in_tiles(compiled, draws, images),
            "sslkit, eager": lambda: in_tiles(eager, draws, images),
            "kornia": lambda: kornia(images),
            "torchvision v1": lambda: [first(image) for image in images],
            "torchvision v2": lambda: [second(image) for image in images],
        },
        count,
    )
    what = f"jitter and grayscale, {size} px"
    return [
        *figures(what, taken, "us per view"),
        goal(f"{what}: kornia / sslkit compiled", taken["kornia"] / taken["sslkit, compiled"], at_least=5),
    ]


def whole(size: int, count: int) -> list[dict[str, Any]]:
    """The whole policy of CIFAR-10 with blur off, from uint8 images of the views' size, for a batch."""
    import kornia.augmentation as K
    from sslkit_simclr import TwoCrops
    from torchvision.transforms import v2

    images = torch.randint(0, 256, (count, 1, 3, size, size), dtype=torch.uint8)
    views = TwoCrops(image_size=size, blur_probability=0.0, crop_on="device", num_views=1)
    draws = draws_of(views, count)
    compiled = TwoCrops(image_size=size, blur_probability=0.0, crop_on="device", num_views=1)
    compiled.compile()
    kornia = K.AugmentationSequential(
        K.RandomResizedCrop((size, size), scale=(0.08, 1.0)),
        K.RandomHorizontalFlip(p=0.5),
        K.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
        K.RandomGrayscale(p=0.2),
    )
    second = v2.Compose(
        [
            v2.RandomResizedCrop(size, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], 0.8),
            v2.RandomGrayscale(0.2),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    competitors: dict[str, Callable[[], Any]] = {
        "sslkit, compiled": lambda: compiled.apply([images], draws),
        "sslkit, eager": lambda: views.apply([images], draws),
        "kornia": lambda: kornia(images[:, 0].float() / 255),
        "torchvision v2": lambda: [second(image) for image in images[:, 0]],
    }
    if find_spec("albumentations") is not None:
        augment = albumentations_of(size, blur=False)
        arrays = [image[0].permute(1, 2, 0).numpy() for image in images]
        competitors["albumentations"] = lambda: [augment(image=array)["image"] for array in arrays]
    taken = interleaved(competitors, count)
    return [
        *figures(f"all of a view, {size} px", taken, "us per view"),
        goal(f"all, {size} px: kornia / sslkit compiled", taken["kornia"] / taken["sslkit, compiled"], at_least=3),
        goal(f"all, {size} px: kornia / sslkit eager", taken["kornia"] / taken["sslkit, eager"], at_least=1),
    ]


def file_to_views() -> list[dict[str, Any]]:
    """From JPEG files of 375 x 500 pixels to two crops (in a worker), and to two finished views, at 224 pixels."""
    from sslkit_simclr import TwoCrops

    from sslkit import open_image

    size, count = 224, 24
    files = [jpeg_file(seed) for seed in range(count)]
    views, compiled = TwoCrops(image_size=size), TwoCrops(image_size=size)
    compiled.compile()
    draws = views.draw(keys_of(count))
    numbers = torch.from_numpy(draws)

    def crops() -> list[torch.Tensor]:
        return [views.prepare(open_image(file), row)[0] for file, row in zip(files, draws, strict=True)]

    competitors: dict[str, Callable[[], Any]] = {
        "Pillow, decoding alone": lambda: [decoded(file) for file in files],
        "sslkit, two crops in a worker": crops,
        "sslkit, two views, eager": lambda: views.apply([torch.stack(crops())], numbers),
        "sslkit, two views, compiled": lambda: compiled.apply([torch.stack(crops())], numbers),
    }
    if find_spec("lightly") is not None:
        from lightly.transforms import SimCLRTransform

        lightly = SimCLRTransform(input_size=size)
        competitors["lightly, two views"] = lambda: [lightly(decoded(file)) for file in files]
    if find_spec("albumentations") is not None:
        augment = albumentations_of(size, blur=True)
        competitors["albumentations, two views"] = lambda: [
            [augment(image=np.asarray(decoded(file)))["image"] for _ in range(2)] for file in files
        ]
    taken = interleaved(competitors, count)
    rows = figures("375 x 500 JPEG, 224 px", taken, "us per image")
    if "lightly, two views" in taken:
        lightly_time = taken["lightly, two views"]
        for name, most in (("sslkit, two crops in a worker", 1 / 5), ("sslkit, two views, compiled", 1 / 2)):
            rows.append(goal(f"375 x 500 JPEG: {name} / lightly", taken[name] / lightly_time, at_most=most))
    return rows


def albumentations_of(size: int, *, blur: bool) -> Any:
    """Return the paper's policy as albumentations has it."""
    import albumentations as A

    parts = [
        A.RandomResizedCrop(size=(size, size), scale=(0.08, 1.0)),
        A.HorizontalFlip(p=0.5),
        A.ColorJitter((0.2, 1.8), (0.2, 1.8), (0.2, 1.8), (-0.2, 0.2), p=0.8),
        A.ToGray(p=0.2),
    ]
    return A.Compose([*parts, A.GaussianBlur(sigma_limit=(0.1, 2.0), p=0.5)] if blur else parts)


def in_tiles(policy: Any, draws: torch.Tensor, images: torch.Tensor) -> None:
    """Apply a policy to the slices that `TwoCrops.apply` makes."""
    from sslkit_simclr.operations.tiles import tiles
    from sslkit_simclr.policy import part_of

    parameters = policy.parameters(draws)
    for part in tiles(len(images), images[0, 0].numel(), images.device):
        policy(images[part].clone(), part_of(parameters, part))


def keys_of(count: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return the keys of the first images of a run."""
    from sslkit import sample_keys

    return sample_keys(0, 0, np.arange(count))


def draws_of(views: Any, count: int) -> torch.Tensor:
    """Return the numbers of the first images of a run."""
    return torch.from_numpy(views.draw(keys_of(count)))


def jpeg_file(seed: int) -> bytes:
    """Return a JPEG file of 375 x 500 pixels, as busy as a photograph."""
    generator = np.random.default_rng(seed)
    total = np.zeros((375, 500, 3))
    for cells in (4, 16, 64, 256):
        coarse = Image.fromarray(generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), dtype=float) / cells**0.5
    scaled = (255 * (total - total.min()) / np.ptp(total)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(scaled).save(file, "JPEG", quality=90)
    return file.getvalue()


def decoded(file: bytes) -> Image.Image:
    """Return an image as the peers' examples open it."""
    return Image.open(io.BytesIO(file)).convert("RGB")


if __name__ == "__main__":
    sys.exit(main())
