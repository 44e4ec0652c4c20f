"""Both methods keep the promises that the engine relies on."""

from __future__ import annotations

import pytest

from sslkit.testing import plugin_checks


@pytest.mark.parametrize("check", plugin_checks("byol", options={"byol": {"predictor_hidden_dim": 16}}), ids=str)
def test_conformance(check):
    check()
