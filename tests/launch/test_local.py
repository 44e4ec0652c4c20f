"""The launcher against stand-ins: exit codes, signals, who is blamed, and that nothing is left behind."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from sslkit.launch import local, start
from sslkit.launch.meeting import Place

STOPS = ("SIGTERM", "SIGUSR1", "SIGINT")


@pytest.fixture
def supervised(quick, rank):
    """Run stand-ins to their end, and return the exit code."""

    def run(body, nproc=2, **options):
        return local.supervise(local.Launch(rank(body), Place(nproc=nproc), **options))

    return run


def test_all_done(supervised, capfd, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    body = f"""
    (Path({str(tmp_path)!r}) / f"{{rank}} of {{size}}").write_text(
        os.environ["LOCAL_RANK"] + os.environ["LOCAL_WORLD_SIZE"] + os.environ["OMP_NUM_THREADS"])
    print("rank", rank, "speaks")
    """
    assert supervised(body, 3) == 0
    threads = max(1, len(os.sched_getaffinity(0)) // 3)
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {f"{rank} of 3": f"{rank}3{threads}" for rank in range(3)}
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("rank 0 speaks\n", "")


def test_a_number_of_threads_that_is_asked_for_is_kept(supervised, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert supervised('assert os.environ["OMP_NUM_THREADS"] == "5"') == 0


def test_a_single_process_keeps_its_threads(supervised, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert supervised('assert "OMP_NUM_THREADS" not in os.environ and size == 1', 1) == 0


def test_a_mistake_that_all_ranks_see_is_said_once(supervised, capfd):
    assert supervised('raise DataError("photos: no image\\x1b[2J")', 3) == 2
    assert capfd.readouterr().err == "error: photos: no image\\x1b[2J\n"


def test_a_traceback_of_a_mistake_is_shown_when_asked_for(supervised, capfd):
    assert supervised('raise DataError("no image")', verbose=True) == 2
    first, *_, last = capfd.readouterr().err.splitlines()
    assert (first, last) == ("Traceback (most recent call last):", "error: no image")


def test_row_15_the_failing_rank_and_its_traceback_are_last_on_the_screen(supervised, capfd):
    body = """
    if rank == 1: raise ValueError("loss is odd")
    wait_for_ever()
    """
    assert supervised(body, 3) == 1
    lines = capfd.readouterr().err.splitlines()
    assert lines[:2] == ["rank 1 of 3 failed:", "Traceback (most recent call last):"]
    assert lines[-2] == "ValueError: loss is odd"
    assert lines[-1].startswith("error: rank 1 of 3: ValueError: loss is odd (at ")
    assert len(lines) < 15


@pytest.mark.parametrize(
    "consequence",
    [
        'RuntimeError("[pair.cc:534] Connection closed by peer [127.0.0.1]:5000")',
        'RuntimeError("NCCL error: remote process exited")',
        'type("DistBackendError", (RuntimeError,), {"__module__": "torch.distributed"})("gone")',
    ],
)
def test_row_15_a_consequence_is_not_shown_instead_of_the_cause(supervised, capfd, consequence):
    body = f"""
    if rank == 0: raise {consequence}
    time.sleep(0.3)
    raise ValueError("the cause")
    """
    assert supervised(body) == 1
    shown = capfd.readouterr().err
    assert "rank 1 of 2: ValueError: the cause" in shown.splitlines()[-1]
    assert "rank 0" not in shown


def test_a_loader_that_waits_in_vain_is_no_consequence(supervised, capfd):
    body = """
    time.sleep(0.3 * rank)
    raise RuntimeError("DataLoader timed out after 300 seconds" if rank else "Connection closed by peer")
    """
    assert supervised(body) == 1
    assert "rank 1 of 2: RuntimeError: DataLoader timed out" in capfd.readouterr().err.splitlines()[-1]


def test_row_15_an_error_raised_for_a_consequence_is_one_too(supervised, capfd):
    body = """
    if rank == 0:
        try: raise RuntimeError("Timed out waiting 300000ms")
        except RuntimeError as error: raise DataError("the others are not there") from error
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGSEGV)
    """
    assert supervised(body) == 1
    assert capfd.readouterr().err.splitlines()[-1] == "error: rank 1 of 2 was killed by SIGSEGV"


def test_a_consequence_without_a_cause_is_shown(supervised, capfd):
    assert supervised('raise RuntimeError("Connection reset by peer")') == 1
    assert "RuntimeError: Connection reset by peer" in capfd.readouterr().err.splitlines()[-1]


def test_row_15_a_killed_rank_is_named_and_the_job_is_gone_in_time(rank, capfd, quick):
    body = """
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    listen()
    wait_for_ever()
    """
    began = time.monotonic()
    assert local.supervise(local.Launch(rank(body), Place(nproc=2))) == 1
    assert time.monotonic() - began < start._TERMINATE + start._KILL + 2
    assert capfd.readouterr().err == "error: rank 1 of 2 was killed by SIGKILL (often: out of memory)\n"


def test_row_15_the_patience_for_what_is_left_of_a_job_is_short():
    assert start._LOOK + start._TERMINATE + start._KILL < 10


def test_the_last_words_of_a_rank_that_could_not_report(supervised, capfd):
    body = """
    if rank == 1:
        for number in range(100): print("word", number, flush=True)
        os._exit(3)
    wait_for_a_stop()
    """
    assert supervised(body) == 1
    lines = capfd.readouterr().err.splitlines()
    assert lines[:2] == ["rank 1 of 2 wrote last:", "word 80"]
    assert lines[-2:] == ["word 99", "error: rank 1 of 2 ended with code 3 and said nothing"]


def test_a_rank_that_hangs_is_asked_where_it_is(supervised, capfd):
    body = """
    def stuck():
        wait_for_ever()
    if rank == 1: stuck()
    time.sleep(0.3)
    raise RuntimeError("gloo: timed out waiting 120000ms for recv")
    """
    assert supervised(body) == 1
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "rank 1 of 2 hung here:"
    assert any("in stuck" in line for line in lines)
    assert lines[-1] == "error: rank 1 of 2 hung; if a step may take longer, raise --step-timeout"


def test_a_rank_that_is_stopped_answers_no_more(supervised, capfd):
    body = """
    if rank == 1: os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(0.3)
    raise RuntimeError("gloo: timed out waiting 120000ms for recv")
    """
    assert supervised(body) == 1
    assert capfd.readouterr().err.startswith("rank 1 of 2 answers no more")


def test_row_18_stacks_that_ranks_wrote_by_themselves_name_the_one_that_hangs(supervised, capfd):
    body = """
    frames = '  File "/lib/torch/distributed/c10d.py", line 9 in all_reduce\\n' if rank == 0 else (
        '  File "/home/my_loss.py", line 7 in slow\\n')
    text = f'Timeout (0:02:00)!\\nThread 0x1 (most recent call first):\\n  File "x.py", line 1 in other\\n\\n' \
           f'Thread 0x2 (most recent call first):\\n{frames}  File "run.py", line 3 in main\\n'
    (exchange / f"rank-{rank}.stacks").write_text(text)
    os._exit(1)
    """
    assert supervised(body) == 1
    assert capfd.readouterr().err.splitlines() == [
        "rank 1 of 2 hung here:",
        '  File "/home/my_loss.py", line 7 in slow',
        '  File "run.py", line 3 in main',
        "error: rank 1 of 2 hung; if a step may take longer, raise --step-timeout",
    ]


def test_row_18_where_all_wait_each_is_shown_briefly(supervised, capfd):
    body = """
    frames = [f'  File "/lib/torch/distributed/c10d.py", line {line} in f\\n' for line in range(20)]
    (exchange / f"rank-{rank}.stacks").write_text("Thread 0x2 (most recent call first):\\n" + "".join(frames))
    os._exit(1)
    """
    assert supervised(body) == 1
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if "was here" in line] == ["rank 0 of 2 was here:", "rank 1 of 2 was here:"]
    assert len(lines) == 15
    assert lines[-1].startswith("error: the ranks waited for each other")


def test_a_rank_that_reports_and_then_hangs_at_its_end_is_killed(supervised, capfd):
    body = """
    if rank == 1:
        threading.Thread(target=wait_for_ever).start()
        listen()
        raise ValueError("odd")
    wait_for_a_stop()
    """
    assert supervised(body) == 1
    assert "ValueError: odd" in capfd.readouterr().err


def test_a_rank_that_hangs_after_all_is_done_is_killed_and_the_work_counts(supervised, capfd):
    assert supervised("if rank == 1: wait_for_ever()") == 0
    assert capfd.readouterr().err == "warning: the work is done, but rank 1 of 2 did not end; it was killed\n"


def test_the_first_rank_may_work_on_alone(supervised, capfd):
    assert supervised("if rank == 0: time.sleep(1.2)") == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", STOPS)
def test_row_14_a_signal_is_passed_on_and_a_clean_stop_is_waited_for(launcher, rank, wait_until, tmp_path, name):
    body = f"""
    wait_for_a_stop()
    time.sleep(1.2)  # a long save
    assert asked == [{name!r}]
    raise Stopped(f"stopped by {{asked[0]}} after step 7")
    """
    process = launcher(rank(body))
    wait_until(lambda: len(list(tmp_path.glob("sslkit-*/start-1/listening-*"))) == 2)
    process.send_signal(getattr(signal, name))
    assert process.wait(20) == 75
    assert process.output.read_text() == f"error: stopped by {name} after step 7\n"


def test_a_terminals_ctrl_c_reaches_the_ranks_once(launcher, rank, wait_until, tmp_path):
    body = """
    wait_for_a_stop()
    time.sleep(0.5)
    raise Stopped(f"{len(asked)}")
    """
    process = launcher(rank(body))
    wait_until(lambda: len(list(tmp_path.glob("sslkit-*/start-1/listening-*"))) == 2)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) == 75
    assert process.output.read_text() == "error: 1\n"


def test_a_second_ctrl_c_stops_at_once(launcher, rank, wait_until, tmp_path):
    process = launcher(rank("listen()\nwait_for_ever()"))
    wait_until(lambda: len(list(tmp_path.glob("sslkit-*/start-1/listening-*"))) == 2)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert process.wait(3) == 130
    assert process.output.read_text() == ""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_before_a_rank_can_answer_it_is_a_stop_too(launcher, rank, wait_until, tmp_path, name):
    body = """
    if rank == 0: listen()
    (exchange / f"there-{rank}").touch()
    wait_for_ever()
    """
    process = launcher(rank(body))
    wait_until(lambda: len(list(tmp_path.glob("sslkit-*/start-1/there-*"))) == 2)
    process.send_signal(getattr(signal, name))
    assert process.wait(10) == 75


def test_a_rank_that_crashes_while_it_stops_is_a_crash(launcher, rank, wait_until, tmp_path):
    body = """
    wait_for_a_stop()
    if rank == 1: raise OSError(28, "No space left on device")
    raise Stopped("stopped")
    """
    process = launcher(rank(body))
    wait_until(lambda: len(list(tmp_path.glob("sslkit-*/start-1/listening-*"))) == 2)
    process.terminate()
    assert process.wait(10) == 1
    assert "rank 1 of 2: OSError: [Errno 28] No space left on device" in process.output.read_text()


WITH_LOADER = """
loader = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
(exchange.parent.parent / f"pids-{rank}").write_text(f"{os.getpid()} {loader.pid}")
"""


def pids(tmp_path):
    return [int(pid) for path in tmp_path.glob("pids-*") for pid in path.read_text().split()]


def test_a_killed_launcher_leaves_nothing(launcher, rank, wait_until, is_gone, tmp_path):
    process = launcher(rank(WITH_LOADER + "listen()\nwait_for_ever()"))
    wait_until(lambda: len(list(tmp_path.glob("sslkit-*/start-1/listening-*"))) == 2)
    process.kill()
    process.wait()
    assert len(pids(tmp_path)) == 4
    wait_until(lambda: all(map(is_gone, pids(tmp_path))), 5)


def test_a_killed_rank_leaves_no_loader_process(launcher, rank, wait_until, is_gone, tmp_path):
    process = launcher(rank(WITH_LOADER + "time.sleep(0.3)\nos.kill(os.getpid(), signal.SIGKILL)"))
    assert process.wait(20) == 1
    wait_until(lambda: all(map(is_gone, pids(tmp_path))), 5)
    assert len(pids(tmp_path)) == 4
    assert not list(tmp_path.glob("sslkit-*"))


def test_a_launcher_that_cannot_start_its_ranks_leaves_nothing(quick, tmp_path):
    with pytest.raises(FileNotFoundError):
        local.supervise(local.Launch([str(tmp_path / "nothing")], Place(nproc=2)))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_row_16_20_of_20_restarts(supervised, capfd, tmp_path):
    body = f"""
    folder = Path({str(tmp_path)!r})
    assert into in (None, folder)
    step = len(list((folder / "checkpoints").glob("*")))
    if step == 20: return 0
    if rank == 0:
        (exchange / "run").write_text(str(folder))
        save(folder, step + 1)
        raise ValueError("again")
    wait_for_a_stop() if step % 7 == 6 else time.sleep(0.1)
    """
    assert supervised(body, retries=20) == 0
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("starting again")]
    assert told == [f"starting again after step {step} (retry {step} of 20)" for step in range(1, 21)]


def test_row_17_three_starts_in_a_row_without_a_new_step_are_the_last(supervised, capfd, tmp_path):
    body = f"""
    starts = Path({str(tmp_path)!r}) / "starts"
    if rank == 0:
        starts.mkdir(exist_ok=True)
        number = len(list(starts.iterdir()))
        (starts / str(number)).touch()
        if number == 1: save(into, 8)
        raise ValueError("odd")
    """
    save = tmp_path / "run" / "checkpoints" / "step-00000005"
    save.mkdir(parents=True)
    assert supervised(body, into=tmp_path / "run", retries=50) == 1
    assert len(list((tmp_path / "starts").iterdir())) == 5
    assert capfd.readouterr().err.splitlines()[-1] == ("error: 3 starts in a row saved no new step: not started again")


def test_retries_are_counted(supervised, capfd, tmp_path):
    body = f"""
    number = len(list(Path({str(tmp_path)!r}).iterdir()))
    (Path({str(tmp_path)!r}) / str(number)).touch()
    raise ValueError("odd")
    """
    assert supervised(body, nproc=1, retries=1) == 1
    assert len(list(tmp_path.iterdir())) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith("error: rank 0 of 1: ValueError: odd")


@pytest.mark.parametrize(("error", "code"), [('DataError("no image")', 2), ('Stopped("stopped")', 75)])
def test_a_mistake_and_a_stop_are_not_retried(supervised, tmp_path, error, code):
    body = f"""
    (Path({str(tmp_path)!r}) / f"{{time.monotonic_ns()}}").touch()
    raise {error}
    """
    assert supervised(body, nproc=1, retries=5) == code
    assert len(list(tmp_path.iterdir())) == 1


def test_a_signal_ends_the_retries(launcher, rank, wait_until, tmp_path):
    body = """
    wait_for_a_stop()
    raise ValueError("odd")
    """
    process = launcher(rank(body), retries=5)
    wait_until(lambda: len(list(tmp_path.glob("sslkit-*/start-1/listening-*"))) == 2)
    process.terminate()
    assert process.wait(10) == 1
    assert "starting again" not in process.output.read_text()


def test_the_command_of_a_rank_is_this_very_python(monkeypatch):
    monkeypatch.setattr(sys, "path", ["/usr/local/bin", *sys.path])
    assert local.command_of(["run", "a b"]) == [sys.executable, "-P", "-m", "sslkit", "run", "a b"]
    monkeypatch.setattr(sys, "path", [str(Path.cwd()), *sys.path])
    assert local.command_of(["run"]) == [sys.executable, "-m", "sslkit", "run"]


def test_the_launcher_and_the_engine_mean_the_same_signals_and_codes():
    from sslkit.engine import stops
    from sslkit.launch import exchange, signals

    assert set(signals.STOP_SIGNALS) == set(stops.STOP_SIGNALS)
    assert exchange.STOPPED == stops.EXIT_STOPPED
