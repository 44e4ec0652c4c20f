"""The plugin's door: light imports, registered targets that exist."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sslkit_swav


@pytest.mark.parametrize("module", ["sslkit_swav", "sslkit_swav.plugin"])
def test_importing_the_front_page_and_the_plugin_stays_light(module):
    code = f"import sys, {module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_front_page_names():
    assert set(sslkit_swav.__all__) <= set(dir(sslkit_swav))
    for name in sslkit_swav.__all__:
        assert getattr(sslkit_swav, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = sslkit_swav.nothing
