"""What a run says: plain lines into a file, a live bar on a terminal, and silence for a reader that has gone."""

from __future__ import annotations

import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sslkit import Outcome
from sslkit.builtin.callbacks.console import Console
from sslkit.engine.evaluate import Result

STEPS = 300


def play(folder: Path) -> None:
    """Call the hooks as a run of 300 steps does."""
    console = Console()
    plan = [("recipe", "toy \x1b[31m(red)"), ("images", "1,000")]
    results = [
        Result("builtin.knn", "pretrain.data", "h", "pretrained", Outcome("top1", {"top1": 0.5, "n": 41}), 0),
        Result("builtin.knn", "pretrain.data", "h", "random", Outcome("top1", {"top1": 0.125, "n": 41}), 0),
    ]
    recipe = SimpleNamespace(pretrain=object())
    run = SimpleNamespace(name="toy", folder=folder, plan=plan, results=[], recipe=recipe, warnings=["w"])
    console.sslkit_run_start(run)
    state = SimpleNamespace(step=0, total_steps=STEPS, epochs=3, batch_size=64)
    console.sslkit_pretrain_start(state)
    for step in range(1, STEPS + 1):
        if step == 7:
            logging.getLogger("sslkit").warning("bad image, replaced: a.jpg")
        record = {"step": step, "epoch": (step - 1) // 100, "loss": 6 - step / 100, "images_per_second": 640.0}
        console.sslkit_metrics(state, record | {"data_wait": 0.002})
    for result in results:
        run.results.append(result)
        console.sslkit_evaluation_end(run, f"builtin.knn {result.title}", result.outcome)
    console.sslkit_run_end({"results": [result.row() for result in results], "skipped": {}, "seconds": 75})


COMMAND = [sys.executable, __file__]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return subprocess.run(COMMAND, capture_output=True, check=True).stdout.decode()


def test_a_file_gets_few_plain_lines(plain):
    lines = plain.splitlines()
    assert 40 < len(lines) < 200
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", plain)
    assert "step 150/300  epoch 2/3  loss 4.5000  640 images/s  data wait 2 ms  15 s left" in lines
    assert "expected: 30 s of pretraining at 640 images/s" in lines
    assert "warning: bad image, replaced: a.jpg" in lines


def test_the_end_says_what_was_found_where_it_is_and_how_to_use_it(plain):
    rows = [line.split("│")[1:3] for line in plain.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [["h", "50.00 %"], ["h, random backbone", "12.50 %"]]
    assert plain.rstrip().splitlines()[-2:] == [
        "    import sslkit",
        '    backbone = sslkit.load_backbone("runs/toy")  # images in [0, 1] -> features',
    ]
    assert "done in 1 min 15 s; everything is in runs/toy" in plain


def test_a_terminal_gets_a_live_bar_and_no_hostile_escapes():
    leader, follower = pty.openpty()
    process = subprocess.Popen(COMMAND, stdout=follower, env=os.environ | {"TERM": "xterm", "COLUMNS": "120"})
    os.close(follower)
    seen = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the terminal closes with its last writer
            break
        if not part:
            break
        seen += part
    assert process.wait() == 0
    text = seen.decode()
    assert "300/300" in text
    assert "\r" in text
    assert "step 150/300" not in text
    assert "\x1b[31m(red)" not in text
    assert "\\x1b[31m(red)" in text


def test_a_reader_that_has_gone_ends_no_run():
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait() == 0
    assert process.stderr.read() == b""


def test_a_failed_run_says_how_to_go_on(capsys):
    console = Console()
    console.sslkit_run_start(
        SimpleNamespace(name="toy", folder=Path("runs/toy"), plan=[("recipe", "toy")], results=[], warnings=[])
    )
    console.sslkit_run_failed(RuntimeError("x"))
    said = capsys.readouterr().out
    assert "runs/toy; once the error below is corrected, the same command with --into runs/toy goes on" in said
    console.sslkit_run_failed(KeyboardInterrupt())
    assert "runs/toy; the same command" in capsys.readouterr().out
    logging.getLogger("sslkit").warning("after the end")
    assert "after the end" not in capsys.readouterr().out


if __name__ == "__main__":
    play(Path("runs/toy"))
