"""Every shipped plugin's front page: light to import, and each name on it loads."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PLUGINS = sorted(
    path.parent.name for path in (Path(__file__).resolve().parents[2] / "plugins").glob("*/pyproject.toml")
)
HEAVY = ("torch", "timm", "kornia", "wandb", "mlflow")


@pytest.mark.parametrize("plugin", PLUGINS)
def test_importing_the_front_page_and_the_plugin_stays_light(plugin):
    package = f"sslkit_{plugin}"
    code = f"import sys, {package}, {package}.plugin; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_name_of_the_front_page_loads(plugin):
    page = importlib.import_module(f"sslkit_{plugin}")
    assert page.__all__
    assert set(page.__all__) <= set(dir(page))
    for name in page.__all__:
        assert getattr(page, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = page.nothing
