"""A plugin as a whole: found by a fresh process, light, quiet.

Called with its row of the registry, and the plugin files that the checks were asked for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Final
from unittest import SkipTest

from sslkit.registry.load import PluginRecord
from sslkit.testing.check import ConformanceError
from sslkit.text import one_line

_LOOK: Final = """
import json, sys
from pathlib import Path
from sslkit.registry.discover import Registry
namespace, *files = sys.argv[1:]
rows = Registry.discover(map(Path, files)).plugin(namespace)
heavy = [name for name in ("torch", "torchvision", "timm", "kornia") if name in sys.modules]
print(json.dumps({"rows": [[row.status, row.reason, len(row.components)] for row in rows], "heavy": heavy}))
"""


def can_be_loaded(record: PluginRecord, files: tuple[Path, ...]) -> None:
    """It is importable, says `SSLKIT_API`, and its hook fits."""
    _require(
        record,
        record.status == "ok",
        "be loaded",
        record.reason,
        f"see: sslkit plugins {record.namespace} --traceback",
    )
    _require(record, record.components, "register a component", "it registers none", "see sslkit_register")


def is_quiet(record: PluginRecord, files: tuple[Path, ...]) -> None:
    """Importing it prints nothing and leaves the working folder alone."""
    # This process may have imported it before anybody looked.
    reasons = [reason for _, reason, _ in _seen(record.namespace, files)["rows"] if reason]
    _require(record, not reasons, "do nothing but register", f"it {'; '.join(reasons)}", "move that into components")


def is_found_by_a_fresh_process(record: PluginRecord, files: tuple[Path, ...]) -> None:
    """An entry point of its package leads to it."""
    if files:
        raise SkipTest("plugin files are named by recipes")
    rows = _seen(record.namespace, files)["rows"]
    found = [(status, number) for status, _, number in rows]
    _require(
        record,
        found == [("ok", len(record.components))],
        "be found by a fresh process",
        f"that finds {rows or 'nothing'}",
        f'install it (pip install -e .), with the entry point [project.entry-points.sslkit] {record.namespace} = "..."',
    )


def registers_without_torch(record: PluginRecord, files: tuple[Path, ...]) -> None:
    """`sslkit plugins` has to answer at once."""
    heavy = _seen(record.namespace, files)["heavy"]
    _require(
        record,
        not heavy,
        "register without importing torch",
        f"{' and '.join(heavy)} is imported with it",
        "register string targets, and keep __init__.py and the plugin's module free of heavy imports",
    )


@cache
def _seen(namespace: str, files: tuple[Path, ...]) -> dict[str, Any]:
    """Return what a fresh process finds; elsewhere, so that no file of this folder helps it."""
    command = [sys.executable, "-c", _LOOK, namespace, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tempfile.gettempdir(), timeout=120)
    if done.returncode:
        raise ConformanceError(
            f"plugin {namespace}: a fresh process cannot look for it: {one_line(done.stderr[-500:])}"
        )
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def _require(record: PluginRecord, condition: object, expected: str, found: str, advice: str) -> None:
    if not condition:
        raise ConformanceError(
            f"plugin {record.namespace} ({record.owner} in {record.location}) should {expected}, but {found}: {advice}"
        )
