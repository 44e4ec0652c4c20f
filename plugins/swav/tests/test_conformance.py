"""The objective keeps the promises that the engine relies on."""

from __future__ import annotations

import pytest

from sslkit.testing import plugin_checks


@pytest.mark.parametrize("check", plugin_checks("swav"), ids=str)
def test_conformance(check):
    check()
