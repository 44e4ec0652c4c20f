"""Both methods keep the promises that the engine relies on."""

from __future__ import annotations

import pytest

from sslkit.testing import plugin_checks

OPTIONS = {"v2": {"queue_size": 40, "key_groups": 2}, "v3": {"predictor_hidden_dim": 16}}


@pytest.mark.parametrize("check", plugin_checks("moco", options=OPTIONS), ids=str)
def test_conformance(check):
    check()
