"""A new virtual environment, made in a moment and without a network: it borrows the packages of the one that tests."""

import os
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shell(tmp_path):
    """Return a function that runs a line of bash there, in the empty folder `shell.desk`."""
    pytest.importorskip("pip")
    pytest.importorskip("hatchling")
    home, desk = tmp_path / "venv", tmp_path / "desk"
    venv.create(home, with_pip=False)
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n")
    (home / "bin" / "sslkit").write_text('#!/bin/sh\nexec python -m sslkit "$@"\n')
    (home / "bin" / "sslkit").chmod(0o755)
    desk.mkdir()
    environment = os.environ | {
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as: no isolation
        "PIP_QUIET": "1",
    }

    def run(line):
        return subprocess.run(["bash", "-c", line], cwd=desk, env=environment, capture_output=True, text=True)

    run.desk = desk
    return run
