"""List the installed plugins: what each brings, who owns it, and why one cannot be used.

Examples:
  sslkit plugins
  sslkit plugins simclr
  sslkit plugins shaky --traceback
  sslkit plugins --json | jq -r '.plugins[] | select(.status != "ok") | .reason'

--json: {schema: 1, sslkit: VERSION, plugins: [{namespace, status, reason, owner, version, location, api, components}]}
  status: ok, failed, or conflict (several claim one namespace); reason: empty if there is nothing to say
  owner, version: of the distribution; location: where its code is; api: its SSLKIT_API, null if it has said none
  components: [{kind, name, summary, target}]; their options are in: sslkit components --json
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslkit.registry.load import PluginRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", nargs="?", help="show only this plugin, with its components")
    parser.add_argument("--traceback", action="store_true", help="show the whole traceback of a plugin that failed")
    parser.add_argument("--json", action="store_true", help="write JSON, for programs")


def main(arguments: argparse.Namespace) -> int:
    """Print one row per plugin."""
    import sslkit
    from sslkit.cli.rows import aligned
    from sslkit.errors import PluginError
    from sslkit.registry.discover import Registry
    from sslkit.text import did_you_mean, safe_text

    registry = Registry.discover()
    records = registry.records if arguments.name is None else registry.plugin(arguments.name)
    if not records:
        known = [record.namespace for record in registry.records]
        raise PluginError(f'there is no plugin "{arguments.name}"{did_you_mean(arguments.name, known)}')
    if arguments.json:
        said = {"schema": 1, "sslkit": sslkit.__version__, "plugins": [_as_json(record) for record in records]}
        sys.stdout.write(json.dumps(said, indent=2) + "\n")
        return 0
    rows = [(record.namespace, record.status, record.owner, _what(record)) for record in records]
    lines = aligned(rows)
    if arguments.name is not None:
        for record in records:
            lines += aligned([("in", record.location)], indent=2)
            if record.components:
                lines += aligned([(each.kind, each.name, each.summary) for each in record.components], indent=2)
    sys.stdout.write("\n".join(lines) + "\n")
    if arguments.traceback:
        sys.stdout.write(safe_text("".join(record.traceback for record in records)))
    return 0


def _what(record: PluginRecord) -> str:
    """Return a plugin's kinds, each with the number of its components if there are several, and its reason."""
    from sslkit.registry.register import KINDS

    kinds = [component.kind for component in record.components]
    counted = [f"{kind} ({kinds.count(kind)})" if kinds.count(kind) > 1 else kind for kind in KINDS if kind in kinds]
    nothing = "no components" if record.status == "ok" else ""
    return "; ".join(filter(None, [", ".join(counted) or nothing, record.reason]))


def _as_json(record: PluginRecord) -> dict[str, Any]:
    return {
        "namespace": record.namespace,
        "status": record.status,
        "reason": record.reason,
        "owner": record.distribution,
        "version": record.version,
        "location": record.location,
        "api": record.api,
        "components": [
            {"kind": each.kind, "name": each.name, "summary": each.summary, "target": each.target}
            for each in record.components
        ],
    }
