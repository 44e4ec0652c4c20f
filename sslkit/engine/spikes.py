"""A watch on the loss: a step far above what is usual is logged with the images it saw.

Enters: the record of each step, on the host. Leaves: one line of the log for each spike; training goes on. A wrong
number that a device computed, or a few strange images, would otherwise pass unseen. Called by `pretrain`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Final

import numpy as np

from sslkit.engine.interfaces import Dataset
from sslkit.engine.order import Order
from sslkit.text import one_line

_WINDOW: Final = 100
_LEAST: Final = 20
_DEVIATIONS: Final = 10.0  # the farthest of 6,400 steps of six SimCLR runs was 5.1
_LEAST_DEVIATION: Final = 0.01  # of the median, for losses that hardly move
_MAD_TO_DEVIATION: Final = 1.4826  # of a normal distribution: 1 / its third quartile
_NAMED: Final = 5

logger = logging.getLogger("sslkit")


class Spikes:
    """Watches the losses of a pretraining.

    A spike is a loss above all of the last 100 steps, and more than 10 robust standard deviations above their median.
    The first of several in a row is told; before 20 steps, nothing is usual yet.

    Args:
        order: Which images each step sees.
        dataset: Names them, if it has `describe`.
    """

    def __init__(self, order: Order, dataset: Dataset) -> None:
        self._order = order
        self._dataset = dataset
        self._losses: deque[float] = deque(maxlen=_WINDOW)
        self._was_high = False

    def look(self, record: Mapping[str, float]) -> None:
        """Look at one step's record, in their order; log it if its loss is a spike."""
        loss = record["loss"]
        is_unseen = len(self._losses) >= _LEAST and loss > max(self._losses)
        is_high = (is_unseen or self._was_high) and loss > self._limit()
        if is_high and not self._was_high:
            self._tell(int(record["step"]), loss)
        self._was_high = is_high
        self._losses.append(loss)

    def _limit(self) -> float:
        losses = np.array(self._losses)
        median = float(np.median(losses))
        deviation = _MAD_TO_DEVIATION * float(np.median(np.abs(losses - median)))
        return median + _DEVIATIONS * max(deviation, _LEAST_DEVIATION * abs(median))

    def _tell(self, step: int, loss: float) -> None:
        low, high = np.quantile(self._losses, (0.05, 0.95))
        indices = self._order.indices(step - 1).tolist()
        describe = getattr(self._dataset, "describe", "image {}".format)
        names = ", ".join(one_line(describe(index)) for index in indices[:_NAMED])
        logger.warning(
            "step %d: the loss is %.4g, where %.4g to %.4g is usual; its %d images: %s%s",
            step,
            loss,
            low,
            high,
            len(indices),
            names,
            ", ..." if len(indices) > _NAMED else "",
        )
