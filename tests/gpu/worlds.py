"""What the processes of a test run: their own module, for a new process imports it by name."""

from __future__ import annotations

import datetime
import os
from itertools import product
from pathlib import Path

import torch
import torch.distributed as dist

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "recipes" / "simclr_quickstart.toml"
SHORT = ("pretrain.epochs=1", "pretrain.batch_size=64", "pretrain.data.num_train=256", "pretrain.data.num_test=100")
PATHS = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "plugins" / "simclr" / "src")))}


def be_one(rank, folder, backend, size, function, arguments):
    """Be a rank of a world on the first CUDA device; write what the function returns."""
    torch.cuda.set_device(0)
    store = dist.FileStore(f"{folder}/store", size)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=datetime.timedelta(seconds=60))
    answer = function(*arguments)
    torch.save(answer, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def world(folder, backend, size, function, *arguments):
    """Return what a function returns on each of several ranks that share a device."""
    torch.multiprocessing.spawn(be_one, (str(folder), backend, size, function, arguments), nprocs=size)
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(size)]


def talk():
    """Return what the collectives of the engine bring back."""
    from sslkit.engine.distributed import Vote, all_gathered, from_all, gather_rows, rank, rows_of, sum_over_ranks

    own = torch.arange(6.0, device="cuda").view(2, 3) + 10 * rank()
    rows = own.clone().requires_grad_()
    gathered = gather_rows(rows)
    gathered.square().sum().backward()
    vote = Vote()
    vote.cast(rank() + 5)
    found = [all_gathered(own), sum_over_ranks(own), rows_of(0, own, 2), gathered.detach(), rows.grad]
    assert all(tensor.is_cuda for tensor in found)
    return [tensor.cpu() for tensor in found], from_all(("host", rank())), vote.outcome()


CASES = list(product((torch.float64, torch.float32, torch.bfloat16), (False, True)))
"""Of BatchNorm: the rows' type, and whether their channels lie last."""


def batch_norms():
    """Return, case by case, outputs, gradients and moments of a layer."""
    return [_batch_norm(*case) for case in CASES]


def _batch_norm(dtype, channels_last):
    """Do it across ranks, by the layer's own way even in a world of one."""
    from sslkit.engine.batch_norm import _Normalise
    from sslkit.engine.distributed import rank, world_size

    rows, gradient, weight, bias = norm_samples()
    memory = torch.channels_last if channels_last else torch.contiguous_format
    rows, gradient = (
        part[rank() :: world_size()].to("cuda", dtype).contiguous(memory_format=memory) for part in (rows, gradient)
    )
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    weight, bias = (part.to("cuda", kind).requires_grad_() for part in (weight, bias))
    rows.requires_grad_()
    output, mean, var = _Normalise.apply(rows, weight, bias, 1e-5)
    output.backward(gradient)
    assert output.dtype == dtype
    assert output.is_contiguous(memory_format=memory)
    return [part.detach().cpu() for part in (output, rows.grad, weight.grad, bias.grad, mean, var)]


def norm_samples():
    """Return rows, their output's gradient, scale and shift; float64 on the CPU."""
    generator = torch.Generator().manual_seed(0)
    rows, gradient = torch.randn(2, 16, 12, 9, 7, generator=generator, dtype=torch.float64)
    scale = torch.linspace(0.5, 2, 12, dtype=torch.float64)
    return rows * scale.view(1, -1, 1, 1) + 1.0, gradient, scale.flip(0), scale - 1


def three_steps_on_cuda(micro_batch_size):
    """Return losses, gradients and weights after three steps in float64, by the function that CPUs are tested with."""
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1] / "distributed"))
    from double import STEPS, Network, Shifts, head_of, steps_of
    from sslkit_simclr import NTXent

    from sslkit import JointEmbedding, Shapes, sgd
    from sslkit.engine.assemble import assemble

    torch.manual_seed(0)
    head = head_of()
    method = JointEmbedding(Network(norm=True), head, NTXent(temperature=0.5)).double()
    pretraining = assemble(
        method, Shapes(image_size=16, num_train=64, num_validation=20, num_test=20), Shifts(), sgd, epochs=1,
        batch_size=16, learning_rate=0.05, weight_decay=1e-3, micro_batch_size=micro_batch_size, workers=0,
        device="cuda",
    )  # fmt: skip
    losses, gradients, state = steps_of(pretraining, STEPS)
    on_cpu = [{name: tensor.cpu() for name, tensor in step.items()} for step in (*gradients, state)]
    return [loss.cpu() for loss in losses], on_cpu
