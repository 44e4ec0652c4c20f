"""Processes that form worlds of any size, run a function in each, and bring back what it returned.

They are started once for all tests, since that takes seconds; every call makes a process group of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import tempfile
import traceback
from multiprocessing.connection import wait
from pathlib import Path


class Ranks:
    """As many processes as were ever asked for.

    What goes in and out is pickled: functions must be a module's own, of one that a new process can import.
    """

    def __init__(self):
        self._processes = []

    def __call__(self, size, function, *arguments, timeout_seconds=60):
        """Return what `function(*arguments)` returns on each of `size` ranks; raise what the first to fail says."""
        try:
            return self._once(size, function, arguments, timeout_seconds)
        except AssertionError as error:
            if "connectFullMesh" not in str(error):
                raise
            # gloo does not always bring together again processes that have just left another world.
            return self._once(size, function, arguments, timeout_seconds)

    def _once(self, size, function, arguments, timeout_seconds):
        while len(self._processes) < size:
            self._start()
        folder = Path(tempfile.mkdtemp())
        task = pickle.dumps((size, folder, function, arguments))
        pipes = [pipe for _, pipe in self._processes[:size]]
        try:
            for pipe in pipes:
                pipe.send_bytes(task)
            found = {}
            while len(found) < size:
                ready = wait([pipe for pipe in pipes if pipe not in found], timeout_seconds)
                assert ready, f"ranks {[n for n, pipe in enumerate(pipes) if pipe not in found]} hang"
                for pipe in ready:
                    found[pipe], error = pickle.loads(pipe.recv_bytes())
                    assert error is None, f"rank {pipes.index(pipe)}: {error}"
            return [found[pipe] for pipe in pipes]
        except BaseException:
            self.close()  # the others wait for the one that failed
            raise
        finally:
            shutil.rmtree(folder)

    def _start(self):
        context = multiprocessing.get_context("spawn")
        pipe, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, len(self._processes)), daemon=True)
        process.start()
        theirs.close()
        self._processes.append((process, pipe))

    def close(self):
        for process, pipe in self._processes:
            pipe.close()
            process.kill()
            process.join()
        self._processes = []


def _work(pipe, rank):
    import torch

    from sslkit.engine.distributed import joined

    torch.set_num_threads(1)
    while True:
        try:
            size, folder, function, arguments = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        os.environ |= dict(zip(names, map(str, (rank, size, rank, size)), strict=True))
        try:
            with joined(torch.device("cpu"), rendezvous=folder, start_seconds=30, collective_seconds=60):
                answer = function(*arguments), None
        except BaseException:
            answer = None, traceback.format_exc()
        pipe.send_bytes(pickle.dumps(answer))
