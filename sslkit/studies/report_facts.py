"""What a run is, at a glance: how it ended, its scores in large letters, and what it was made of.

Enters: a run's files. Leaves: HTML, and the same facts as texts. Called by the report's pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sslkit.page import escape
from sslkit.studies.report_scores import METRICS, interval_text
from sslkit.studies.rows import Row
from sslkit.studies.run_files import RunFiles, table_of
from sslkit.studies.wording import shown_value
from sslkit.text import duration, one_line

_MARKS: Final[Mapping[str, str]] = {
    "finished": "✓", "running": "…", "begun": "…", "stopped": "‖", "failed": "✗", "broken": "✗"
}  # fmt: skip
_DATED: Final = ("summary.json", "metrics.jsonl", "status.json", "resolved.toml", "recipe.toml")
_MOST_TILES: Final = 4

STYLE: Final = """
.status { font-weight: 600; }
.tiles { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.4rem 0; }
.tile {
  flex: 1 1 13rem; max-width: 24rem; padding: 0.9rem 1.1rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; break-inside: avoid;
}
.tile b { display: block; font-size: 1.9rem; line-height: 1.25; letter-spacing: -0.02em; }
.tile b small { font-size: 0.85rem; font-weight: 400; letter-spacing: 0; color: var(--quiet); }
.facts {
  display: grid; gap: 0.1rem 2rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(21rem, 100%), 1fr));
}
.facts div { display: flex; gap: 0.8rem; padding: 0.3rem 0; border-bottom: 1px solid var(--line); break-inside: avoid; }
.facts dt { flex: 0 0 7rem; color: var(--quiet); font-size: 0.88rem; }
.facts dd { margin: 0; min-width: 0; font-size: 0.92rem; }
"""
"""What a page with facts adds to its style."""


def status_line(files: RunFiles) -> str:
    """Return how the run ended, when, and how long it took."""
    run = files.run
    look = "alarm" if run.status in ("failed", "broken") else "quiet"
    when = [date_of(files)] if run.seconds is None else [date_of(files), f"took {duration(run.seconds)}"]
    return (
        f'<p><span class="status {look}">{escape(status_of(files))}</span>'
        f'{escape(f": {run.reason}" if run.reason else "")}<span class="quiet"> · {escape(" · ".join(when))}</span></p>'
    )


def status_of(files: RunFiles) -> str:
    """Return the status with its mark."""
    return f"{_MARKS.get(files.run.status, '•')} {one_line(files.run.status)}"


def date_of(files: RunFiles) -> str:
    """Return when the run ended, or when its files were last written."""
    try:
        finished = datetime.fromisoformat(str(files.summary.get("finished")))
        return finished.strftime("%d %B %Y, %H:%M %Z").strip()
    except ValueError:
        paths = [path for name in _DATED if (path := files.run.folder / name).exists()]
        return datetime.fromtimestamp(paths[0].stat().st_mtime).strftime("%d %B %Y, %H:%M") if paths else ""


def tiles(rows: Sequence[Row]) -> str:
    """Return the scores of what the run is about in large letters, the first of each evaluation."""
    first: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        if (score := row.score) is not None and not score.is_baseline and row.value is not None:
            first.setdefault((score.evaluation, score.setting, score.data), row)
    return f'<div class="tiles">{"".join(map(_tile, list(first.values())[:_MOST_TILES]))}</div>' if first else ""


def _tile(row: Row) -> str:
    score = row.score
    assert score is not None
    sure = f" <small>{escape(interval_text(row))}</small>"
    what = f"{METRICS.get(score.metric, score.metric)} of {score.features}: {score.evaluated} on {score.data}"
    return (
        f'<div class="tile"><b>{escape(shown_value(score.metric, row.value))}{sure}</b>'
        f'<span class="quiet">{escape(what)}</span></div>'
    )


def fact_list(files: RunFiles) -> str:
    """Return what is known of the run as a list of names and texts."""
    items = (f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>" for name, text in facts(files).items() if text)
    return f'<dl class="facts">{"".join(items)}</dl>'


def facts(files: RunFiles) -> dict[str, str]:
    """Return what is known of the run, by name; empty texts where nothing is."""
    pretrain, derived = table_of(files.run.recipe, "pretrain"), table_of(files.run.recipe, "derived")
    parts = {part: table_of(pretrain, part) for part in ("method", "head", "objective", "views", "data", "optimizer")}
    data = parts["data"]
    environment, lineage = files.environment, table_of(files.backbone, "lineage")
    rate = derived.get("learning_rate", parts["optimizer"].get("learning_rate"))
    processes = environment.get("processes")
    return {
        "backbone": _backbone(files, pretrain),
        **{part: _words(parts[part].get("name")) for part in ("method", "head", "objective", "views")},
        "data": _words(data.get("name"), data.get("dataset"), _of(derived.get("num_images"), "images")),
        "length": _words(_of(pretrain.get("epochs"), "epochs"), _of(derived.get("total_steps"), "steps")),
        "batch": _words(_of(pretrain.get("batch_size"), "images"), pretrain.get("precision")),
        "optimizer": _words(parts["optimizer"].get("name"), f"learning rate {rate:.4g}" if _is_number(rate) else ""),
        "weights": _words(files.run.recipe.get("weights") or pretrain.get("weights")),
        "seed": _words() if files.run.seed is None else str(files.run.seed),
        "device": _words(
            environment.get("device"),
            environment.get("device_name"),
            _of(processes, "processes") if processes != 1 else "",
        ),
        "software": _words(*_list(environment.get("plugins")), *_versions(environment, "torch", "python")),
        "started from": _words(lineage.get("started_from")),
        "data digest": _words(str(lineage.get("data") or "")[:16]),
        "left out": _words(*_list(files.summary.get("skipped"))),
    }


def _backbone(files: RunFiles, pretrain: Mapping[str, Any]) -> str:
    table = table_of(files.backbone, "backbone") or table_of(pretrain, "backbone")
    model = table_of(table, "options").get("model") or table.get("model")
    dimension, side = files.backbone.get("feature_dim"), files.backbone.get("input_size")
    return _words(table.get("name"), model, _of(dimension, "features"), f"{side} x {side} pixels" if side else "")


def _versions(environment: Mapping[str, Any], *names: str) -> list[str]:
    return [f"{name} {environment[name]}" for name in names if name in environment]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _words(*parts: Any) -> str:
    return ", ".join(one_line(part) for part in parts if part)


def _of(number: Any, unit: str) -> str:
    """Return a count with its unit; empty without one."""
    if number is None:
        return ""
    return f"{number:,} {unit}" if _is_number(number) else f"{one_line(number)} {unit}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
