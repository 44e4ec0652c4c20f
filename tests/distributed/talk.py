"""What ranks tell each other, one function for each way."""

from __future__ import annotations

import signal

import torch

from sslkit import DataError, gather_rows, sum_over_ranks
from sslkit.engine.distributed import (
    Vote,
    from_all,
    from_first,
    on_first,
    rank,
    rows_of,
    wait_for_all,
    world_size,
)
from sslkit.engine.step import mean_over_ranks
from sslkit.engine.stops import Stops


def gathered(num_rows):
    """Return what is gathered of rows that name their rank and place, and the gradient of a sum of squares."""
    rows = torch.tensor([[rank() + 10.0 * place] for place in range(num_rows)], requires_grad=True)
    everything = gather_rows(rows)
    everything.square().sum().backward()
    return everything.detach().flatten().tolist(), rows.grad.flatten().tolist()


def gathered_of_other_kinds():
    """Return gathered labels, and rows that do not lie one after the other in memory."""
    return gather_rows(torch.tensor([rank(), 7])).tolist(), gather_rows(torch.full((3, 2), float(rank())).T).tolist()


def told():
    """Return what comes of every other way of talking."""
    wait_for_all()
    return {
        "sum": sum_over_ranks(torch.tensor([1.0, rank()])).tolist(),
        "mean": {name: float(x) for name, x in mean_over_ranks({"a": torch.tensor(float(rank()))}).items()},
        "first": from_first({"rank": rank()}),
        "all": from_all(f"rank {rank()}"),
        "rows": rows_of(1, torch.full((rank(), 2), rank()), 1).tolist() if world_size() > 1 else [],
        "on first": on_first(rank),
    }


def refused():
    """Return what every rank hears when the first one fails."""

    def fail():
        raise DataError(f"rank {rank()} cannot read it")

    try:
        on_first(fail)
    except DataError as error:
        return str(error)


def agreed(step_of_last):
    """Return after which of four steps all ranks stop, and why, if the last one is told to during one of them."""
    stops = Stops()
    for step in range(4):
        stops.ask()
        if step == step_of_last and rank() == world_size() - 1:
            stops.requested = "SIGUSR1"
        if (reason := stops.agreed()) is not None:
            return step, reason
    return None


def votes():
    """Return the outcomes of two votes in which another rank has the largest number each time."""
    vote, outcomes = Vote(), []
    for numbers in ((0, int(signal.SIGTERM)), (3, 1)):
        vote.cast(numbers[rank()])
        outcomes.append(vote.outcome())
    return outcomes
