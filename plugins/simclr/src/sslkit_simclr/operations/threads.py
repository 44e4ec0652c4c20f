"""Keeps short operations on one thread.

Enters and leaves: nothing. Called by `two_crops` around its work on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
