from __future__ import annotations

import pytest

from sslkit.testing import plugin_checks

CHECKS = plugin_checks("trackers", options={"wandb": {"project": "p", "mode": "offline"}})


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_conformance(check, monkeypatch, tmp_path):
    for library in ("wandb", "mlflow"):
        if library in str(check):
            pytest.importorskip(library, reason=f"{library} is in the extra sslkit-trackers[{library}]")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    check()
