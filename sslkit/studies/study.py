"""A study's folder: what it consists of and what its runs have found, in two files that outlive the runs.

`study.json` says what was planned; `results.jsonl` gets a line for every run that has ended, whoever ran it. Together
they are all that a report needs and all that a sweep needs to go on. Enters: a `Sweep`, run folders. Leaves: a `Study`.
Called by `sslkit sweep` and `sslkit report`.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import tomli_w

from sslkit.errors import RunError
from sslkit.recipe.sweep import Point, Sweep
from sslkit.run_folder import read_json, write_json, write_text
from sslkit.studies.records import RESULTS, Record, read_records
from sslkit.text import one_line

_FORMAT: Final = 1

PLAN: Final = "study.json"
"""Says in a study's folder what it consists of."""


@dataclass(frozen=True)
class Axis:
    """An axis of a study: see `sslkit.recipe.sweep.Axis`."""

    name: str
    key: str
    labels: tuple[str, ...]
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Study:
    """A study as its folder tells it.

    Attributes:
        folder: Where it lies.
        name: Of the recipe.
        description: Of the recipe.
        seeds: Of every point.
        axes: What varies, but for the seed.
        charts: What the report draws.
        references: Numbers to see charts beside.
        points: All planned runs: id, labels, seed.
        records: Of the runs that have ended and are part of the plan; the last one of each.
        overrides: Changes to the recipe, as the command line gave them.
        recipe: What all runs have in common, defaults filled in.
    """

    folder: Path
    name: str
    description: str
    seeds: tuple[int, ...]
    axes: tuple[Axis, ...]
    charts: tuple[Mapping[str, Any], ...]
    references: Mapping[str, Any]
    points: tuple[Mapping[str, Any], ...]
    records: tuple[Record, ...]
    overrides: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)


def is_study(folder: Path) -> bool:
    """Tell whether a folder is a study's."""
    return (folder / PLAN).is_file()


def read_study(folder: Path) -> Study:
    """Return what a folder says of its study.

    Raises:
        RunError: There is none, or it cannot be read.
    """
    plan = read_json(folder / PLAN)
    if plan is None:
        raise RunError(f"{folder}: holds no study; name the folder that `sslkit sweep` has written")
    try:
        if plan["schema"] != _FORMAT:
            raise RunError(f"{folder / PLAN}: is of format {plan['schema']}, this version reads {_FORMAT}")
        points = tuple(dict(point) for point in plan["points"])
        ids = {point["id"] for point in points}
        return Study(
            folder=folder,
            name=str(plan["name"]),
            description=str(plan["description"]),
            seeds=tuple(map(int, plan["seeds"])),
            axes=tuple(
                Axis(axis["name"], axis["key"], tuple(axis["labels"]), tuple(axis["values"])) for axis in plan["axes"]
            ),
            charts=tuple(plan["charts"]),
            references=plan["references"],
            points=points,
            records=tuple(record for id, record in read_records(folder).items() if id in ids),
            overrides=tuple(map(str, plan.get("overrides", ()))),
            recipe=dict(plan.get("recipe", {})),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{folder / PLAN}: holds no study ({type(error).__name__}: {one_line(error)}); run the sweep again"
        ) from None


def write_plan(folder: Path, sweep: Sweep) -> None:
    """Write what a study consists of, and the recipe of each run.

    Args:
        folder: Of the study.
        sweep: As it was read.

    Raises:
        RunError: The folder holds other files, or another study.
    """
    require_free(folder, sweep.name)
    folder.mkdir(parents=True, exist_ok=True)
    axes = [{key: value for key, value in asdict(axis).items() if key in _AXIS} for axis in sweep.axes]
    plan = {
        "schema": _FORMAT,
        "name": sweep.name,
        "description": sweep.description,
        "seeds": sweep.seeds,
        "axes": axes,
        "charts": sweep.charts,
        "references": sweep.references,
        "overrides": sweep.overrides,
        "recipe": sweep.recipe,
        "points": [{"id": point.id, "labels": point.labels, "seed": point.recipe.seed} for point in sweep.points],
    }
    write_json(folder / PLAN, plan)  # first: from here on the folder is this study's, whenever it is killed
    (folder / "points").mkdir(exist_ok=True)
    for point in sweep.points:
        write_once(point_recipe(folder, point), point.document.tree | _kept_plugins(folder, point))


_AXIS: Final = ("name", "key", "labels", "values")


def require_free(folder: Path, name: str) -> None:
    """Refuse a folder that holds something else.

    Args:
        folder: That a study is to go to.
        name: Of the study.

    Raises:
        RunError: It holds other files, or another study.
    """
    plan = read_json(folder / PLAN)
    if plan is not None and plan.get("name") != name:
        raise RunError(
            f"{folder}: holds the study {one_line(plan.get('name'))}, not {name}; name another folder with --into"
        )
    found = folder.iterdir() if plan is None and folder.is_dir() else ()
    if any(path.name != RESULTS and not path.name.startswith(".") for path in found):
        raise RunError(f"{folder}: holds other files and no study; name a new or empty folder with --into")


def _kept_plugins(folder: Path, point: Point) -> dict[str, list[str]]:
    """Keep a copy of the files that a recipe lists as plugins, so that all runs of a point's id have the same ones."""
    kept = []
    for plugin in point.recipe.plugins:
        content = plugin.read_bytes()
        copy = folder / "plugins" / hashlib.sha256(content).hexdigest()[:10] / plugin.name
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_text(copy, content.decode())
        kept.append(str(copy.resolve()))
    return {"plugins": kept} if kept else {}


def read_point(folder: Path, point: Point) -> dict[str, Any]:
    """Return the recipe of a run, as the study keeps it."""
    return tomllib.loads(point_recipe(folder, point).read_text(encoding="utf-8"))


def write_once(path: Path, tree: Mapping[str, Any]) -> None:
    """Write a recipe, if there is not the very same already: another sweep may be reading it."""
    text = tomli_w.dumps(tree)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def point_recipe(folder: Path, point: Point) -> Path:
    """Return where the recipe of a run is."""
    return folder / "points" / f"{point_name(point)}.toml"


def point_name(point: Point) -> str:
    """Return what the files of a run are called: its labels, as far as file names allow, and its id."""
    words = "-".join([*point.labels.values(), f"seed{point.recipe.seed}"])
    safe = "".join(
        character if character.isascii() and (character.isalnum() or character in "._-") else "_" for character in words
    )
    return f"{safe[:80].strip('.-_') or 'run'}.{point.id}"
