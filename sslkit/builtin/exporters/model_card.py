"""The model card beside an export: what the weights are, where they come from, what they scored and by which protocol.

Enters: pretrained weights, and the folders in which a run has left `backbone.json`, `resolved.toml` and `evaluate/`.
Leaves: `README.md`. Whatever nobody wrote down is left out; places on the author's disk are never told. Called by the
exporters.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from sslkit import Pretrained, SslkitError, one_line, scaled_side
from sslkit.builtin.exporters.portable import num_channels

_FOR_HUB = """\
---
library_name: timm
pipeline_tag: image-feature-extraction
tags: [timm, image-feature-extraction, self-supervised, sslkit]
# license: which one, is for the author to say
---

"""
_LICENCE = (
    "For the author to say: under which terms these weights may be used, and what the licence of the images allows."
)
_NOT_OPTIONS = ("name", "folder", "data", "features", "baselines")


class _Record(NamedTuple):
    """What is known about the weights: tables that are empty where nothing is."""

    card: Mapping[str, Any]
    recipe: Mapping[str, Any]
    scores: list[tuple[int, Mapping[str, Any]]]  # the number of the [[evaluate]] table, and a row
    scored_by: Mapping[str, Any]  # the recipe with those tables


def write_card(pretrained: Pretrained, folder: Path, target: Path, usage: str, *, for_hub: bool = False) -> Path:
    """Write `README.md` into an export's folder.

    Args:
        pretrained: The weights.
        folder: What the exporter was given: a run's folder, if a recipe exports.
        target: The export's own folder.
        usage: Python that loads the export and uses it.
        for_hub: Begin with the header that model hubs read.

    Raises:
        SslkitError: A file of the run cannot be read.
    """
    record = _record(pretrained, Path(folder))
    lineage = _table(record.card, "lineage")
    name = _text(lineage.get("recipe") or record.recipe.get("name") or type(pretrained.backbone).__name__)
    sections = [f"# {name}", _text(record.recipe.get("description") or ""), "## Use", f"```python\n{usage}\n```"]
    channels, size = num_channels(pretrained), pretrained.input_size
    side = scaled_side(size, pretrained.central_share)
    sections.append(
        f"Images are float32 [N, {channels}, {size}, {size}], the shorter side scaled to {side} pixels and "
        "the centre cut out. Features are [N, D], what the network returns before any head"
        f"{_dimension(record.card)}."
    )
    sections += ["## Pretraining", _rows(_origin(record, lineage))]
    sections += ["## Scores", *_scores(record), "## Licence", _LICENCE]
    path = target / "README.md"
    text = "\n\n".join(filter(None, sections)) + "\n"
    path.write_text((_FOR_HUB if for_hub else "") + text, encoding="utf-8")
    return path


def _record(pretrained: Pretrained, folder: Path) -> _Record:
    # A recipe that only evaluates has scores of its own for weights from elsewhere.
    places = [folder] if pretrained.source is None else [folder, pretrained.source]
    origin = next((place for place in reversed(places) if (place / "backbone.json").is_file()), folder)
    scored = next((place for place in places if (place / "evaluate").is_dir()), folder)
    scores = []
    for path in sorted((scored / "evaluate").glob("*/metrics.json"), key=_number):
        scores += [(_number(path), row) for row in _read(path).get("results", []) if row.get("weights") == "pretrained"]
    return _Record(
        _read(origin / "backbone.json"), _read(origin / "resolved.toml"), scores, _read(scored / "resolved.toml")
    )


def _number(metrics: Path) -> int:
    number = metrics.parent.name.partition("-")[0]
    return int(number) if number.isdecimal() else 0


def _read(path: Path) -> dict[str, Any]:
    """Return a JSON or TOML file's table, empty if there is no such file."""
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        table: dict[str, Any] = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise SslkitError(f"{one_line(path)}: cannot be read for the model card: {one_line(error)}") from None
    return table


def _origin(record: _Record, lineage: Mapping[str, Any]) -> dict[str, str]:
    """Return what the weights come from, row by row."""
    pretraining = _table(record.recipe, "pretrain")
    known = {
        "method": _component(_table(pretraining, "method")),
        "objective": _component(_table(pretraining, "objective")),
        "views": _component(_table(pretraining, "views")),
        "data": _component(_table(pretraining, "data")),
        "images": _table(record.recipe, "derived").get("num_images"),
        "epochs": lineage.get("epochs"),
        "steps": lineage.get("steps"),
        "batch size": pretraining.get("batch_size"),
        "optimizer": _component(_table(pretraining, "optimizer")),
        "seed": lineage.get("seed"),
        "started from": _place(lineage.get("started_from")),
        "backbone": _backbone(_table(record.card, "backbone") or _table(record.card, "timm")),
        "weights": f"SHA-256 {record.card['sha256']}" if record.card.get("sha256") else None,
        "made with": _versions(record.card),
    }
    return {name: _text(value) for name, value in known.items() if value not in (None, "")}


def _scores(record: _Record) -> list[str]:
    """Return the table of scores and the protocol of each evaluation in it."""
    if not record.scores:
        return ["None are known."]
    columns = ("evaluation", "data", "split", "features", "metric", "value", "interval", "n", "seed")
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for _, row in record.scores:
        interval = " to ".join(map(_figure, row.get("interval") or ()))
        cells = {**row, "value": _figure(row.get("value")), "interval": interval}
        lines.append(f"| {' | '.join(_text('' if cells.get(key) is None else cells[key]) for key in columns)} |")
    tables = record.scored_by.get("evaluate", [])
    numbers = dict.fromkeys(number for number, _ in record.scores if number < len(tables))
    protocols = [f"- {_component(tables[number])}, on {_data_of(record, tables[number])}" for number in numbers]
    about = (
        "Accuracies are fractions of the n images; intervals are those of 95 % confidence. "
        "The protocols, as sslkit documents them:"
    )
    return ["\n".join(lines), about, "\n".join(map(_text, protocols))] if protocols else ["\n".join(lines)]


def _data_of(record: _Record, evaluation: Mapping[str, Any]) -> str:
    own = evaluation.get("data")
    return _component(own) if isinstance(own, Mapping) else "the images of the pretraining's data"


def _component(table: Mapping[str, Any]) -> str:
    """Return a component's name with its options, but for what says where something lies."""
    options = {key: value for key, value in table.items() if key not in _NOT_OPTIONS and not _is_place(value)}
    shown = ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in options.items())
    return str(table.get("name", "")) + (f" ({shown})" if shown else "")


def _backbone(table: Mapping[str, Any]) -> str:
    options = {key: value for key, value in _table(table, "options").items() if value is not None}
    return _component({"name": table.get("name", table.get("model", "")), **options})


def _is_place(value: Any) -> bool:
    return isinstance(value, str) and PurePath(value).is_absolute()


def _place(weights: Any) -> str | None:
    """Return weights that a pretraining started from by their last name only, which says nothing of a disk."""
    if weights is None or not _is_place(weights):
        return weights if weights is None else str(weights)
    path = PurePath(str(weights))
    return path.parent.name if path.suffix else path.name


def _versions(card: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {card[name]}" for name in ("sslkit", "torch") if card.get(name))


def _dimension(card: Mapping[str, Any]) -> str:
    return f"; D is {card['feature_dim']}" if card.get("feature_dim") else ""


def _figure(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else ""


def _table(of: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = of.get(key)
    return table if isinstance(table, Mapping) else {}


def _rows(known: Mapping[str, str]) -> str:
    if not known:
        return "Not known."
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in known.items())])


def _text(value: Any) -> str:
    """Return an outside string that neither leaves its cell nor becomes markup."""
    return re.sub(r"([\\`*<>|]|(?<=\])\()", r"\\\1", one_line(value, 1000))
