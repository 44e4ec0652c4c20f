"""Results in a study's folder that are none of the study's any more, because its recipe has changed.

Enters: the folder, the study as its recipe describes it now. Leaves: a line for people. Called by `sslkit sweep`, which
runs again what such results do not count for: a typing error in a recipe that many extend would cost days unsaid.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sslkit.errors import SslkitError
from sslkit.recipe.resolve import load_recipe
from sslkit.recipe.sweep import NO_MATTER, Point, Sweep
from sslkit.recipe.write import resolved_tree
from sslkit.run_folder import read_json
from sslkit.studies.records import read_records
from sslkit.studies.study import PLAN
from sslkit.text import counted, one_line


def former_results(folder: Path, sweep: Sweep) -> str:
    """Return how many finished runs have labels and seed of a present one but another recipe, and what differs.

    Results of points that the axes have no more are no mistake. An empty text if there are no others, or if all have
    been run again since.

    Args:
        folder: Of the study.
        sweep: As it was read.
    """
    records = read_records(folder)
    present = {point.id for point in sweep.points}
    missing = {(tuple(sorted(p.labels.items())), p.recipe.seed): p for p in sweep.points if p.id not in records}
    found = [
        (record.id, point)
        for record in records.values()
        if not record.failed
        and record.id not in present
        and (point := missing.get((tuple(sorted(record.labels.items())), record.seed))) is not None
    ]
    if not found:
        return ""
    former, point = found[0]
    change = _change(*_recipes(folder, former, sweep, point))
    return f"{counted(len(found), 'finished run')} here belong{'s' * (len(found) == 1)} to another recipe{change}"


def _recipes(folder: Path, id: str, sweep: Sweep, point: Point) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the recipe of a former run and the present one, by dotted keys, as far as both are known.

    Without the recipes of all runs, which need not be kept, it is what the study's had in common.
    """
    path = next(folder.glob(f"points/*.{id}.toml"), None)
    try:
        if path is not None:
            return dict(_leaves(resolved_tree(load_recipe(path)))), dict(_leaves(resolved_tree(point.recipe)))
    except SslkitError:  # of a version that is no longer understood
        pass
    before, now = dict(_leaves(_former_recipe(folder))), dict(_leaves(sweep.recipe))
    return {key: before[key] for key in before if key in now}, {key: now[key] for key in now if key in before}


def _change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the first key that differs."""
    key = next((key for key in {**now, **before} if now.get(key) != before.get(key)), None)
    return "" if key is None else f" ({key} {_said('was', before.get(key))}, {_said('is', now.get(key))})"


def _said(verb: str, value: Any) -> str:
    return f"{verb} {'not set' if value is None else one_line(json.dumps(value, default=str, ensure_ascii=False), 80)}"


def _former_recipe(folder: Path) -> Mapping[str, Any]:
    """Return what the runs of a study had in common when it was last begun; empty if that is unknown."""
    recipe = (read_json(folder / PLAN) or {}).get("recipe")
    return recipe if isinstance(recipe, dict) else {}


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of all that matters to what a run computes."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    if not parts and path:
        yield ".".join(path), value
    for key, below in parts:
        if path or key not in NO_MATTER:
            yield from _leaves(below, (*path, str(key)))
