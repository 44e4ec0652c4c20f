from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # processes of a test import its helpers by name

from ranks import Ranks


@pytest.fixture(scope="session")
def ranks():
    """Return a function: `ranks(size, function, *arguments)` is what that returns on each rank."""
    pool = Ranks()
    yield pool
    pool.close()
