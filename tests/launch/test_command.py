"""`sslkit run --nproc` and its flags, up to the point where processes start."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sslkit import __main__, faults
from sslkit.launch import local
from sslkit.launch.exchange import read_reports
from sslkit.launch.meeting import Place

MANY = "--nodes 2 --node-rank 1 --rendezvous meet"


@pytest.fixture
def launched(monkeypatch):
    """Return what would be started."""
    found = []
    monkeypatch.setattr(local, "supervise", lambda launch: found.append(launch) or 0)

    def launch(*words):
        assert __main__.main(["run", *map(str, words)]) == 0
        return found.pop()

    yield launch
    faults.disarm()


def mistake(capsys, *words):
    assert __main__.main(["run", *map(str, words)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("error: ")


def test_ranks_get_the_same_arguments(launched, light):
    words = [
        light(),
        "pretrain.epochs=3",
        "--nproc",
        "2",
        "--retries",
        "4",
        "--into",
        "run",
        "--fault",
        "run.start:kill",
    ]
    launch = launched(*words, "-v")
    assert launch.command == local.command_of(["run", *map(str, words), "-v"])
    assert launch.place == Place(None, 1, 0, 2)
    assert (launch.into, launch.retries, launch.verbose) == (Path("run"), 4, True)


def test_several_machines(launched, light):
    launch = launched(light(), "--nproc", "2", *MANY.split(), "--start-timeout", "9")
    assert (launch.place, launch.start_timeout) == (Place(Path("meet"), 2, 1, 2), 9)
    assert launch.place.ranks == range(2, 4)


def test_one_process_with_retries_is_supervised_too(launched, light):
    assert launched(light(), "--retries", "1").place.size == 1


def test_one_process_is_this_one(light, monkeypatch, tmp_path):
    monkeypatch.setattr(local, "supervise", lambda launch: pytest.fail("a launcher was started"))
    monkeypatch.setitem(sys.modules, "sslkit.engine.run", None)  # as far as the engine
    for more in ((), ("--nproc", "1"), ("--nproc", "2", "--exchange", str(tmp_path))):
        arguments = __main__._parse(["run", str(light()), *more])
        with pytest.raises(ImportError):
            arguments.run(arguments)


def test_a_batch_that_cannot_be_split_is_refused_with_its_place(capsys, launched, light):
    path = light("batch_size = 4", "batch_size = 10\nmicro_batch_size = 2")
    assert __main__.main(["run", str(path), "--nproc", "2", *MANY.split()]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: {path}:7 pretrain.batch_size: 10 cannot be split over 4 processes; say 8 or 12",
        f"error: {path}:8 pretrain.micro_batch_size: 2 cannot be split over 4 processes; say 4",
    ]
    line = mistake(capsys, path, "--nproc", "2", "pretrain.batch_size=7")
    assert line == "override pretrain.batch_size: 7 cannot be split over 2 processes; say 6 or 8"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--nodes 2 --nproc 2", "several machines need --nodes N, --node-rank R and --rendezvous DIR"),
        ("--node-rank 0", "several machines need"),
        ("--rendezvous meet", "several machines need"),
        (f"{MANY} --node-rank 2", "--node-rank 2: with --nodes 2 it is 0 to 1"),
        ("--nproc 2 --fault run.strat:kill", 'there is no point "run.strat"; did you mean "run.start"?'),
        ("--nproc 2 --slurm time=1", "sbatch is not on the PATH"),
    ],
)
def test_flags_that_do_not_fit(capsys, light, monkeypatch, words, reason):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert reason in mistake(capsys, light(), *words.split())


@pytest.mark.parametrize("flag", ["--step-timeout", "--start-timeout"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "long"])
def test_a_time_limit_is_a_number_of_seconds(capsys, flag, value):
    with pytest.raises(SystemExit) as caught:
        __main__.main(["run", "r.toml", f"{flag}={value}"])
    assert caught.value.code == 2
    assert "should be a number of seconds, above 0" in capsys.readouterr().err


def test_two_launchers_are_one_too_many(capsys, light, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "WORLD_SIZE is set" in mistake(capsys, light(), "--nproc", "2")


def test_a_recipe_that_cannot_be_read_starts_nothing(capsys, tmp_path):
    assert mistake(capsys, tmp_path / "x.toml", "--nproc", "2") == f"{tmp_path}/x.toml: there is no such file"


def test_a_recipe_is_checked_before_it_waits_in_a_queue(capsys, light, cluster, tmp_path):
    line = mistake(capsys, light("epochs = 2", "epohcs = 2\nepochs = 2"), "--slurm", "", "--into", tmp_path / "run")
    assert "epohcs: unknown key" in line
    assert not (tmp_path / "run").exists()


def test_a_rank_tells_its_mistake_to_the_launcher_only(tmp_path):
    line = [sys.executable, "-m", "sslkit", "run", "lost.toml", "--exchange", str(tmp_path)]
    process = subprocess.Popen(
        line,
        stdin=subprocess.PIPE,  # held open, as a launcher does
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"RANK": "1", "WORLD_SIZE": "2"},
        start_new_session=True,
    )
    assert (process.wait(60), process.stdout.read()) == (2, b"")
    process.stdin.close()
    (report,) = read_reports(tmp_path).values()
    assert (report.rank, report.code, report.lines) == (1, 2, ["lost.toml: there is no such file"])
    assert not report.consequence


def test_the_launcher_loads_no_torch(light, tmp_path):
    code = f"""
import sys
from sslkit import __main__, faults
from sslkit.launch import local, slurm
local.supervise = lambda launch: 0
assert __main__.main(["run", {str(light())!r}, "--nproc", "2"]) == 0
print({{"torch", "numpy"}} & set(sys.modules))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert shown.stdout == "set()\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_stop_before_the_run_began_is_said_and_ends_with_75(number, tmp_path):
    text = (
        "import os, time\n"
        "from sslkit.launch.signals import ending_at_once\n"
        f"with ending_at_once(): os.kill(os.getpid(), {int(number)}); time.sleep(20)\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 75
    assert done.stderr == f"error: stopped by {number.name} before the run began\n"
