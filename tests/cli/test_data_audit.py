"""`sslkit data audit`, as typed."""

import json
import os

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "my pictures"
    for number, path in enumerate(("train/a/1.png", "train/b/2.png", "test/a/3.png")):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / path)
    return folder


def state(folder):
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_it_says_what_it_found_and_writes_beside(command, pictures, tmp_path):
    before = state(pictures)
    said = command("data", "audit", pictures, "--workers", "1", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert said.stderr == ""
    assert "train 2, test 1" in said.stdout
    assert "normalize = { mean = [0." in said.stdout
    assert "audit-my pictures/audit.html" in said.stdout
    output = tmp_path / "audit-my pictures"
    assert sorted(path.name for path in output.iterdir()) == ["audit.html", "audit.jsonl"]
    lines = [json.loads(line) for line in (output / "audit.jsonl").read_text().splitlines()]
    assert [line["path"] for line in lines] == ["test/a/3.png", "train/a/1.png", "train/b/2.png"]
    assert "Audit of my pictures" in (output / "audit.html").read_text(encoding="utf-8")
    assert state(pictures) == before


def test_strict_fails_on_a_broken_file_and_on_a_leak_only(command, pictures, tmp_path):
    line = ("data", "audit", pictures, "--output", tmp_path / "out", "--workers", "1", "--strict")
    assert command(*line).returncode == 0
    leak = pictures / "test/a/4.png"
    leak.write_bytes((pictures / "train/a/1.png").read_bytes())
    said = command(*line)
    assert said.returncode == 1
    assert "in more than one split  2 in 1 group, such as test/a/4.png" in said.stdout
    assert command(*line[:-1]).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none"], "none: no such folder"),
        (["my pictures", "--output", "my pictures/x"], "say --output with a place outside"),
        (["my pictures", "--output", "file"], "is a file, not a folder"),
        (["empty"], "no image files"),
        (["my pictures", "--near", "9"], "0 to 8"),
    ],
)
def test_mistakes_are_one_line(command, pictures, tmp_path, arguments, says):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    said = command("data", "audit", *arguments, cwd=tmp_path)
    assert said.returncode == 2
    assert says in said.stderr
    assert "Traceback" not in said.stderr
    assert not list(tmp_path.glob("audit-*"))


def test_the_current_folder_needs_a_place_for_the_results(command, pictures, tmp_path):
    said = command("data", "audit", ".", cwd=pictures)
    assert said.returncode == 2
    assert "say --output" in said.stderr
    assert command("data", "audit", ".", "--output", tmp_path / "out", cwd=pictures).returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="such names are POSIX only")
def test_no_file_name_drives_the_terminal(command, pictures, tmp_path):
    (pictures / "train/\x1b[2J[bold]\n").mkdir()
    (pictures / "train/\x1b[2J[bold]\n/\x1b[31m.png").write_bytes(b"x")
    said = command("data", "audit", pictures, "--output", tmp_path / "out", "--workers", "1")
    assert said.returncode == 0
    assert "\x1b" not in said.stdout
    assert r"\x1b[2J[bold]" in said.stdout


def test_it_starts_without_torch(command, pictures, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/torch.py").write_text("raise SystemExit('torch was imported')")
    said = command("data", "audit", pictures, "--output", tmp_path / "out", paths=[tmp_path / "site"])
    assert said.returncode == 0, said.stderr
