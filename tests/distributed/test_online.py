"""The online callback on the first of several ranks: it waits for nobody, and nobody notices."""

from __future__ import annotations

import torch
from watched import pretrained

from sslkit.testing import on_ranks


def test_nobody_waits_and_the_weights_are_the_same():
    expected = on_ranks(pretrained, False)
    found = on_ranks(pretrained, True)
    for (_, weights, _), (number, watched, records) in zip(expected, found, strict=True):
        assert all(torch.equal(weights[name], watched[name]) for name in weights)
        assert sum("online_knn_top1" in record for record in records) == (3 if number == 0 else 0)
        assert sum("online_std_z" in record for record in records) == (4 if number == 0 else 0)
