"""A package of every kind, as it is written: pip installs it, its own tests pass, its recipe trains."""

import json
import sys

import pytest

from sslkit.registry.register import KINDS

EVIDENCE = {
    "objective": "metrics.jsonl",
    "exporter": "backbone.npz",
    "callback": "epochs.csv",
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="runs lines of bash")
def test_a_package_of_every_kind_passes_its_tests_and_trains(shell):
    for kind in KINDS:
        done = shell(f"sslkit new-plugin new_{kind} --kind {kind}")
        assert done.returncode == 0, done.stderr
    done = shell(f"python -m pip install {' '.join(f'-e sslkit-new-{kind}' for kind in KINDS)}")
    assert done.returncode == 0, done.stderr
    for kind in KINDS:
        folder = f"sslkit-new-{kind}"
        done = shell(f"python -m pytest -q {folder}")
        assert done.returncode == 0, done.stdout
        assert "passed" in done.stdout
        done = shell(f"sslkit run {folder}/recipe.toml --into runs/{kind} --device cpu")
        assert done.returncode == 0, done.stderr
        summary = json.loads((shell.desk / "runs" / kind / "summary.json").read_text())
        assert summary["status"] == "finished"
        assert {row["weights"] for row in summary["results"]} == {"pretrained", "random"}
        if kind in EVIDENCE:
            assert (shell.desk / "runs" / kind / EVIDENCE[kind]).exists()
