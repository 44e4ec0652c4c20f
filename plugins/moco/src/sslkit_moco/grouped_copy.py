"""A slow copy of a network whose BatchNorm does not tell a query which key is its own.

Enters: a network; the rows of a batch. Leaves: what the copy makes of them, without gradient. Called by `v2`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit import MomentumCopy, RunError


class GroupedCopy(MomentumCopy):
    """A `MomentumCopy` that is fed a batch in groups: BatchNorm takes the statistics of one group at a time.

    Were query and key normalised over the same images, the statistics would mark the key: it is the only one that was
    made with those of this very batch. He et al. shuffle the keys' images among GPUs, each of which normalises by what
    it has. In sslkit BatchNorm sees the batch of all processes, so the batch is cut instead: the keys' statistics are
    those of a group, the queries' those of the whole.

    Nothing has to be shuffled. The order of a batch is a fresh permutation of the data already, and as the batch is
    dealt out to processes like cards, a contiguous part of it is the same part on any number of them.

    A network without BatchNorm is fed all rows at once: groups would change nothing.

    Source: He et al. 2020 (arXiv 1911.05722), section 3.3 (shuffling BN); groups on one GPU: the authors' CIFAR-10
    demo, which normalises in 8 splits.

    Args:
        module: What to copy.
        num_groups: Groups of equal size. With 1 the statistics are those of the whole batch.

    Attributes:
        num_groups: The same; 1 without BatchNorm.
    """

    def __init__(self, module: nn.Module, num_groups: int) -> None:
        super().__init__(module)
        has_batch_norm = any(isinstance(part, _BatchNorm) for part in module.modules())
        self.num_groups = num_groups if has_batch_norm else 1

    @torch.no_grad()
    def forward(self, rows: Tensor) -> Tensor:
        """Return what the copy makes of rows [n, ...], in their order.

        Raises:
            RunError: They cannot be cut into groups of equal size.
        """
        if len(rows) % self.num_groups:
            raise RunError(
                f"key_groups = {self.num_groups} does not divide the {len(rows)} images that a process embeds at once; "
                "set pretrain.method.key_groups to a divisor of that, or change pretrain.batch_size or micro_batch_size"
            )
        return torch.cat([self.module(group) for group in rows.chunk(self.num_groups)])
