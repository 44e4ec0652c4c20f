"""Several machines, each with its launcher: they start together, end together, and say once who failed."""

import signal

import pytest


@pytest.fixture
def machines(launcher, rank, tmp_path):
    """Start a launcher for each of two machines."""

    def start(body, nproc=1, folder="meeting", **launch):
        place = {"nodes": 2, "nproc": nproc, "rendezvous": str(tmp_path / folder)}
        return [launcher(rank(body), place=place | {"node": node}, **launch) for node in (1, 0)][::-1]

    return start


def test_ranks_are_numbered_over_all_machines(machines, tmp_path):
    body = """
    numbers = [os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")]
    (exchange / f"here-{rank}").write_text(" ".join(numbers))
    """
    assert [process.wait(20) for process in machines(body, nproc=2)] == [0, 0]
    found = sorted(path.read_text() for path in (tmp_path / "meeting" / "start-1").glob("here-*"))
    assert found == ["0 4 0 2", "1 4 1 2", "2 4 0 2", "3 4 1 2"]


def test_a_failure_on_one_machine_ends_the_other_and_is_told_in_full_where_it_was(machines):
    body = """
    if rank == 2: raise ValueError("odd")
    wait_for_ever()
    """
    first, second = machines(body, nproc=2)
    assert (first.wait(20), second.wait(20)) == (1, 1)
    assert first.output.read_text() == "error: rank 2 of 4, on another machine, failed\n"
    assert second.output.read_text().splitlines()[-1].startswith("error: rank 2 of 4: ValueError: odd")


def test_a_killed_rank_is_known_on_the_other_machine(machines):
    first, second = machines("if rank == 0: os.kill(os.getpid(), signal.SIGKILL)\nwait_for_ever()")
    assert (first.wait(20), second.wait(20)) == (1, 1)
    assert first.output.read_text() == "error: rank 0 of 2 was killed by SIGKILL (often: out of memory)\n"
    assert second.output.read_text() == "error: rank 0 of 2, on another machine, failed\n"


def test_no_machine_leaves_before_the_last_one_has_saved(machines, wait_until, tmp_path):
    body = """
    wait_for_a_stop()
    if rank == 0:
        time.sleep(2)
        (exchange / "saved").touch()
    raise Stopped("stopped after step 3")
    """
    first, second = machines(body)
    wait_until(lambda: len(list(tmp_path.glob("meeting/start-1/listening-*"))) == 2)
    for process in (first, second):
        process.send_signal(signal.SIGUSR1)
    assert second.wait(20) == 75
    assert (tmp_path / "meeting" / "start-1" / "saved").exists()
    assert first.wait(20) == 75
    assert (first.output.read_text(), second.output.read_text()) == ("error: stopped after step 3\n", "")


def test_all_machines_start_again_together(machines, tmp_path):
    run = tmp_path / "run"
    body = f"""
    (exchange / f"into-{{rank}}").write_text(str(into))
    if exchange.name == "start-3": return 0
    if rank == 0:
        (exchange / "run").write_text({str(run)!r})
        save(Path({str(run)!r}), int(exchange.name[-1]))
    if rank == 1: raise ValueError("odd")
    wait_for_ever()
    """
    first, second = machines(body, retries=5)
    assert (first.wait(30), second.wait(30)) == (0, 0)
    into = {f"{path.parent.name} {path.name}": path.read_text() for path in tmp_path.glob("meeting/start-*/into-*")}
    assert into == {
        f"start-{start} into-{rank}": "None" if start == 1 else str(run) for start in (1, 2, 3) for rank in (0, 1)
    }
    assert "starting again after step 2 (retry 2 of 5)" in first.output.read_text()


def test_the_other_machines_learn_that_there_is_no_other_start(machines):
    first, second = machines("raise ValueError('odd')", retries=9)
    assert (first.wait(30), second.wait(30)) == (1, 1)
    assert "3 starts in a row saved no new step" in first.output.read_text()


def test_a_folder_serves_one_start_only(machines):
    for process in machines("pass"):
        assert process.wait(20) == 0
    for process in machines("pass"):
        assert process.wait(20) != 0
        assert "was used by a former start; name a fresh folder" in process.output.read_text()


def test_a_machine_that_waits_in_vain_says_for_whom(launcher, rank, tmp_path):
    place = {"nodes": 2, "node": 1, "rendezvous": str(tmp_path / "meeting")}
    process = launcher(rank("pass"), place=place, start_timeout=0.5)
    assert process.wait(20) != 0
    assert "the machine with --node-rank 0 has not started within 0.5 s" in process.output.read_text()


def test_machines_of_different_shape_are_refused(launcher, rank, tmp_path):
    place = {"nodes": 2, "rendezvous": str(tmp_path / "meeting")}
    first = launcher(rank("if rank == 0: wait_for_a_stop()"), place=place | {"nproc": 1})
    second = launcher(rank("pass"), place=place | {"nproc": 2, "node": 1})
    assert second.wait(20) != 0
    assert "must be alike on all machines" in second.output.read_text()
    first.kill()
    first.wait()
