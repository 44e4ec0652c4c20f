"""The plugin's door: light imports, a front page."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sslkit_byol


@pytest.mark.parametrize("module", ["sslkit_byol", "sslkit_byol.plugin"])
def test_importing_the_front_page_and_the_plugin_stays_light(module):
    code = f"import sys, {module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_front_page_names():
    assert set(sslkit_byol.__all__) <= set(dir(sslkit_byol))
    for name in sslkit_byol.__all__:
        assert getattr(sslkit_byol, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = sslkit_byol.nothing
