"""What features cost: `python benchmarks/features.py`.

Extraction is compared with a hand-written loop that scales the same images and passes them through the same backbone in
batches of the same size, and with asking again. Goals: extraction takes at most 5 % longer; however many evaluations
ask for h, z and a layer, of two splits, each image passes through the backbone once; asking again costs nothing.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import numpy as np
import torch
from common import figures, goal, report
from sslkit_simclr import MLP

from sslkit import Data, Evaluation, FrozenModel, Outcome, Pretrained, Shapes, evaluate, timm_backbone
from sslkit.engine.features import BATCH

ROUNDS = 7
IMAGES = 4_096
DATA = Shapes(num_train=IMAGES, num_validation=10, num_test=1_024)
LAYERS = ("h", "z", "layer3")


def model() -> FrozenModel:
    """Return random weights: their speed is that of any."""
    torch.manual_seed(0)
    backbone = timm_backbone(model="test_resnet")
    return FrozenModel(backbone, MLP(backbone.feature_dim), input_size=32)


def by_hand(frozen: FrozenModel) -> torch.Tensor:
    """Return the same features by the shortest loop."""
    table = DATA.table("train")
    with torch.inference_mode():
        return torch.cat([frozen.backbone(part.float() / 255) for part in table.split(BATCH)])


def asking() -> Evaluation:
    """Return an evaluation that needs the features of two splits, and does nothing with them."""

    def ask(pretrained: Pretrained, data: Data) -> Outcome:
        values = [pretrained.features(data, split).values for split in ("train", "test")]
        return Outcome("dimensions", {"dimensions": float(values[0].shape[1])})

    return ask


def main() -> int:
    """Measure in turn, after one warm-up of each."""
    ratios, again = [], []
    for number in range(ROUNDS + 1):
        frozen = model()
        start = time.perf_counter()
        mine = frozen.features(DATA, "train").values
        middle = time.perf_counter()
        theirs = by_hand(frozen)
        end = time.perf_counter()
        frozen.features(DATA, "train")
        once_more = time.perf_counter()
        assert np.allclose(mine.numpy(), theirs.numpy(), atol=1e-5)
        if number:
            ratios.append((middle - start) / (end - middle))
            again.append((once_more - end) / (middle - start))
    frozen, seen = model(), [0]
    frozen.backbone.register_forward_hook(lambda module, inputs, output: seen.__setitem__(0, seen[0] + len(inputs[0])))
    evaluate(frozen, DATA, {f"evaluation {i}": asking() for i in range(4)}, features=LAYERS)
    passes = seen[0] / (IMAGES + 1_024)
    rows: list[dict[str, Any]] = [
        goal("extraction / hand-written loop", statistics.median(ratios), at_most=1.05),
        goal("asking again / extraction", statistics.median(again), at_most=0.001),
        goal("passes of each image for 4 evaluations of 3 layers", passes, at_most=1.0),
        *figures("ratios", {"least": min(ratios), "greatest": max(ratios)}, "times"),
    ]
    return report("features", rows)


if __name__ == "__main__":
    sys.exit(main())
