"""Loader processes that are watched: one that dies or hangs is named, with the image it was at.

Enters: what prepares items, and the images behind it. Leaves: the items in their order, or `LoaderDied`; no process
stays behind. Called by `batches` and `features`; `Noted`, `at` and `between` by what runs in the processes.
"""

from __future__ import annotations

import ctypes
import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import FrameType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from sslkit.engine.distributed import world_size
from sslkit.engine.interfaces import Dataset
from sslkit.engine.stops import STOP_SIGNALS
from sslkit.errors import RunError
from sslkit.faults import arm, armed, fault
from sslkit.text import one_line

TIMEOUT_SECONDS: Final = 300.0
"""How long to wait for images: a dead network mount must not hang a run for ever."""

_TIMEOUT_OF_RANKS: Final = 100.0  # below what `watch` gives a step: the rank that waits is to name the image first
_POLL_SECONDS: Final = 5.0  # between looks at the processes where no signal tells of a death
_PR_SET_PDEATHSIG: Final = 1  # Source: prctl(2); sent when the thread ends that started this process
_DYING_SECONDS: Final = 1.0
_NOWHERE: Final = -1
_NAMED: Final = 4
_END: Final = object()

_here: npt.NDArray[np.int64] | None = None  # this process's place in the notes, if it is a loader's


class LoaderDied(RunError):
    """A loader process was killed, crashed, or hangs.

    It is raised only where items are asked for, so what the caller has computed until then is whole and can be saved.
    """

    exit_code = 1  # no mistake in what was asked: another start may go well


def at(index: int) -> None:
    """Note, in a loader process, which image it works on."""
    if _here is not None:
        _here[0] = index


def between() -> None:
    """Note, in a loader process, that it works on no image."""
    if _here is not None:
        _here[0] = _NOWHERE


class Noted:
    """A dataset that notes which image is about to be read."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return one image and its label."""
        at(index)
        if _here is not None:
            fault("loader.read", step=index)
        return self._dataset[index]


def patience() -> float:
    """Return how long to wait for images, in seconds: shorter where other ranks wait as well."""
    return TIMEOUT_SECONDS if world_size() == 1 else _TIMEOUT_OF_RANKS


def loaded(
    items: TorchDataset[Any],
    images: Dataset,
    *,
    workers: int,
    timeout_seconds: float | None = None,
    **options: Any,
) -> Generator[Any, None, None]:
    """Yield what loader processes prepare; close the generator to end them.

    Args:
        items: Prepares one item, or one batch of them; reads through `Noted`, and calls `between` in the end.
        images: What the noted positions belong to.
        workers: Processes; 0 prepares in this one.
        timeout_seconds: How long to wait for an item; None takes `patience`.
        **options: Of torch's `DataLoader`.

    Raises:
        LoaderDied: A process was killed or crashed, or no item came in time.
    """
    timeout_seconds = patience() if timeout_seconds is None else timeout_seconds
    places = torch.full((workers,), _NOWHERE, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
    loader = DataLoader(
        items,
        num_workers=workers,
        timeout=min(_POLL_SECONDS, timeout_seconds) if workers else 0,
        worker_init_fn=functools.partial(_start, places, armed(), os.getpid(), _is_main_thread()),
        **options,
    )
    watched = _Watched(iter(loader), images, places, timeout_seconds)
    with watched.hearing_of_deaths():
        try:
            yield from watched
        except GeneratorExit:
            raise
        except BaseException:
            watched.kill()  # nobody waits for what they still prepare
            raise
        finally:
            watched.end()


class _Watched:
    """A loader's iterator and its processes.

    torch keeps the processes in `_workers` and ends them in `_shutdown_workers`; there is no public way to either.
    """

    def __init__(self, items: Iterator[Any], images: Dataset, places: Tensor, timeout_seconds: float) -> None:
        self._items = items
        self._images = images
        self._places = places
        self._timeout_seconds = timeout_seconds
        self._processes: Sequence[Any] = getattr(items, "_workers", ())
        self._waiting = False

    def __iter__(self) -> Iterator[Any]:
        while True:
            failure, item = None, None
            try:
                self._waiting = True
                failure, item = self._next()
                self._waiting = False
            except Exception:  # what a process has sent cannot always be received any more when it is dead
                self._waiting = False
                self._let_die()
                if not self._died():
                    raise
                failure = self._obituary()
            if failure is not None:  # raised here, where torch's error, whose traceback holds the iterator, is gone
                raise LoaderDied(failure)
            if item is _END:
                return
            yield item

    def _next(self) -> tuple[str | None, Any]:
        """Return what has gone wrong, or the next item."""
        started = time.monotonic()
        while True:
            # A process that died while it wrote leaves half a message, for whose rest one would wait for ever.
            if self._died():
                return self._obituary(), None
            try:
                return None, next(self._items, _END)
            except RuntimeError as error:
                if not str(error).startswith("DataLoader timed out"):
                    raise
            if time.monotonic() - started >= self._timeout_seconds:
                return self._lament(), None

    @contextmanager
    def hearing_of_deaths(self) -> Iterator[None]:
        """Let torch's handler of a child's death raise only while this process waits for an item.

        It would raise wherever this process happens to be, such as in the middle of an update of the weights.
        """
        if not (self._processes and _is_main_thread() and hasattr(signal, "SIGCHLD")):
            yield
            return
        former: Callable[[int, FrameType | None], Any] | int | None = signal.getsignal(signal.SIGCHLD)

        def hear(number: int, frame: FrameType | None) -> None:
            try:
                if callable(former):
                    former(number, frame)
            except RuntimeError:
                if self._waiting:
                    raise

        signal.signal(signal.SIGCHLD, hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGCHLD, former)

    def kill(self) -> None:
        """End the processes at once, hanging ones too."""
        for process in self._processes:
            process.kill()

    def end(self) -> None:
        """End the processes: an error's traceback would keep them, and Python would wait for them at its exit."""
        if self._processes:
            self._items._shutdown_workers()  # type: ignore[attr-defined]
            self.kill()  # what has not ended by now never will

    def _died(self) -> list[int]:
        return [number for number, process in enumerate(self._processes) if not process.is_alive()]

    def _let_die(self) -> None:
        """Wait until a process that is about to end has ended: first it closes its connections, one after the other."""
        sentinels = [process.sentinel for process in self._processes]
        closed = wait(sentinels, _DYING_SECONDS) if sentinels else ()
        for process in self._processes:
            if process.sentinel in closed:
                process.join(_DYING_SECONDS)

    def _obituary(self) -> str:
        dead = self._died()
        process = self._processes[dead[0]]
        how, cure = _cause(process.exitcode)
        others = f" (and {len(dead) - 1} more)" if len(dead) > 1 else ""
        return (
            f"loader process {dead[0]} of {len(self._processes)} (pid {process.pid}){others} {how}; "
            f"it was {self._place(dead[0])}; {cure}"
        )

    def _lament(self) -> str:
        busy = [number for number in range(len(self._processes)) if self._places[number] != _NOWHERE]
        named = "; ".join(f"loader process {number} is {self._place(number)}" for number in busy[:_NAMED])
        more = f"; and {len(busy) - _NAMED} more" if len(busy) > _NAMED else ""
        return (
            f"no images for {self._timeout_seconds:g} s: {named or 'no loader process is at an image'}{more}; see "
            "whether the disk or network mount answers there (ls), then start the run again: it goes on"
        )

    def _place(self, number: int) -> str:
        index = int(self._places[number])
        if index == _NOWHERE:
            return "between two images"
        describe = getattr(self._images, "describe", None)
        return f"at {one_line(describe(index)) if describe is not None else f'image {index}'}"


def _cause(exit_code: int) -> tuple[str, str]:
    """Return what ended a process and what to type next."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}", "with --workers 0 the error shows"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    if name == "SIGKILL":
        return (
            "was killed by SIGKILL, most likely because memory ran out",
            "start fewer with --workers, or make the images smaller",
        )
    if name == "SIGBUS":
        return (
            "was killed by SIGBUS, most likely because shared memory ran out",
            "start fewer with --workers, or enlarge /dev/shm (docker run --shm-size=2g)",
        )
    return f"was killed by {name}", "look at that image with sslkit data audit, or start fewer with --workers"


def _is_main_thread() -> bool:
    """Return whether this is the thread in which Python allows signal handlers."""
    return threading.current_thread() is threading.main_thread()


def _start(places: Tensor, faults: Sequence[str], parent: int, by_main_thread: bool, worker: int) -> None:
    """Prepare a loader process."""
    global _here
    _here = places.numpy()[worker : worker + 1]
    for text in () if armed() else faults:  # a forked process has them already
        arm(text)
    _ignore_stops()
    _end_with(parent, by_main_thread)


def _end_with(parent: int, by_main_thread: bool) -> None:
    """End this process when its parent ends.

    torch looks for that too, but between images only, so not while one hangs, and not if the parent has ended already.
    """
    if by_main_thread and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent and multiprocessing.get_start_method() != "forkserver":
        os._exit(1)


def _ignore_stops() -> None:
    """Leave stop signals, which a scheduler sends to a whole group, to the main process: it still needs its loader.

    A second one ends the worker, or a main process that has to terminate it would wait for ever.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, lambda number, frame: signal.signal(number, signal.SIG_DFL))
