"""Which images a step sees: a pure function of (seed, step), so that the state to save is one integer.

Enters: seed, number of images, batch size. Leaves: indices per step. Called by `batches` and `pretrain`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sslkit.engine.randomness import sample_keys
from sslkit.errors import RunError

Indices = npt.NDArray[np.int64]


@dataclass
class Order:
    """The order of a pretraining.

    An epoch is a fresh permutation; what does not fill a last batch is left out of that epoch, because NT-Xent and
    its kin mean something else with fewer negatives.

    Args:
        seed: The run's seed.
        num_images: Images in the split.
        batch_size: Images per step.

    Raises:
        RunError: There are fewer images than one batch needs.
    """

    seed: int
    num_images: int
    batch_size: int
    _cached: tuple[int, Indices] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.num_images < self.batch_size:
            raise RunError(
                f"pretrain.batch_size = {self.batch_size}, but there are {self.num_images} images: one batch is never "
                f"full; set pretrain.batch_size to at most {self.num_images}"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass."""
        return self.num_images // self.batch_size

    def epoch_of(self, step: int) -> int:
        """Return the epoch, from 0, that a step belongs to."""
        return step // self.steps_per_epoch

    def indices(self, step: int) -> Indices:
        """Return the images of a step, int64 [batch_size]."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch_size
        return self._permutation(epoch)[start : start + self.batch_size]

    def _permutation(self, epoch: int) -> Indices:
        if self._cached is None or self._cached[0] != epoch:
            # Sorting by hash instead of a library's shuffle: the same in every version of every library. ~seed keeps
            # the order apart from the views, which hash the same (seed, epoch, index).
            keys = sample_keys(~self.seed, epoch, np.arange(self.num_images, dtype=np.int64))
            self._cached = (epoch, np.argsort(keys, kind="stable").astype(np.int64))
        return self._cached[1]
