"""Several processes that train one model: who this one is, and what they tell each other.

The global batch is dealt out like cards: row p of it is row p // W of rank p % W. So a plainly written objective on
gathered rows sees exactly the batch that a single process would. Enters: torchrun's environment variables, or those of
`sslkit run --nproc`. Leaves: a process group, and collectives that are the identity in a single process. Called by
`run`, by everything in the engine that differs between ranks, and by objectives with `rank_local = True`.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from sslkit.errors import RunError, SslkitError
from sslkit.run_folder import write_text
from sslkit.text import one_line

T = TypeVar("T")

START_SECONDS: Final = 300.0
"""How long processes wait for each other to start. Source: torchtitan waits as long."""

_ADDRESS: Final = "address"


class World(NamedTuple):
    """This process among all.

    Attributes:
        rank: Its number, from 0.
        size: Of them all, W.
        local_rank: Its number on this machine; picks the device.
        local_size: Processes on this machine; they share its cores and memory.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @classmethod
    def of_environment(cls) -> World:
        """Return what a launcher says (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE); alone without one."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        if "WORLD_SIZE" not in os.environ:
            return cls()
        try:
            rank, size = (int(os.environ[name]) for name in names[:2])
            local_rank = int(os.environ.get("LOCAL_RANK", rank))
            return cls(rank, size, local_rank, int(os.environ.get("LOCAL_WORLD_SIZE", size)))
        except (KeyError, ValueError):
            raise RunError(
                f"the environment has WORLD_SIZE, but not all of {', '.join(names)} as numbers; start with torchrun or "
                "with --nproc, or unset WORLD_SIZE"
            ) from None


@contextmanager
def joined(
    device: torch.device,
    *,
    rendezvous: Path | None = None,
    start_seconds: float = START_SECONDS,
    collective_seconds: float = START_SECONDS,
) -> Iterator[World]:
    """Be one of the processes inside the block; nothing happens where there is only one, or a group already.

    Args:
        device: What this process trains on: NCCL for CUDA, gloo for CPUs.
        rendezvous: Folder that all processes see, in which the first one says where it listens. Nobody has to choose a
            port that is free. None takes torchrun's MASTER_ADDR and MASTER_PORT.
        start_seconds: How long to wait for the others to come.
        collective_seconds: How long to wait for them in every collective.

    Raises:
        RunError: The others did not come, or the group that is there cannot carry what hosts tell each other.
    """
    world = World.of_environment()
    if dist.is_initialized():
        if "cpu:gloo" not in dist.get_backend_config():
            raise RunError('the process group has no gloo; make it with init_process_group("cpu:gloo,cuda:nccl")')
        yield world
        return
    if world.size == 1:
        yield world
        return
    if device.type not in ("cpu", "cuda"):
        raise RunError(f"several processes train on CPUs or CUDA devices, not on {device.type}")
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        store = None if rendezvous is None else _meet(world, rendezvous, start_seconds)
        timeout = timedelta(seconds=collective_seconds)
        dist.init_process_group(backend, store=store, rank=world.rank, world_size=world.size, timeout=timeout)
    except (RuntimeError, ValueError, OSError) as error:
        who = f"rank {world.rank} of {world.size}"
        hint = "; each host's name must be an address that the others reach, or set GLOO_SOCKET_IFNAME"
        raise RunError(
            f"{who} did not reach the others within {start_seconds:g} s: {one_line(error)}"
            f"{hint if world.local_size < world.size else ''}"
        ) from error
    try:
        yield world
    except BaseException:
        if device.type != "cuda":  # NCCL's orderly end would wait for the others, and they for this rank
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def _meet(world: World, folder: Path, seconds: float) -> Any:
    """Return the store of the first process, whose address stands in a file, once everyone has come to it."""
    path = folder / _ADDRESS
    options: dict[str, Any] = {"timeout": timedelta(seconds=seconds), "wait_for_workers": False}
    end = time.monotonic() + seconds
    if world.rank == 0:
        host = "127.0.0.1" if world.local_size == world.size else socket.gethostname()
        store = dist.TCPStore(host, 0, is_master=True, **options)  # type: ignore[attr-defined]
        write_text(path, f"{host} {store.port}")
    else:
        _wait_until(path.exists, end, lambda: "rank 0 has not started")
        host, port = path.read_text(encoding="utf-8").split()
        store = dist.TCPStore(host, int(port), is_master=False, **options)  # type: ignore[attr-defined]
    store.set(f"rank {world.rank}", "is here")

    def missing() -> list[str]:
        names = (f"rank {number}" for number in range(world.size))
        return [name for name in names if not store.check([name])]

    _wait_until(lambda: not missing(), end, lambda: f"{', '.join(missing())} has not started")
    return store


def _wait_until(condition: Callable[[], bool], end: float, otherwise: Callable[[], str]) -> None:
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(otherwise())
        time.sleep(0.02)


def rank() -> int:
    """Return this process's number, from 0; 0 in a single process."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes, W; 1 in a single process."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gather_rows(rows: Tensor) -> Tensor:
    """Return the rows of all ranks in the order of a single process, with gradient.

    Every rank must go on to compute the *same* loss from them: then each needs only its own slice of the gradient, and
    no communication in backward. The slice is multiplied by W, because DDP averages over ranks.

    Args:
        rows: [B, ...], the same shape on every rank.

    Returns:
        [W * B, ...]; row p is row p // W of rank p % W.
    """
    if world_size() == 1:
        return rows
    gathered: Tensor = _GatherRows.apply(rows)
    return gathered


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        return all_gathered(rows).transpose(0, 1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        return gradient[rank() :: world_size()] * world_size()


def all_gathered(part: Tensor) -> Tensor:
    """Return what every rank has, [W, ...], of one shape and without gradient."""
    parts = part.new_empty((world_size(), *part.shape))
    # torch 2.14 renamed it; the form with a list would copy once more.
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    gather(parts, part.contiguous()[None])
    return parts


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum over all ranks of a tensor of one shape; without gradient."""
    if world_size() == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def from_first(value: T) -> T:
    """Return what the first rank has; the others' values are dropped. Must be picklable."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def from_all(value: T) -> list[T]:
    """Return what every rank has, in the order of ranks. Must be picklable."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def rows_of(source: int, rows: Tensor, num_rows: int) -> Tensor:
    """Return the rows that one rank has, on all ranks, without gradient.

    Args:
        source: That rank.
        rows: Its own [num_rows, ...]; on the others anything of that form, [n, ...].
        num_rows: How many it has.
    """
    if rank() != source:
        rows = rows.new_empty((num_rows, *rows.shape[1:]))
    rows = rows.contiguous()
    dist.broadcast(rows, source)
    return rows


def wait_for_all() -> None:
    """Return once every rank has come here."""
    from_all(None)


def on_first(work: Callable[[], T]) -> T:
    """Let the first rank do something, and return on all ranks what came of it. Must be picklable.

    Raises:
        SslkitError: On all ranks, what the first one raised.
    """
    if world_size() == 1:
        return work()
    done: tuple[Any, SslkitError | None] = (None, None)
    if rank() == 0:
        try:
            done = (work(), None)
        except SslkitError as mistake:
            done = (None, mistake)
    result, error = from_first(done)
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


class Vote:
    """The largest of a number over all ranks, asked for before a step and known after it: no step waits for it.

    It travels between the hosts (gloo): on a device it would wait for the device.
    """

    def __init__(self) -> None:
        self._number = torch.zeros((), dtype=torch.int64)
        self._work: Any = None

    def cast(self, number: int) -> None:
        """Hand in this rank's number, once per step."""
        self._number.fill_(number)
        if world_size() > 1:
            self._work = dist.all_reduce(self._number, dist.ReduceOp.MAX, async_op=True)

    def outcome(self) -> int:
        """Return the largest number that was handed in."""
        if self._work is not None:
            self._work.wait()
        return int(self._number)
