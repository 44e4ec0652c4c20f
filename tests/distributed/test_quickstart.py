"""The shipped SimCLR recipe on two processes does what it does on one."""

from __future__ import annotations

import json

import pytest
import torch
from shipped import QUICKSTART, SHORT, quickstart_steps

from sslkit.testing import on_ranks

SIZES = ("pretrain.batch_size=32", "pretrain.micro_batch_size=16")


def relative(value, expected):
    return float((value.double() - expected.double()).norm() / expected.double().norm().clamp(min=1e-6))


@pytest.mark.parametrize("override", SIZES)
@pytest.mark.parametrize(
    ("dtype", "steps", "of_loss", "of_gradients", "of_statistics"),
    [
        (torch.float64, 2, 1e-10, 1e-10, 1e-9),
        (torch.float32, 1, 1e-5, 0.05, 1e-4),  # one process is 1 % away from float64: a unit that switches
    ],
)
def test_the_first_steps_equal_those_of_one_process(override, dtype, steps, of_loss, of_gradients, of_statistics):
    losses, gradients, tensors = quickstart_steps(dtype, steps, override)
    for found_losses, found_gradients, found in on_ranks(quickstart_steps, dtype, steps, override):
        assert all(relative(a, b) < of_loss for a, b in zip(found_losses, losses, strict=True))
        for step, expected in zip(found_gradients, gradients, strict=True):
            assert all(relative(step[name], expected[name]) < of_gradients for name in expected)
        statistics = [name for name in tensors if "running" in name]
        assert len(statistics) > 10
        assert all(relative(found[name], tensors[name]) < of_statistics for name in statistics)


@pytest.mark.slow
@pytest.mark.parametrize("override", SIZES)
def test_the_command_runs_it_to_its_scores(command, tmp_path, override):
    records, results = [], []
    for name, flags in (("one", ()), ("two", ("--nproc", 2))):
        done = command("run", QUICKSTART, *SHORT, override, "--device", "cpu", "--into", tmp_path / name, *flags)
        assert done.returncode == 0, done.stdout + done.stderr
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        assert summary["status"] == "finished"
        results.append(summary["results"])
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        records.append([json.loads(line) for line in lines])
    assert [record["step"] for record in records[0]] == [record["step"] for record in records[1]] == [1, 2, 3]
    assert records[1][0]["loss"] == pytest.approx(records[0][0]["loss"], rel=1e-4)
    assert records[1][0]["gradient_norm"] == pytest.approx(records[0][0]["gradient_norm"], rel=0.02)
    for one, two in zip(*results, strict=True):
        assert one["n"] == two["n"] == 41
        assert {**one, "value": None} == {**two, "value": None}
        if one["weights"] != "pretrained":
            assert one["value"] == two["value"]
