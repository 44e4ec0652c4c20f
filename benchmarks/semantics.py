"""How far are the paper's views from torchvision's? `python benchmarks/semantics.py FOLDER`, a folder of photographs.

Every operation runs on the same crops with the same random numbers in both meanings. Figures are mean absolute
differences of pixels in [0, 1] between the two, beside the mean absolute change that the paper's operation makes; for
the law of the crop, mean and median area. They stand in `docs/explanation/views.md`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from sslkit_simclr.operations.blur import Blurred, gaussian_blur
from sslkit_simclr.operations.colour import Jitter
from sslkit_simclr.operations.distortion import ColourDistortion, Distorted, Semantics, distort

from sslkit import CropRule, crop_boxes, find_images, open_image, sample_keys, uniforms
from sslkit.builtin.views.resample import crops_of

SIZE = 224


def main(folder: Path) -> int:
    """Print the table."""
    images = [open_image(folder / path) for path in find_images(folder)[:200]]
    draws = uniforms(sample_keys(0, 0, np.arange(len(images))), 1, 64)
    semantics: tuple[Semantics, ...] = ("paper", "torchvision")
    laws = {name: CropRule((0.08, 1.0), (3 / 4, 4 / 3), 0.1, name) for name in semantics}
    for height, width in ((32, 32), (375, 500)):
        many = uniforms(sample_keys(0, 0, np.arange(100_000)), 1, 64)[:, 0]
        for name, law in laws.items():
            _, _, tall, wide = crop_boxes(many, height, width, law)
            area = tall * wide / (height * width)
            print(f"crop area, {height} x {width}, {name}: mean {area.mean():.3f}, median {np.median(area):.3f}")
    boxes = [
        crop_boxes(row, image.height, image.width, laws["paper"]) for image, row in zip(images, draws, strict=True)
    ]
    crops = {
        kind: torch.cat([crops_of(image, box, SIZE, kind) for image, box in zip(images, boxes, strict=True)]) / 255
        for kind in ("bicubic", "bilinear")
    }
    start = crops["bicubic"]
    say("bicubic and bilinear", start, crops["bicubic"], crops["bilinear"])
    numbers = torch.from_numpy(draws[:, 0, 23:30])
    both = {name: ColourDistortion(1.0, 0.0, 1.0, name, distort)._jitter(numbers) for name in laws}
    for part in ("brightness", "contrast", "saturation", "hue"):
        say(
            part,
            start,
            *(distort(start, Distorted(only(part, jitter, name), None), name) for name, jitter in both.items()),
        )
    results = [distort(start, Distorted(jitter, None), name) for name, jitter in both.items()]
    say("all four, in the drawn order", start, *results)
    sigma = 0.1 + 1.9 * torch.from_numpy(draws[:, 0, 31])
    chosen = torch.ones(len(images), dtype=torch.bool)
    blurred = [gaussian_blur(start, Blurred(chosen, sigma), 11, border) for border in ("black", "mirror")]
    say("blur, black and mirrored borders", start, *blurred)
    common = sigma[:1].expand(len(images)).contiguous()
    say(
        "blur, own sigma and one for all", start, blurred[0], gaussian_blur(start, Blurred(chosen, common), 11, "black")
    )
    return 0


def only(part: str, jitter: Jitter, semantics: Semantics) -> Jitter:
    """Return parameters of which only one changes anything."""
    at_rest = {"brightness": 0.0 if semantics == "paper" else 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    rest = {name: torch.full_like(jitter.hue, value) for name, value in at_rest.items() if name != part}
    return jitter._replace(**rest)


def say(what: str, start: torch.Tensor, paper: torch.Tensor, torchvision: torch.Tensor) -> None:
    """Print one line."""
    change, apart = (paper - start).abs().mean().item(), (paper - torchvision).abs().mean().item()
    print(f"{what}: change {change:.4f}, difference {apart:.4f}")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
