"""What a study is, at a glance: how much of it is in, what was run, what failed, where and how long, and every run.

Enters: a study. Leaves: texts. Called by `page` and `text`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sslkit.studies.significance import mean_and_deviation
from sslkit.studies.study_report.cells import Cell
from sslkit.studies.study_report.essentials import essentials_of
from sslkit.studies.study_report.plan import Plan
from sslkit.studies.study_report.values import Measure, lacking, measures_of, source_of, values_of
from sslkit.text import duration, one_line

if TYPE_CHECKING:
    from sslkit.studies.study import Study

_ABBREVIATED = 12  # characters of a commit


def progress_of(study: Study) -> str:
    """Return how many of the planned runs are in, in words."""
    finished = sum(record.status == "finished" for record in study.records)
    failed, planned = len(study.records) - finished, len(study.points)
    missing = planned - finished - failed
    parts = [f"{finished:,} of {planned:,} runs are in"]
    parts += [f"{failed:,} failed"] * bool(failed) + [f"{missing:,} not run yet"] * bool(missing)
    return ", ".join(parts)


def facts_of(study: Study) -> dict[str, str]:
    """Return what is known of a study, by name; empty texts where nothing is."""
    records = study.records
    environments = [record.environment for record in records]
    shared = {record.shared["id"]: record.shared.get("seconds") for record in records if record.shared}
    seconds = [taken for taken in (*(record.seconds for record in records), *shared.values()) if taken]
    axes = (f"{one_line(axis.name)}: {_few(axis.labels, joint=' · ')}" for axis in study.axes)
    return {
        "runs": progress_of(study),
        **essentials_of(study),
        "seeds": f"{len(study.seeds)}: {_few(map(str, study.seeds))}",
        "axes": "; ".join(axes),
        "date": max(filter(None, (_date(record.finished) for record in records)), default=""),
        "took": f"{duration(sum(seconds))} in all" if seconds else "",
        "device": _joined(environments, "device", "device_name"),
        "processor": _joined(environments, "cpu"),
        "threads": _joined(environments, "threads"),
        "software": ", ".join(
            f"{name} {versions}" for name in ("sslkit", "torch") if (versions := _joined(environments, name))
        ),
        "commit": _few(dict.fromkeys(str(e["commit"])[:_ABBREVIATED] for e in environments if e.get("commit"))),
    }


def _date(text: str) -> str:
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return ""


def _joined(environments: Iterable[Mapping[str, Any]], *keys: str) -> str:
    """Return what runs say of some keys, each combination once."""
    told = (" ".join(str(e[key]) for key in keys if e.get(key) not in (None, "")) for e in environments)
    return _few(text for text in dict.fromkeys(told) if text)


def _few(texts: Iterable[str], most: int = 8, joint: str = ", ") -> str:
    found = [one_line(text, 80) for text in texts]
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return joint.join(found[:most]) + more


def problems_of(study: Study) -> list[tuple[str, str]]:
    """Return the runs that failed, and why."""
    records = {record.id: record for record in study.records}
    return [
        (_name(point), one_line(record.reason or "no reason given", 600))
        for point in study.points
        if (record := records.get(point["id"])) is not None and record.status != "finished"
    ]


def lacks_of(study: Study) -> list[str]:
    """Return the measures of charts that no finished run has, and what they have instead; a line each.

    Args:
        study: Of which one run has finished; of others nothing is known.
    """
    found = []
    for plan in (Plan(study, chart) for chart in study.charts):
        runs = [run for point in plan.points for run in plan.runs(point) if run is not None and not run.failed]
        found += [
            f"{plan.title}: {lacking(runs, measure)}"
            for measure in plan.measures
            if runs and not any(values_of(run, measure) for run in runs)
        ]
    return found


def _name(point: Mapping[str, Any]) -> str:
    return ", ".join([*(f"{axis} {label}" for axis, label in point["labels"].items()), f"seed {point['seed']}"])


def _source(study: Study, measure: Measure) -> tuple[object, ...]:
    """Return where the runs have a measure's numbers, however it is called and however it is asked for."""
    found = tuple(source_of(record, measure) for record in study.records)
    return found if any(found) else (measure,)


def runs_of(study: Study) -> tuple[list[str], list[list[str]]]:
    """Return every planned run as a line of a table, and its header: labels, seed, status, scores, seconds."""
    records = {record.id: record for record in study.records}
    by_source: dict[tuple[object, ...], Measure] = {}
    for chart in study.charts or ({},):
        for measure in measures_of(study, chart):
            by_source.setdefault(_source(study, measure), measure)
    measures = list(by_source.values())
    names = [measure.named for measure in measures]
    names = [m.sought.removeprefix("no ") if names.count(m.named) > 1 else m.named for m in measures]
    axes = [axis.name for axis in study.axes]
    head = [*map(one_line, axes), "seed", "status", *names, "took", "id"]
    rows = []
    for point in study.points:
        record = records.get(point["id"])
        line = [*(one_line(point["labels"].get(axis, "")) for axis in axes), str(point["seed"])]
        line.append("not run" if record is None else one_line(record.status))
        for measure in measures:
            found = values_of(record, measure) if record is not None and record.status == "finished" else []
            value = mean_and_deviation(found)[0] if found else None
            line.append("" if value is None else Cell(value, measure.percent).shown())
        took = record.seconds if record is not None else None
        rows.append([*line, "" if took is None else duration(took), one_line(point["id"])])
    return head, rows
