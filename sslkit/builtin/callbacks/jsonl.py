"""The run's numbers as a file that any tool can read while it grows: `metrics.jsonl`.

Enters: one record per step. Leaves: one JSON object a line in the run folder. Always attached by the engine, on
the first rank. After a kill the file may run ahead of the checkpoint and end in half a line; both are put right
before the next line is written.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from sslkit import hookimpl

if TYPE_CHECKING:
    from sslkit import PretrainState, RunInfo

FILE_NAME = "metrics.jsonl"


class Jsonl:
    """Append every step's record to `metrics.jsonl`, one compact JSON object a line.

    A number that is not finite becomes null, since JSON has no word for it. A run without a folder writes
    nothing.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: TextIO | None = None

    @hookimpl
    def sslkit_run_start(self, run: RunInfo) -> None:
        """Remember where the run is."""
        self._close()
        self._path = None if run.folder is None else Path(run.folder) / FILE_NAME

    @hookimpl
    def sslkit_pretrain_start(self, state: PretrainState) -> None:
        """Drop the lines of steps that will be done again, then open the file for appending."""
        self._close()
        if self._path is None:
            return
        drop_lines_after(self._path, state.step)
        self._file = self._path.open("a", encoding="utf-8", buffering=1)

    @hookimpl
    def sslkit_metrics(self, record: Mapping[str, Any]) -> None:
        """Write one line; it is handed to the operating system at once."""
        if self._file is not None:
            self._file.write(json_line(record))

    @hookimpl
    def sslkit_run_failed(self) -> None:
        """Close the file."""
        self._close()

    @hookimpl
    def sslkit_run_end(self) -> None:
        """Close the file."""
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def json_line(record: Mapping[str, Any]) -> str:
    """Return a record as one line of strict JSON, line end included; non-finite numbers become null."""
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()
    }
    return json.dumps(finite, separators=(",", ":"), allow_nan=False) + "\n"


def drop_lines_after(path: Path, step: int) -> None:
    """Remove what a resumed run will write again: lines of later steps, and lines that are not whole.

    The file is replaced in one move, so that a kill in between leaves the old one; a file with nothing to drop
    is not touched.

    Args:
        path: A `metrics.jsonl`; it need not exist.
        step: Steps done; lines with a `step` beyond it go.
    """
    if not path.exists():
        return
    before = path.read_bytes()
    # A line that only lacks its end is whole: the kill came between the two.
    lines = [line.rstrip(b"\n") + b"\n" for line in before.splitlines(keepends=True)]
    kept = b"".join(line for line in lines if _stays(line, step))
    if kept == before:
        return
    temporary = path.with_name(f".tmp-{path.name}")
    with temporary.open("wb") as file:
        file.write(kept)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _stays(line: bytes, step: int) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return False
    if not isinstance(record, dict):
        return False
    done = record.get("step")
    return not isinstance(done, (int, float)) or done <= step
