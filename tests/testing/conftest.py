"""Toy plugins that a fresh process finds, too: some right, most wrong in one thing each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TOYS = Path(__file__).parent / "toys"
PLUGINS = ("right", "wrong", "api_99", "loud", "heavy")


def leave_metadata(folder, namespace):
    """Leave what pip would: the entry point of a plugin whose code is in `toys`."""
    info = folder / f"toys_{namespace}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: toys-{namespace}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[sslkit]\n{namespace} = {namespace}_toys.plugin\n")


@pytest.fixture(scope="session")
def toys(tmp_path_factory):
    """Install all toy plugins; `hidden` for this process only."""
    with pytest.MonkeyPatch.context() as patch:
        metadata, own = tmp_path_factory.mktemp("metadata"), tmp_path_factory.mktemp("own")
        for namespace in PLUGINS:
            leave_metadata(metadata, namespace)
        leave_metadata(own, "hidden")
        for folder in (own, metadata, TOYS):
            patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", f"{TOYS}{os.pathsep}{metadata}")
        yield
