"""Conformance checks for the authors of plugins: does a component keep the promises that the engine relies on?

The whole `tests/test_conformance.py` of a plugin:

    import pytest
    from sslkit.testing import plugin_checks

    @pytest.mark.parametrize("check", plugin_checks("simclr"), ids=str)
    def test_conformance(check):
        check()

Enters: the namespace of an installed plugin. Leaves: one callable for each promise of each component. Called by the
tests of plugins; knows pytest by name only, and imports torch when checks are listed.
"""

from sslkit.testing.check import Check, ConformanceError
from sslkit.testing.listing import plugin_checks

__all__ = ["Check", "ConformanceError", "plugin_checks"]
