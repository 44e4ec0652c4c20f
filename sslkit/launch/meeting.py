"""Where the launchers of one or several machines agree: on each start of the ranks, and that all of them have ended.

Enters: a folder that all machines see, or none on a single one. Leaves: an exchange folder for each start, `start-K`.
The first machine decides whether there is another start; the others wait for its word. Called by `local`.
"""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from sslkit.errors import RunError
from sslkit.launch.signals import StopSignals
from sslkit.run_folder import read_json, write_json

_POLL_SECONDS: Final = 0.1


class Place(NamedTuple):
    """This machine among all that train together.

    Attributes:
        rendezvous: Folder that all machines see; None on a single machine, which makes a private one.
        nodes: How many machines.
        node: The number of this one, from 0.
        nproc: Processes on each.
    """

    rendezvous: Path | None = None
    nodes: int = 1
    node: int = 0
    nproc: int = 1

    @property
    def size(self) -> int:
        """Number of all ranks."""
        return self.nodes * self.nproc

    @property
    def ranks(self) -> range:
        """Those on this machine."""
        return range(self.node * self.nproc, (self.node + 1) * self.nproc)


@contextmanager
def meeting(place: Place, signals: StopSignals, timeout_seconds: float) -> Iterator[Meeting]:
    """Open the folder that all machines see, or a private one that is removed at the end.

    Args:
        place: This machine.
        signals: End the waiting for other machines.
        timeout_seconds: How long to wait for the first machine's word.
    """
    if place.rendezvous is not None:
        yield Meeting(place.rendezvous, place, signals, timeout_seconds)
        return
    with tempfile.TemporaryDirectory(prefix="sslkit-", ignore_cleanup_errors=True) as folder:
        yield Meeting(Path(folder), place, signals, timeout_seconds)


class Meeting:
    """What `meeting` opens."""

    def __init__(self, folder: Path, place: Place, signals: StopSignals, timeout_seconds: float) -> None:
        self._folder = folder
        self._place = place
        self._signals = signals
        self._timeout = timeout_seconds
        self._numbers = itertools.count(1)

    def start(self, into: Path | None) -> tuple[Path, Path | None] | None:
        """Return the exchange folder of the next start and the run folder to go on with; None if there is no other.

        Args:
            into: The run folder to go on with, as the first machine knows it.

        Raises:
            RunError: The first machine says nothing, or the folder is not a fresh one.
        """
        exchange = self._folder / f"start-{next(self._numbers)}"
        shape = {"nodes": self._place.nodes, "nproc": self._place.nproc}
        if self._place.node == 0:
            self._claim(exchange)
            write_json(exchange / "plan.json", shape | {"into": None if into is None else str(into)})
            return exchange, into
        plan = self._first_machines_plan(exchange)
        if plan is None:
            return None
        theirs = {key: plan[key] for key in shape}
        if theirs != shape:
            raise RunError(
                f"--nodes and --nproc must be alike on all machines; the first has {theirs}, this one {shape}"
            )
        self._claim(exchange / f"node-{self._place.node}")
        return exchange, None if plan["into"] is None else Path(plan["into"])

    def end(self) -> None:
        """Say, as the first machine, that there is no other start."""
        if self._place.node == 0:
            self._over.touch()

    def leave(self, exchange: Path, timeout_seconds: float = math.inf) -> None:
        """Wait until the ranks of every machine have ended: when one machine is done, a scheduler may kill all.

        Args:
            exchange: Of the start that ended.
            timeout_seconds: At most so long.
        """
        if self._place.nodes == 1:
            return
        (exchange / f"ended-{self._place.node}").touch()
        _wait(
            lambda: len(list(exchange.glob("ended-*"))) == self._place.nodes or self._signals.insisting,
            timeout_seconds,
        )

    @property
    def _over(self) -> Path:
        return self._folder / "over"

    def _first_machines_plan(self, exchange: Path) -> dict[str, Any] | None:
        plan = exchange / "plan.json"
        if not _wait(lambda: plan.exists() or self._over.exists() or bool(self._signals.received), self._timeout):
            raise RunError(
                f"{self._folder}: the machine with --node-rank 0 has not started within {self._timeout:g} s; "
                "start it, or raise --start-timeout"
            )
        return read_json(plan)

    def _claim(self, folder: Path) -> None:
        """Make a folder that no former start has made."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            raise RunError(f"{self._folder}: was used by a former start; name a fresh folder") from None
        except OSError as error:
            raise RunError(f"{self._folder}: cannot be written ({error.strerror}); name another folder") from None


def _wait(ready: Callable[[], bool], timeout_seconds: float) -> bool:
    end = time.monotonic() + timeout_seconds
    while not ready():
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_SECONDS)
    return True
