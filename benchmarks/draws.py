"""What do random numbers cost? `python benchmarks/draws.py`, one thread, a few seconds.

sslkit draws every number of a view on the host, as a hash of the sample's key: 2 views of `simclr.two_crops` for 512
images at once, in the loader's chunks of 64, and image by image. Beside it: numpy's own generator, seeded once (fast,
but the numbers then depend on the order of the images) and seeded per image (what stateless draws would cost with it).
Figures are processor time per image, medians.
"""

from __future__ import annotations

import sys

import numpy as np
from common import figures, goal, interleaved, report
from sslkit_simclr import TwoCrops

from sslkit import sample_keys

COUNT = 512


def main() -> int:
    """Measure, print the table, return the number of goals missed."""
    views = TwoCrops()
    indices = np.arange(COUNT)
    keys = sample_keys(0, 0, indices)
    shape = views.draw(keys[:1]).shape[1:]
    once = np.random.default_rng(0)
    repeats = 40
    taken = interleaved(
        {
            "sslkit, 512 at once": lambda: [views.draw(sample_keys(0, 0, indices)) for _ in range(repeats)],
            "sslkit, chunks of 64": lambda: [views.draw(part) for part in np.split(keys, 8) for _ in range(repeats)],
            "sslkit, one by one": lambda: [views.draw(keys[i : i + 1]) for i in range(COUNT) for _ in range(repeats)],
            "numpy, one generator": lambda: [once.random((COUNT, *shape), np.float32) for _ in range(repeats)],
            "numpy, seeded per image": lambda: [
                np.random.default_rng((0, 0, i)).random(shape, np.float32) for i in range(COUNT) for _ in range(repeats)
            ],
        },
        COUNT * repeats,
    )
    rows = figures(f"{shape[0]} views of {shape[1]} numbers", taken, "us per image")
    return report("draws", [*rows, goal("512 at once, us per image", taken["sslkit, 512 at once"], at_most=0.5)])


if __name__ == "__main__":
    sys.exit(main())
