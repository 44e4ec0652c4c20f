"""In which portions a batch is worked on: on a CPU in slices that fit into the cache.

Enters: how many images of which size. Leaves: slices. Called by the view generators around their work, and by
operations that can be left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

TILE = 65536
"""Pixels of a plane that are worked on at once on a CPU: few enough to stay in cache, enough that the calls
themselves do not count. Measured at 32 and 224 pixels."""


def tiles(count: int, num_pixels: int, device: torch.device) -> Iterator[slice]:
    """Yield slices of `count` images of `num_pixels` each, to be worked on one after the other.

    On a CPU a slice fits into the cache, and the work runs on one thread; an accelerator works best on everything at
    once. All slices are equally long, because compiled operations know one shape: so the last may overlap.
    """
    if device.type != "cpu":
        yield slice(0, count)
        return
    step = min(max(1, TILE // num_pixels), count)
    with one_thread():
        for start in range(0, count, step):
            yield slice(min(start, count - step), min(start + step, count))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread inside the block.

    The operations on a cache-sized tile are so short that two threads mostly wait for each other, and beside the
    loader's workers each for the other's turn on a core: measured, 4 to 10 times slower than one thread, on two
    cores with other work. It also makes pixels independent of the number of threads.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def alone(images: Tensor) -> bool:
    """Return whether every image is a tile of its own, so that what changes nothing in it can be left out.

    Only on a CPU, where looking at a parameter costs nothing; and only by size, so that an image's pixels do not depend
    on its neighbours in the batch.

    Args:
        images: [N, ...], planes or images.
    """
    num_pixels = images.shape[-1] if images.ndim == 2 else images.shape[-1] * images.shape[-2]
    return images.device.type == "cpu" and 2 * num_pixels > TILE and not torch.compiler.is_compiling()


def everywhere(values: Tensor, neutral: float) -> bool:
    """Return whether parameters on the CPU are all neutral."""
    return bool((values.numpy() == neutral).all())
