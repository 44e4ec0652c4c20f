"""The plugin's door: light imports, and names that load."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sslkit_moco


@pytest.mark.parametrize("module", ["sslkit_moco", "sslkit_moco.plugin"])
def test_importing_the_front_page_and_the_plugin_stays_light(module):
    code = f"import sys, {module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_front_page_names():
    assert set(sslkit_moco.__all__) <= set(dir(sslkit_moco))
    for name in sslkit_moco.__all__:
        assert getattr(sslkit_moco, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = sslkit_moco.nothing
