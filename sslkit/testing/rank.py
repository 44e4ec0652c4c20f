"""One of the processes of `worlds`: joins the others, then runs what it is told.

Enters: on standard input, pickled tasks. Leaves: on standard output, for each what the function returned, or what it
raised. Started by `worlds` as `python -m sslkit.testing.rank FOLDER`.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from pathlib import Path
from typing import IO

from sslkit.text import one_line


def main(meeting: Path, tasks: IO[bytes], answers: IO[bytes]) -> None:
    """Work until the standard input ends."""
    import torch

    from sslkit.engine.distributed import joined
    from sslkit.testing.worlds import TIMEOUT_SECONDS

    torch.set_num_threads(1)
    with joined(
        torch.device("cpu"), rendezvous=meeting, start_seconds=TIMEOUT_SECONDS, collective_seconds=TIMEOUT_SECONDS
    ):
        while True:
            try:
                sys.path[:], task = pickle.load(tasks)
            except EOFError:
                return
            answers.write(_done(task))
            answers.flush()


def _done(task: bytes) -> bytes:
    try:
        function, arguments = pickle.loads(task)
        return pickle.dumps((function(*arguments), None, ""))
    except Exception as error:
        return pickle.dumps((None, f"{type(error).__name__}: {one_line(error, 2000)}", traceback.format_exc()))


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a component prints is no answer
    main(Path(sys.argv[1]), sys.stdin.buffer, answers)
