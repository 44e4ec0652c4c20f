"""`sslkit doctor`: a table for people, JSON for programs, and faults made for real."""

import json
import re
import shutil
import sys

import pytest

from sslkit.__main__ import main
from sslkit.doctor.rows import Outcome, outcomes
from sslkit.doctor.trials import RECIPE, Bench

SAID = {
    "torch": "2.11.0+cpu", "torchvision": "0.26.0+cpu", "built_for_cuda": None, "instructions": "AVX512", "threads": 4,
    "mps": False, "nccl": None, "devices": [], "cuda": False, "cuda_problem": "",
}  # fmt: skip


@pytest.fixture
def quick(monkeypatch):
    """Torch's answer without the seconds that it takes."""
    monkeypatch.setattr("sslkit.doctor.environment.ask_torch", lambda: SAID)


def test_the_table_of_this_machine(command, install, site):
    install("broken", "raise ValueError('\\x1b[31mred')")
    shown = command("doctor", paths=[site])
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    sections = [line for line in lines if not line.startswith(" ")]
    assert sections == ["versions", "plugins", "processor", "devices", "memory", "limits", "places", "tools"]
    names = {line[2:].partition("  ")[0] for line in lines}
    assert {"sslkit", "torch", "torchvision", "timm", "builtin", "threads", "cuda", "memory", "open files"} <= names
    assert re.search(
        r"warning: ValueError: \\x1b\[31mred \(\w+\.py:1\); see: sslkit plugins broken --trace", shown.stdout
    )


def test_the_same_for_programs(quick, capsys, tmp_path):
    assert main(["doctor", "--json", "--runs", str(tmp_path / "later")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["faults"] == []
    readings = {reading["name"]: reading for reading in said["readings"]}
    assert readings["torch"]["value"] == "2.11.0+cpu"
    assert readings["runs"]["value"]["free"] > 0
    assert readings["cores"]["value"]["usable"] >= 1
    assert not (tmp_path / "later").exists()


def test_a_place_for_runs_that_is_none_stops_before_any_fault(quick, capsys, tmp_path):
    (tmp_path / "taken").write_text("")
    assert main(["doctor", "--faults", "--runs", str(tmp_path / "taken")]) == 1
    shown = capsys.readouterr().out
    assert f"error: {tmp_path / 'taken'}: is a file, not a folder" in shown
    assert "seconds" not in shown


def test_a_missing_library_stops(quick, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "sslkit.doctor.software", raising=False)
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    assert main(["doctor"]) == 1
    assert "error: sslkit needs it; type: python -m pip install" in capsys.readouterr().out


@pytest.mark.parametrize("passed", [True, False])
def test_one_broken_promise_is_an_exit_code_and_keeps_the_runs(quick, monkeypatch, capsys, tmp_path, passed):
    def made(bench):
        (bench.folder / "killed").mkdir()
        yield Outcome(1, "kill", "nothing is lost", "all was \x1b[31mlost", passed, 1.25)

    monkeypatch.setattr("sslkit.doctor.rows.outcomes", made)
    assert main(["doctor", "--faults", "--runs", str(tmp_path)]) == (0 if passed else 1)
    shown = capsys.readouterr()
    assert ("PASS" if passed else "FAIL") in shown.out
    assert r"\x1b[31mlost" in " ".join(shown.out.split())
    kept = list(tmp_path.glob("sslkit-doctor-*/killed"))
    assert len(kept) == (0 if passed else 1)
    assert all(f"what the runs left and said is in {path.parent}" in shown.err for path in kept)


@pytest.mark.slow
def test_all_promises_are_kept_for_real(capsys, tmp_path):
    assert main(["doctor", "--faults", "--json", "--runs", str(tmp_path)]) == 0
    rows = json.loads(capsys.readouterr().out)["faults"]
    assert [row["number"] for row in rows if row["passed"]] == [1, 2, 4, 5, 9, 14, 15]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_draws_that_a_resumed_run_does_not_repeat_are_found_for_real(tmp_path):
    folder = shutil.copytree(RECIPE.parent, tmp_path / "trial")
    plugin = folder / "trial.py"
    honest = "return uniforms(keys, 2, 1)"
    assert honest in plugin.read_text()
    plugin.write_text(plugin.read_text().replace(honest, "return uniforms(keys + __import__('os').getpid(), 2, 1)"))
    with Bench(tmp_path, folder / RECIPE.name) as bench:
        [outcome] = outcomes(bench, [9])
    assert not outcome.passed
    assert outcome.happened.startswith("other bits than the undisturbed run's in ")
    assert "backbone.safetensors" in outcome.happened
