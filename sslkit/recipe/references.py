"""Numbers to see a chart beside, such as a paper's: a TOML file of them, checked, its points called as the study's.

Enters: a path, axes. Leaves: the file's table. Called by `charts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from annotated_types import MinLen
from pydantic import Field

from sslkit.errors import RecipeError
from sslkit.recipe.axes import Axis, axis_called, label_of, point_called, told
from sslkit.recipe.read import read_document
from sslkit.recipe.schema import Label
from sslkit.registry.options import STRICT, validate
from sslkit.text import did_you_mean


class ReferenceValueKeys(pydantic.BaseModel):
    """Keys of a value in a file of numbers to see a chart beside."""

    model_config = STRICT

    at: dict[str, Label] = Field(description="Axis to label: where the value belongs.")
    value: float
    measure: str | None = Field(None, description="Label of the measure; the chart's first one if left out.")
    unit: Literal["percent", ""] | None = Field(None, description="If it is not the file's.")
    recalled: bool | None = Field(None, description="Written down from memory; if not as the file says.")
    deviation: float | None = Field(None, description="How well it is known, in its unit.")


class ReferenceKeys(pydantic.BaseModel):
    """Keys of a file of numbers to see a chart beside."""

    model_config = STRICT

    title: str = Field("reference", description="What they are.")
    source: str = Field("", description="Where they are printed.")
    setting: str = Field("", description="Under which circumstances they were measured.")
    unit: Literal["percent", ""] = Field("", description='"percent", or plain numbers.')
    recalled: bool = Field(False, description="Written down from memory, not read in the source.")
    values: Annotated[tuple[ReferenceValueKeys, ...], MinLen(1)]


def read_reference(path: Path, axes: Sequence[Axis]) -> dict[str, Any]:
    """Read a file of numbers; in `at` axes may be called by their keys, and points by their values.

    Args:
        path: The TOML file.
        axes: Of the study. The file may have points that these have not, but no other axes.

    Raises:
        RecipeError: With every problem found, one line each.
    """
    document = read_document(path)
    keys, problems = validate(ReferenceKeys, document.tree)
    found = [told(document, problem.key, problem.reason) for problem in problems]
    if not isinstance(keys, ReferenceKeys):
        raise RecipeError(found)
    table = keys.model_dump(mode="json", exclude_unset=True)
    for number, value in enumerate(table["values"]):
        at = {}
        for name, label in value["at"].items():
            axis = axis_called(name, axes)
            if axis is None:
                known = [axis.name for axis in axes]
                advice = did_you_mean(name, known) or f"; the axes are {', '.join(known) or 'none but the seeds'}"
                reason = f"the study has no axis {name!r}{advice}"
                found.append(told(document, ("values", number, "at"), reason))
            else:
                at[axis.name] = point_called(label, axis) or label_of(label)
        value["at"] = at
    if found:
        raise RecipeError(found)
    return table
