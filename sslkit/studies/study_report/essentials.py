"""What the runs of a study are, as a reader of a paper expects it: network, images, training, evaluation.

Enters: a study. Leaves: texts, and the recipe that all runs have in common. Called by `page` and `text`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import tomli_w

from sslkit.studies.study_report.cells import plain_number
from sslkit.text import one_line

if TYPE_CHECKING:
    from sslkit.studies.study import Study

_MOST: Final = 500  # letters of a text
_VARIED: Final = "varied"  # between runs: the axes say how
_OF_NO_PROTOCOL: Final = ("central_share", "num_seeds", "seed")  # numbers of an evaluation that its name implies


def essentials_of(study: Study) -> dict[str, str]:
    """Return what is done in every run, by name; empty texts where that is not known.

    Args:
        study: Finished or not.
    """
    told = {"overrides": " ".join(study.overrides)}
    if study.recipe:
        plan = study.recipe.get("pretrain")
        told |= {"weights": str(study.recipe.get("weights", _VARIED))} if plan is None else _training(plan)
        backbone = study.recipe.get("backbone") if plan is None else plan.get("backbone")
        told["network"] = _joined([_named(backbone), _span(study, "parameters", " parameters")])
        told["images"] = _images(study, plan or {})
        tables = study.recipe.get("evaluate")
        told["evaluation"] = _VARIED if tables == [] else "; ".join(map(_evaluation, tables or ()))
    order = ("overrides", "weights", "network", "images", "training", "objective", "optimizer", "evaluation")
    return {name: one_line(told.get(name, ""), _MOST) for name in order}


def recipe_of(study: Study) -> str:
    """Return what the recipes of all runs have in common as TOML; empty if that is not known.

    Args:
        study: Finished or not.
    """
    return tomli_w.dumps(study.recipe) if study.recipe else ""


def _training(plan: Mapping[str, Any]) -> dict[str, str]:
    optimizer, schedule = plan.get("optimizer", {}), plan.get("schedule", {}).get("learning_rate", {})
    rate = f"learning rate {optimizer.get('learning_rate', _VARIED)}"
    scaling = optimizer.get("learning_rate_scaling", _VARIED)
    rate += "" if scaling == "none" else f", scaling {scaling}"
    decay = f"weight decay {optimizer.get('weight_decay', _VARIED)}"
    return {
        "training": f"epochs {plan.get('epochs', _VARIED)}, batch size {plan.get('batch_size', _VARIED)}",
        "objective": _joined([_named(plan.get("objective")), *_numbers(plan.get("objective", {}))]),
        "optimizer": _joined([_named(optimizer), rate, decay, schedule.get("name", ""), *_numbers(schedule)]),
    }


def _images(study: Study, plan: Mapping[str, Any]) -> str:
    """Return what the images are, how many, and how large they are before and after they are cropped."""
    data, side = plan.get("data", {}), plan.get("views", {}).get("image_size")
    amounts = {row["n"] for record in study.records for row in record.results if isinstance(row.get("n"), int)}
    is_said = amounts <= {value for value in data.values() if isinstance(value, int)}
    tested = "" if is_said else f"{_between(amounts)} to test on"
    views = f"views of {side} x {side} pixels" if isinstance(side, int) else ""
    return _joined([_named(plan.get("data")), *_numbers(data), _span(study, "images", " in all"), tested, views])


def _span(study: Study, name: str, what: str) -> str:
    """Return a number that pretrainings have, from the least to the largest; empty if it is not known."""
    found = {record.pretraining[name] for record in study.records if name in record.pretraining}
    return f"{_between(found)}{what}" if found else ""


def _between(found: Iterable[float]) -> str:
    return " to ".join(dict.fromkeys(map(plain_number, (min(found), max(found)))))


def _evaluation(table: Mapping[str, Any]) -> str:
    where = ", ".join((*table.get("features", ()), *(f"{weights} weights" for weights in table.get("baselines", ()))))
    data = [_named(table["data"])] if "data" in table else []
    return _joined([f"{_named(table)}{f' on {where}' if where else ''}", *data, *_numbers(table)])


def _numbers(table: Mapping[str, Any]) -> list[str]:
    """Return the options of a component that are numbers."""
    numbers = ((key, value) for key, value in table.items() if type(value) in (int, float))
    return [f"{key.replace('_', ' ')} {value:g}" for key, value in numbers if key not in _OF_NO_PROTOCOL]


def _named(table: Mapping[str, Any] | None) -> str:
    """Return what a component is called, and its model if it makes several; empty if there is none."""
    if table is None:
        return ""
    name = str(table.get("name", _VARIED))
    return f"{table['model']} ({name})" if "model" in table else name


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(part for part in parts if part)
