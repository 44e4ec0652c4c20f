"""Several processes: NCCL with one, for it refuses two on a device; gloo with two that share the device."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
import worlds

pytestmark = pytest.mark.gpu

NCCL, GLOO = "cpu:gloo,cuda:nccl", "gloo"
WORLDS = [(NCCL, 1), (GLOO, 2)]


@pytest.mark.parametrize(("backend", "size"), WORLDS)
def test_collectives(tmp_path, backend, size):
    parts = [torch.arange(6.0).view(2, 3) + 10 * rank for rank in range(size)]
    for rank, (tensors, told, vote) in enumerate(worlds.world(tmp_path, backend, size, worlds.talk)):
        gathered, total, of_first, rows, gradient = tensors
        assert torch.equal(gathered, torch.stack(parts))
        assert torch.equal(total, sum(parts))
        assert torch.equal(of_first, parts[0])
        assert torch.equal(rows, torch.stack(parts, dim=1).flatten(0, 1))
        assert torch.equal(gradient, 2 * size * parts[rank])
        assert told == [("host", number) for number in range(size)]
        assert vote == 4 + size


TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2}


@pytest.mark.parametrize(("backend", "size"), WORLDS)
def test_own_batch_norm_is_torchs(tmp_path, backend, size):
    by_rank = worlds.world(tmp_path, backend, size, worlds.batch_norms)
    for (dtype, _), *found in zip(worlds.CASES, *by_rank, strict=True):
        rows, gradient, weight, bias = worlds.norm_samples()
        rows, gradient = (part.to(dtype).double() for part in (rows, gradient))
        leaves = [leaf.requires_grad_() for leaf in (rows, weight, bias)]
        output = F.batch_norm(rows, None, None, weight, bias, training=True)
        wanted = torch.autograd.grad(output, leaves, gradient)
        var, mean = torch.var_mean(rows.detach(), (0, 2, 3), correction=0)
        dealt = [torch.stack([rank[place] for rank in found], dim=1).flatten(0, 1) for place in (0, 1)]
        summed = [sum(rank[place] for rank in found) for place in (2, 3)]
        moments = [found[-1][place] for place in (4, 5)]
        for ours, theirs in zip([*dealt, *summed, *moments], [output, *wanted, mean, var], strict=True):
            near(ours, theirs.detach(), TOLERANCE[dtype])


def near(ours, theirs, tolerance):
    assert ours.shape == theirs.shape
    assert float((ours.double() - theirs).abs().max()) < tolerance * max(1.0, float(theirs.abs().max()))


@pytest.mark.parametrize("micro_batch_size", [None, 8])
def test_two_processes_on_a_device_are_one(tmp_path, micro_batch_size):
    losses, tensors = worlds.three_steps_on_cuda(micro_batch_size)
    for other_losses, others in worlds.world(tmp_path, GLOO, 2, worlds.three_steps_on_cuda, micro_batch_size):
        pairs = list(zip(losses, other_losses, strict=True))
        for step, other in zip(tensors, others, strict=True):
            assert step.keys() == other.keys()
            pairs += [(step[name], other[name]) for name in step]
        assert max(float((one.double() - two.double()).abs().max()) for one, two in pairs) < 1e-9
    assert len({float(loss) for loss in losses}) == 3


def test_a_process_too_many_for_the_devices_is_refused(command, tmp_path):
    count = torch.cuda.device_count() + 1
    recipe = worlds.QUICKSTART
    done = command("run", recipe, "--nproc", count, "--device", "cuda", "--runs", tmp_path / "runs")
    assert done.returncode == 2, done.stderr
    assert f"{count} processes, but {count - 1} CUDA devices; start as many, or say --device cpu" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").rglob("resolved.toml"))


def test_torchruns_single_process_trains_on_the_device(tmp_path):
    line = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "sslkit", "run",
        worlds.QUICKSTART, *worlds.SHORT, "--into", tmp_path / "run", "--device", "cuda",
    ]  # fmt: skip
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True, env=os.environ | worlds.PATHS)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "run" / "summary.json").exists()
