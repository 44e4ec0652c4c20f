"""What `builtin.online` costs at its default interval: `python benchmarks/online.py`.

A pretraining as the quickstart recipe's, but of batches of 256, over one whole interval: every check for collapse and
one measurement of accuracies and health are in it. Clocks before and after the callback take its time out of the
steps'. Goal: at most 3 % of what the steps take without it.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import torch
from common import goal, report
from sslkit_simclr import MLP, NTXent, TwoCrops

from sslkit import JointEmbedding, Online, Shapes, adamw, hookimpl, pretrain, timm_backbone

BATCH = 256
WARM_UP = 10  # steps
INTERVAL = 100  # what the callback chooses here: 1,536 images are 1 % of 100 times 3 passes over 2 views of 256
DATA = Shapes(num_train=8192, num_validation=1024, num_test=10)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Clock:
    """Notes the time at the end of every step, once the device is done."""

    def __init__(self) -> None:
        self.times: list[float] = []

    @hookimpl
    def sslkit_step_end(self) -> None:
        """Note the time."""
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())


class Names:
    """Notes at which steps something was measured."""

    def __init__(self) -> None:
        self.measured: list[int] = []

    @hookimpl
    def sslkit_metrics(self, record: dict[str, Any]) -> None:
        """Note the step."""
        if "online_knn_top1" in record:
            self.measured.append(int(record["step"]))


def main() -> int:
    """Train once and divide."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    torch.manual_seed(0)
    backbone = timm_backbone(model="test_resnet")
    method = JointEmbedding(backbone, MLP(backbone.feature_dim), NTXent(temperature=0.2))
    views = TwoCrops(image_size=32, area=(0.2, 1.0), colour_strength=0.5, blur_probability=0.0, crop_on="device")
    before, after, names = Clock(), Clock(), Names()
    pretrain(
        method, DATA, views, adamw, steps=INTERVAL, batch_size=BATCH, learning_rate=4e-3, device=DEVICE,
        callbacks=[before, Online(DATA), after, names],
    )  # fmt: skip
    assert names.measured == [INTERVAL], "the default interval is another than this benchmark takes"
    online = [end - start for start, end in zip(before.times, after.times, strict=True)][WARM_UP:]
    steps = [end - start for start, end in zip(after.times[:-1], before.times[1:], strict=True)][WARM_UP - 1 :]
    share = sum(online) / sum(steps)
    checks = sorted(seconds for seconds in online[:-1] if seconds > 1e-3)
    rows = [
        goal("online callback, share of the time of the steps", share, at_most=0.03),
        {"what": "a step, seconds", "value": sum(steps) / len(steps), "goal": None, "passed": None},
        {"what": "a check, seconds", "value": checks[len(checks) // 2], "goal": None, "passed": None},
        {"what": "a measurement, seconds", "value": online[-1], "goal": None, "passed": None},
    ]
    return report("online", rows)


if __name__ == "__main__":
    sys.exit(main())
