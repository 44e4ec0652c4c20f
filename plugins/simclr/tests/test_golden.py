"""One small picture through every operation with fixed draws, against values that were looked at once and kept.

After a wanted change of an operation: `python plugins/simclr/tests/test_golden.py` writes the values anew; say in the
commit which of them moved, and why.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sslkit_simclr import TwoCrops
from sslkit_simclr.operations import blur, corrupt, distortion, geometry, noise
from sslkit_simclr.operations.blur import Blurred
from sslkit_simclr.operations.colour import Jitter
from sslkit_simclr.operations.distortion import Distorted
from view_samples import keys, prepared

from sslkit import CropRule
from sslkit.builtin.views import crop, resample

GOLDEN = Path(__file__).with_name("golden.npz")
LEVELS = 2**16 - 1  # kept in 16 bits: finer than the tolerance
SIZE = 8
YES = torch.tensor([True])


def picture(height, width):
    """Three waves of different length, exact in whole numbers: uint8 [3, height, width]."""
    y, x = np.mgrid[:height, :width]
    waves = [abs((7 * x + 3 * y) % 64 - 32) * 8 - 1, (x * x + 5 * y) % 256, abs(y * 16 - x * 6) % 256]
    return torch.from_numpy(np.stack(waves).clip(0, 255).astype(np.uint8))


def crops():
    """Both laws and kernels, in the worker and on the device."""
    image = picture(24, 32)
    draws = ((np.arange(crop.NUM_DRAWS) * 7 + 3) % 22 / 22).astype(np.float32)[None]
    for semantics, interpolation in (("paper", "bicubic"), ("torchvision", "bilinear")):
        boxes = crop.crop_boxes(draws, 24, 32, CropRule((0.08, 1.0), (3 / 4, 4 / 3), 0.1, semantics))
        yield f"{semantics} worker crop", resample.crops_of(image, boxes, SIZE, interpolation) / 255
        on_device = crop.Boxes(*(torch.from_numpy(edge) for edge in boxes))
        yield f"{semantics} device crop", resample.crop_and_resize(image[None], on_device, SIZE, ~YES, interpolation)


def colours():
    """Each of the four operations alone, and all of them in one order, in both semantics."""
    image = picture(SIZE, SIZE)[None] / 255
    for semantics, neutral, brighter in (("paper", 0.0, 0.3), ("torchvision", 1.0, 1.3)):
        still, values = (neutral, 1.0, 1.0, 0.0), (brighter, 1.6, 1.7, 0.15)
        for number, name in enumerate(("brightness", "contrast", "saturation", "hue")):
            chosen = (*still[:number], values[number], *still[number + 1 :])
            yield f"{semantics} {name}", _distorted(image, (0, 1, 2, 3), chosen, semantics)
        yield f"{semantics} jitter", _distorted(image, (2, 0, 3, 1), values, semantics)
    yield "grayscale", distortion.distort(image.clone(), Distorted(None, YES), "paper")


def _distorted(image, places, values, semantics):
    jitter = Jitter(torch.tensor([places]), *(torch.tensor([value]) for value in values))
    return distortion.distort(image.clone(), Distorted(jitter, None), semantics)


def others():
    """Everything else."""
    image = picture(SIZE, SIZE)[None] / 255
    half, chosen = torch.tensor([0.4]), corrupt.Chosen(YES)
    yield "flip", geometry.flip(image, YES)
    yield "rotation", geometry.QuarterTurns(1.0)(image, geometry.Turned(torch.tensor([1.0])))
    yield "blur, black outside", blur.gaussian_blur(image, Blurred(YES, 3 * half), 2, "black")
    yield "blur, mirrored outside", blur.gaussian_blur(image, Blurred(YES, 3 * half), 2, "mirror")
    yield "cutout", geometry.Cutout(1.0, 0.5)(image, geometry.CutOut(YES, half, half / 2))
    yield "noise", noise.Noise(1.0, 0.1)(image, noise.Noised(YES, half))
    yield "sobel", corrupt.Sobel(1.0)(image, chosen)
    yield "solarize", corrupt.Solarize(1.0, 0.5)(image, chosen)
    yield "equalize", corrupt.Equalize(1.0)(image, chosen)
    yield "motion blur", corrupt.MotionBlur(1.0, 1)(image, corrupt.Moved(YES, torch.tensor([30.0])))


def views():
    """Whole views from keys: the hash, the columns of the numbers, and the order of the operations."""
    for semantics in ("paper", "torchvision"):
        generator = TwoCrops(image_size=20, crop_on="device", semantics=semantics, jitter_probability=1.0)
        groups, draws = prepared(generator, picture(24, 32)[None], generator.draw(keys(1, seed=7)))
        for number, view in enumerate(generator.apply(groups, draws)):
            yield f"{semantics} view {number}", view


def golden():
    """The kept values by name, float32 [3, S, S] each."""
    with np.load(GOLDEN) as stored:
        return {
            str(name): torch.from_numpy(values.astype(np.float32) / LEVELS)
            for kind in ("operations", "views")
            for name, values in zip(stored[f"{kind}_names"], stored[kind], strict=True)
        }


@pytest.mark.parametrize("made", [crops, colours, others, views])
def test_pixels_are_the_kept_ones(made):
    kept = golden()
    for name, result in made():
        assert (result[0] - kept[name]).abs().max() < (2.01 / 255 if "worker" in name else 1e-4), name


def test_every_kept_picture_is_looked_at_and_differs_from_the_others():
    kept = golden()
    assert [name for made in (crops, colours, others, views) for name, _ in made()] == list(kept)
    assert GOLDEN.stat().st_size < 20_000
    small = torch.stack([values.flatten() for values in kept.values() if values.shape[-1] == SIZE])
    apart = torch.cdist(small, small, p=float("inf")) + torch.eye(len(small))
    # Alike are only a crop in the worker and on the device, in both semantics, and the hue of both.
    assert (apart > 0.01).sum() == apart.numel() - 6


def main():
    """Write the values anew."""
    stored = {}
    for kind, makers in (("operations", (crops, colours, others)), ("views", (views,))):
        found = [item for made in makers for item in made()]
        stored[f"{kind}_names"] = np.array([name for name, _ in found])
        pixels = np.stack([values[0].numpy() for _, values in found])
        stored[kind] = (pixels * LEVELS).round().astype(np.uint16)
    np.savez_compressed(GOLDEN, **stored)


if __name__ == "__main__":
    main()
