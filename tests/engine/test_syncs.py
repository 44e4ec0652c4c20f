"""A training step never makes a device wait for the host: the counts of benchmarks/syncs.py."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def syncs():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        return runpy.run_path(str(BENCHMARKS / "syncs.py"))


@pytest.mark.parametrize(
    "case", ["as shipped", "cached gradients", "LARS", "labels as positives", "decoupled, tau 0.01"]
)
def test_nothing_in_a_step_waits(syncs, case):
    pretraining = syncs["pretraining_of"](syncs["CASES"][case], torch.device("cpu"))
    assert syncs["counted"](pretraining) == {}


@pytest.mark.parametrize(
    ("careless", "operation"),
    [
        (lambda z: z.sum().item(), "_local_scalar_dense"),
        (lambda z: 1.0 if z.sum() > 0 else 2.0, "_local_scalar_dense"),
        (lambda z: z[z > 0].sum(), "index"),
        (lambda z: z.masked_select(z > 0).sum(), "masked_select"),
        (lambda z: z.nonzero().sum(), "nonzero"),
        (lambda z: z.detach().unique().sum(), "_unique2"),
        (lambda z: z.to("meta"), "_to_copy"),
    ],
)
def test_what_waits_is_found(syncs, careless, operation):
    pretraining = syncs["pretraining_of"]((), torch.device("cpu"))
    honest = pretraining.method.objective.forward

    def objective(projections, **wanted):
        output = honest(projections, **wanted)
        careless(projections[0])
        return output

    pretraining.method.objective.forward = objective
    assert operation in syncs["counted"](pretraining)
