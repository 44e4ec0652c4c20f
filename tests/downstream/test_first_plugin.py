"""The tutorial "Your first plugin", from an empty folder to the wheel: its commands, its files, its transcript."""

import re
import runpy
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorials" / "first_plugin.md"
BLOCKS = runpy.run_path(str(ROOT / "docs" / "blocks.py"))["blocks"](PAGE.read_text(encoding="utf-8"))


def require_transcript(shown, said, where):
    """Compare what the page shows with what a command said; `...` is any text, and on a line of its own any lines."""
    lines, anywhere = iter(said), False
    for line in shown:
        if line == "...":
            anywhere = True
            continue
        pattern = re.compile(re.escape(line).replace(r"\.\.\.", ".*"))
        found = next((each for each in lines if not anywhere or pattern.fullmatch(each)), "nothing more")
        assert pattern.fullmatch(found), f"{where} shows {line!r}, but there is {found!r} in:\n" + "\n".join(said)
        anywhere = False
    assert anywhere or next(lines, None) is None, f"{where} shows less than:\n" + "\n".join(said)


def apply(diff, path):
    old = "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in " -")
    new = "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in " +")
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path.name} has no such lines: {old}"
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="the page is written for a Unix shell")
def test_the_tutorial_happens_as_it_says(shell):
    said, failed = "", False
    for block in BLOCKS:
        where = f"line {block.line} of {PAGE.name}"
        what, _, name = block.mark.partition(": ")
        if what == "file":
            assert (shell.desk / name).exists(), f"{where}: the tutorial edits what new-plugin has written"
            (shell.desk / name).write_text(block.text, encoding="utf-8")
        elif what == "change":
            apply(block.text, shell.desk / name)
        elif block.language == "bash":
            done = [shell(line) for line in block.text.splitlines()]
            said = "".join(each.stdout + each.stderr for each in done)
            failed = any(each.returncode for each in done)
            mistake = BLOCKS[BLOCKS.index(block) + 1].text.startswith("error: ")
            assert failed == mistake, f"{where}: {said}"
        elif block.language == "text":
            require_transcript(block.text.splitlines(), said.splitlines(), where)
        elif block.language in ("python", "toml"):  # an extract from a file that is there
            files = [path for path in shell.desk.rglob("*") if path.suffix in (".py", ".toml")]
            assert any(block.text in path.read_text(encoding="utf-8") for path in files), where
    with zipfile.ZipFile(shell.desk / "dist" / "sslkit_sphere-0.1.0-py3-none-any.whl") as wheel:
        metadata = wheel.read("sslkit_sphere-0.1.0.dist-info/METADATA").decode()
    assert "License-Expression: MIT" in metadata
    assert "Requires-Dist: sslkit<0.2,>=0.1" in metadata
    assert '"align":' in (shell.desk / "runs" / "sphere" / "metrics.jsonl").read_text(encoding="utf-8")
