"""The faults that `sslkit doctor --faults` makes, each with what sslkit promises then.

Enters: a bench to make trials on. Leaves: an outcome per row. Called by the command. The numbers are those of the table
in `docs/explanation/faults.md`, whose other rows the tests cover.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sslkit.doctor.trials import Bench, BrokenPromiseError, Ended, Trial, expect

# The trial recipe takes 12 steps, 4 an epoch, and saves after every second one.
_STOPPED: Final = 75
_KILLED: Final = -9
_MISTAKE: Final = 2

# What a trial raises: its own checks, or a file that the run should have left is not there, or not whole.
_BROKEN: Final = (BrokenPromiseError, OSError, ValueError, KeyError)

_Weights = dict[str, str]


@dataclass(frozen=True)
class Row:
    """A fault and a promise.

    Attributes:
        number: In the table of faults.
        fault: What goes wrong.
        promise: What holds all the same.
        trial: Makes the fault; returns what happened, or raises what happened instead.
    """

    number: int
    fault: str
    promise: str
    trial: Callable[[Bench, _Weights], str]


@dataclass(frozen=True)
class Outcome:
    """What became of a row.

    Attributes:
        number: The row's.
        fault: The row's.
        promise: The row's.
        happened: What happened on this machine.
        passed: The promise was kept.
        seconds: How long the trial took.
    """

    number: int
    fault: str
    promise: str
    happened: str
    passed: bool
    seconds: float


def outcomes(bench: Bench, numbers: Collection[int] | None = None) -> Iterator[Outcome]:
    """Yield each row's outcome, in the order of the table; two trials at a time.

    Where not even an undisturbed run works, that is the only outcome, numbered 0.

    Args:
        bench: Where trials are made.
        numbers: Of the rows to try; all if None.
    """
    reference: _Weights = {}  # filled by the first trial
    undisturbed = _outcome(Row(0, "none", "a run gets to its end", _undisturbed), bench, reference)
    if not undisturbed.passed:
        yield undisturbed
        return
    rows = [row for row in ROWS if numbers is None or row.number in numbers]
    with ThreadPoolExecutor(2) as pool:
        try:
            yield from pool.map(lambda row: _outcome(row, bench, reference), rows)
        finally:
            bench.close()


def _outcome(row: Row, bench: Bench, reference: _Weights) -> Outcome:
    start = time.monotonic()
    try:
        happened, passed = row.trial(bench, reference), True
    except _BROKEN as error:
        kind = "" if isinstance(error, BrokenPromiseError) else f"{type(error).__name__}: "
        happened, passed = f"{kind}{error}", False
    return Outcome(row.number, row.fault, row.promise, happened, passed, round(time.monotonic() - start, 1))


def _undisturbed(bench: Bench, reference: _Weights) -> str:
    trial = bench.trial("undisturbed")
    trial.finish()
    reference.update(trial.weights())
    return "it did"


def _killed_in_a_save(bench: Bench, reference: _Weights) -> str:
    trial = bench.trial("killed")
    trial.stop_at("checkpoint.before_rename:kill@6", _KILLED)
    _expect_newest(trial, 4)
    _expect_began(trial.stop_at("checkpoint.write:kill@8", _KILLED), 4)
    _expect_newest(trial, 6)
    _expect_began(trial.finish(), 6)
    trial.expect_weights(reference)
    return "killed twice, saving steps 6 and 8; went on after 4 and 6 to the same bits as undisturbed"


def _disk_full(bench: Bench, reference: _Weights) -> str:
    trial = bench.trial("full")
    ended = trial.stop_at("checkpoint.write:enospc@6", _MISTAKE)
    for wanted in (os.strerror(errno.ENOSPC), "step-00000006", "MiB"):
        expect(wanted in ended.last_line, f"the error does not say {wanted}: {ended.last_line}")
    _expect_newest(trial, 4)
    left = [path.name for path in (trial.folder / "checkpoints").glob(".tmp-*")]
    expect(not left, f"half a checkpoint was left: {', '.join(left)}")
    _expect_began(trial.finish(), 4)
    trial.expect_weights(reference)
    return "one clear line; steps 2 and 4 stayed whole, nothing was left over; went on after 4 to the same bits"


def _flipped_bit(bench: Bench, reference: _Weights) -> str:
    trial = bench.trial("flipped")
    trial.stop_at("step.start:kill@7", _KILLED)
    newest = trial.checkpoints()[6]
    _flip_a_bit(newest / "model.safetensors")
    ended = trial.finish()
    expect(
        f"{newest.name} is not whole (model.safetensors" in ended.text, "the file with the flipped bit was not named"
    )
    _expect_began(ended, 4)
    trial.expect_weights(reference)
    return "model.safetensors of step 6 was named; went on after 4 to the same bits"


def _unusable(bench: Bench, reference: _Weights) -> str:
    trial = bench.trial("unusable")
    trial.stop_at("step.start:kill@7", _KILLED)
    newest = trial.checkpoints()[6]
    _halve(newest / "optimizer.safetensors")
    _expect_began(trial.stop_at("step.start:kill@9", _KILLED), 4)
    expect(newest.with_suffix(".corrupt").is_dir(), "the damaged checkpoint was not set aside")
    for path in trial.checkpoints().values():
        (path / "MANIFEST.json").unlink()
    ended = trial.run()
    expect(ended.code == _MISTAKE, f"exit code {ended.code}, not 2, with no checkpoint left: {ended.last_line}")
    return "step 6 cut short: went on after step 4; all damaged: refused to begin again from nothing"


def _stopped_in_an_epoch(bench: Bench, reference: _Weights) -> str:
    trial = bench.trial("stopped")
    for step in (3, 7):
        trial.stop_at(f"step.start:sigterm@{step}", _STOPPED)
        _expect_newest(trial, step)
    _expect_began(trial.finish(), 7)
    trial.expect_weights(reference)
    return "stopped after steps 3 and 7 of epochs of 4; weights, statistics and optimizer have the same bits"


def _terminated(bench: Bench, reference: _Weights) -> str:
    trial = bench.trial("terminated")
    trial.start("--nproc", "2", "pretrain.epochs=200")
    trial.signal_after(2, signal.SIGTERM)
    start = time.monotonic()
    ended = trial.wait()
    seconds = time.monotonic() - start
    expect(ended.code == _STOPPED, f"exit code {ended.code}, not 75: {ended.last_line}")
    expect(seconds <= 30, f"took {seconds:.0f} s to stop")
    status, newest = trial.read("status.json"), max(trial.checkpoints())
    expect(status["status"] == "stopped", f"status.json says {status['status']}")
    expect(f"after step {newest:,} of" in ended.text, f"saved step {newest}, but said: {ended.last_line}")
    expect(not trial.processes(), "processes were left")
    return f"two processes saved step {newest} together and ended with exit code 75 after {seconds:.1f} s"


def _rank_killed(bench: Bench, reference: _Weights) -> str:
    trial = bench.trial("rank")
    trial.start("--nproc", "2", "--fault", "step.start:kill@5,rank=1")
    trial.wait_for(4)
    start = time.monotonic()
    ended = trial.wait()
    seconds = time.monotonic() - start
    expect(ended.code == 1, f"exit code {ended.code}, not 1: {ended.last_line}")
    expect(seconds <= 15, f"the other process went on for {seconds:.0f} s")
    expect("rank 1 of 2" in ended.last_line, f"rank 1 is not named last: {ended.last_line}")
    expect(not trial.processes(), "processes were left")
    _expect_began(trial.finish("--nproc", "2"), 4)
    return f"all gone after {seconds:.1f} s, rank 1 named last; the next start went on after step 4 to the end"


def _expect_newest(trial: Trial, step: int) -> None:
    newest = max(trial.checkpoints(), default=0)
    expect(newest == step, f"the newest checkpoint is of step {newest}, not {step}")


def _expect_began(ended: Ended, step: int) -> None:
    expect(ended.began_after == step, f"went on after step {ended.began_after}, not {step}")


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


ROWS: Final = (
    Row(1, "kill -9 while saving", "no checkpoint is half there; at most one interval is lost", _killed_in_a_save),
    Row(2, "disk full while saving", "an error that says where and how much; older checkpoints stay", _disk_full),
    Row(4, "a bit of the newest checkpoint flips", "it is found, and the file named", _flipped_bit),
    Row(5, "the newest checkpoint is unusable", "the one before is taken; never a silent start from 0", _unusable),
    Row(9, "stopped in the middle of an epoch", "the same bits as a run that was not stopped", _stopped_in_an_epoch),
    Row(14, "SIGTERM", "all processes save the same step within 30 s; exit code 75", _terminated),
    Row(15, "one of two processes is killed", "all end within 15 s, the culprit is named; can go on", _rank_killed),
)
