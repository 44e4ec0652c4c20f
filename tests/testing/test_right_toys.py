"""Components as they should be pass every check."""

from __future__ import annotations

from sslkit.testing import plugin_checks


def test_what_keeps_all_promises_passes_all_checks(toys):
    checks = plugin_checks("right")
    assert len(checks) > 150
    for check in checks:
        check()
