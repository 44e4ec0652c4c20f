"""The plugin's door: light imports, registered targets that exist."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sslkit_supcon


@pytest.mark.parametrize("module", ["sslkit_supcon", "sslkit_supcon.plugin"])
def test_importing_the_front_page_and_the_plugin_stays_light(module):
    code = f"import sys, {module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_front_page_names():
    assert set(sslkit_supcon.__all__) <= set(dir(sslkit_supcon))
    for name in sslkit_supcon.__all__:
        assert getattr(sslkit_supcon, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = sslkit_supcon.nothing
