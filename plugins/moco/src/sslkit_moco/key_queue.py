"""The queue of keys: many negatives for the price of a small batch.

Enters: after each step, the keys of the global batch. Leaves: the latest keys of all steps, at most K. Called by `v2`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


class KeyQueue(nn.Module):
    """A circular buffer of unit vectors; a new one takes the place of the oldest.

    It begins with random directions, as the authors' code has it. Where the next key goes follows from how many came
    before, so that the keys are all there is to save, and the size need not be a multiple of the batch.

    Source: He et al. 2020 (arXiv 1911.05722), section 3.2 and algorithm 1.

    Args:
        size: Keys that it holds, K.
        dim: Width P of a key.

    Attributes:
        keys: The buffer, [K, P].
    """

    keys: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", normalize(torch.randn(size, dim), dim=1))

    @torch.no_grad()
    def enqueue(self, rows: Tensor, num_before: int) -> None:
        """Put keys in the place of the oldest ones; of more than K rows the last K stay.

        Args:
            rows: [n, P], unit vectors, the oldest first; the same on all ranks.
            num_before: Keys that were ever enqueued before these.
        """
        size = len(self.keys)
        start = (num_before + max(len(rows) - size, 0)) % size
        rows = rows[-size:]
        up_to_the_end, from_the_beginning = rows[: size - start], rows[size - start :]
        self.keys[start : start + len(up_to_the_end)] = up_to_the_end
        self.keys[: len(from_the_beginning)] = from_the_beginning
