"""Conformance checks for the authors of plugins: does a component keep the promises that the engine relies on?

The whole `tests/test_conformance.py` of a plugin:

    import pytest
    from sslkit.testing import plugin_checks

    @pytest.mark.parametrize("check", plugin_checks("simclr"), ids=str)
    def test_conformance(check):
        check()

Enters: the namespace of an installed plugin. Leaves: one callable for each promise of each component. For an author's
own tests, `on_ranks` runs a function on several ranks. Called by the tests of plugins; knows pytest by name only, and
imports torch when checks are listed.
"""

from sslkit.testing.check import Check, ConformanceError
from sslkit.testing.listing import plugin_checks
from sslkit.testing.worlds import RankError, on_ranks

__all__ = ["Check", "ConformanceError", "RankError", "on_ranks", "plugin_checks"]
