"""The engine's own keys of a recipe, with their types and ranges; and the JSON schema for editors.

A component table holds engine keys (declared here) beside the component's own options (declared by its factory).
Called by `resolve`; `json_schema` by `sslkit check --schema` and by the test that keeps
`docs/recipe.schema.json` true. One of the two rooms that know pydantic.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

import pydantic
from annotated_types import Ge, Gt, Le, MinLen
from pydantic import Field

from sslkit.errors import PluginError
from sslkit.registry.discover import Registry
from sslkit.registry.options import STRICT, signature_of
from sslkit.registry.register import Component

SCHEMA_VERSION: Final = 1

Positive = Annotated[int, Gt(0)]
Label = str | int | float | bool  # of a point of an axis, or the value that it stands for
# A run's folder is named after the recipe.
RecipeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class _Keys(pydantic.BaseModel):
    model_config = STRICT


class ComponentKeys(_Keys):
    """Keys of every component table."""

    name: str = Field(description="Full name of the component, namespace.component.")


class Normalize(_Keys):
    """Per-channel normalisation of images in [0, 1]."""

    mean: Annotated[tuple[float, ...], MinLen(1)]
    std: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)]


class DataKeys(ComponentKeys):
    """Engine keys of a data table."""

    folder: str | None = Field(None, description="Where the data is, joined to --data-root.")
    normalize: Normalize | None = Field(
        None, description="Applied before the backbone, and kept with it. The paper uses none."
    )


class FrozenBackboneKeys(ComponentKeys):
    """Engine keys of the [backbone] table of a recipe that only evaluates."""

    input_size: Positive | None = Field(None, description="Side of its images, pixels; where the weights do not say.")
    normalize: Normalize | None = Field(None, description="What it was trained with; where the weights do not say.")


class CallbackKeys(ComponentKeys):
    """Engine keys of a [[pretrain.callbacks]] table."""

    data: dict[str, Any] | None = Field(
        None, description="Data table, for callbacks that measure; the pretraining data if left out."
    )


class OptimizerKeys(ComponentKeys):
    """Engine keys of the optimizer table."""

    learning_rate: Annotated[float, Gt(0)] = Field(description="Base rate, before scaling and schedule.")
    learning_rate_scaling: Literal["none", "linear", "sqrt"] = Field(
        "none", description="none; linear: x batch_size / 256; sqrt: x sqrt(batch_size)."
    )
    weight_decay: Annotated[float, Ge(0)] = Field(0.0, description="On weights; never on norms and biases.")


class EvaluateKeys(ComponentKeys):
    """Engine keys of an [[evaluate]] table."""

    data: dict[str, Any] | None = Field(None, description="Data table; the pretraining data if left out.")
    features: Annotated[tuple[str, ...], MinLen(1)] = Field(
        ("h",),
        description='What to measure: "h", "z", a layer of the backbone, or "head." and a layer of the head.',
    )
    baselines: tuple[Literal["random", "pixels"], ...] = Field(
        (), description="Measured beside it: the backbone before training; the pixels themselves."
    )
    central_share: Annotated[float, Gt(0), Le(1)] = Field(
        0.875, description="Of an image's shorter side, what is kept; 224 of 256 pixels by default."
    )
    num_seeds: Positive = Field(1, description="Repetitions, each with a seed of its own for what it draws.")


class ScheduleTables(_Keys):
    """One schedule per scheduled quantity."""

    learning_rate: dict[str, Any] | None = None
    weight_decay: dict[str, Any] | None = None


class PretrainKeys(_Keys):
    """Keys of [pretrain]."""

    epochs: Positive = Field(description="Passes over the data.")
    batch_size: Positive = Field(description="Images per step, over all processes together.")
    micro_batch_size: Positive | None = Field(
        None, description="Images embedded at once; the gradient is that of the whole batch (cached gradients)."
    )
    precision: Literal["float32", "bf16"] = Field("float32", description="Of the forward and backward pass.")
    weights: str | None = Field(None, description="To start from: a run, a weights file, or timm:NAME.")
    partial_weights: bool = Field(False, description="Of these weights, load the tensors that fit and log the others.")
    checkpoint_every_steps: Positive | None = Field(None, description="Save after this many steps.")
    checkpoint_every_epochs: Positive = Field(1, description="Save after this many epochs.")
    on_save_error: Literal["raise", "continue"] = Field(
        "raise", description="When a checkpoint cannot be written: end the run, or warn and go on without it."
    )
    data: dict[str, Any]
    views: dict[str, Any]
    method: dict[str, Any] = Field({"name": "builtin.joint_embedding"})
    backbone: dict[str, Any] | None = None
    head: dict[str, Any] | None = None
    objective: dict[str, Any] | None = None
    optimizer: dict[str, Any]
    schedule: ScheduleTables = ScheduleTables()
    callbacks: tuple[dict[str, Any], ...] = ()


class MeasureKeys(_Keys):
    """Keys of a measure of a chart: a result of an evaluation, or a number of the pretraining."""

    label: str | None = Field(None, description="What to call it.")
    evaluation: str | Annotated[int, Ge(0)] | None = Field(
        None, description="Component, or number of the [[evaluate]] table; the first one if left out."
    )
    data: str | None = Field(None, description="Component or title of the data, if the evaluation has several.")
    features: str = Field("h", description='"h", "z", or the name of a layer.')
    weights: str = Field("pretrained", description='"pretrained", "random", or "none" for pixels.')
    metric: str | None = Field(None, description="One of the evaluation's metrics; its headline if left out.")
    pretraining: str | None = Field(
        None, description="Instead: a metric of the last tenth of the pretraining, or parameters."
    )


class ChartKeys(_Keys):
    """Keys of a [[sweep.report]] table: one chart of the study's report."""

    title: str = Field("", description="Above the chart.")
    chart: Literal["heat_map", "bars", "lines", "scatter", "table"] | None = Field(
        None, description="Chosen by the axes if left out."
    )
    x: str | None = Field(None, description="An axis; columns of a heat map; of a scatter plot a measure's label.")
    y: str | None = Field(None, description="Rows of a heat map: an axis; of a scatter plot: a measure's label.")
    series: str | None = Field(None, description="An axis: one line, bar or colour for each of its points.")
    measures: tuple[MeasureKeys, ...] = Field((), description="What is drawn; the first evaluation's score if empty.")
    means: Literal["rows"] | None = Field(None, description="Add the mean of each row.")
    log: bool | None = Field(None, description="Logarithmic x; chosen by the values if left out.")
    reference: str | None = Field(None, description="File of numbers to see it beside, relative to the recipe.")
    where: dict[str, Label | tuple[Label, ...]] = Field({}, description="Axis to labels, or one: these points only.")
    rename: dict[str, str] = Field({}, description="How axes and labels are to be called.")
    notes: str = Field("", description="Shown below the chart.")


class SweepKeys(_Keys):
    """Keys of [sweep]: a study, run by `sslkit sweep`."""

    combine: Literal["product", "zip"] = Field(
        "product", description="Every combination of the axes' values, or all axes in step. Seeds always combine."
    )
    axes: dict[str, Any] = Field(
        description="Key of the recipe to a list of values; or a name to tables of label, set and value."
    )
    report: tuple[ChartKeys, ...] = Field((), description="Charts; one is chosen if there is none.")


class RecipeKeys(_Keys):
    """Keys of a whole recipe."""

    schema_version: Literal[1] = Field(alias="schema", description="Version of the recipe format.")
    name: RecipeName = Field(description="Names the run's folder.")
    description: str = ""
    requires: tuple[str, ...] = Field((), description='Distributions, such as "sslkit-simclr>=0.1".')
    plugins: tuple[str, ...] = Field((), description="Python files with components of your own: local.*")
    seed: Annotated[int, Ge(0)] = 0
    weights: str | None = Field(
        None, description='Without [pretrain]: what to evaluate: a run, a weights file, timm:NAME or "random".'
    )
    partial_weights: bool = Field(False, description="Of these weights, load the tensors that fit and log the others.")
    backbone: dict[str, Any] | None = Field(
        None, description="Without [pretrain]: what the weights belong to, where they do not say it themselves."
    )
    pretrain: PretrainKeys | None = None
    evaluate: tuple[dict[str, Any], ...] = ()
    export: tuple[dict[str, Any], ...] = ()
    sweep: SweepKeys | None = Field(None, description="Makes it a study: many runs, by `sslkit sweep`.")
    derived: dict[str, Any] | None = Field(None, description="Written by a run; recomputed and compared.")


# Place of a component table -> (kind, its engine keys).
SLOTS: Final[dict[str, tuple[str, type[ComponentKeys]]]] = {
    "data": ("data", DataKeys),
    "views": ("views", ComponentKeys),
    "method": ("method", ComponentKeys),
    "backbone": ("backbone", ComponentKeys),
    "head": ("head", ComponentKeys),
    "objective": ("objective", ComponentKeys),
    "optimizer": ("optimizer", OptimizerKeys),
    "schedule": ("schedule", ComponentKeys),
    "callbacks": ("callback", CallbackKeys),
    "evaluate": ("evaluation", EvaluateKeys),
    "export": ("exporter", ComponentKeys),
    "frozen_backbone": ("backbone", FrozenBackboneKeys),
}


def json_schema(registry: Registry, namespaces: Iterable[str] | None = None) -> dict[str, Any]:
    """Return a JSON schema of recipes that name components of these namespaces, or of all that are installed."""
    chosen = {record.namespace for record in registry.records} if namespaces is None else set(namespaces)
    tables: dict[str, dict[str, Any]] = {}
    for slot, (kind, keys) in SLOTS.items():
        variants = [
            _component_schema(component, keys)
            for component in registry.components(kind)
            if component.name.partition(".")[0] in chosen and _can_be_loaded(component)
        ]
        tables[_definition(slot)] = {"type": "object", "anyOf": variants}
    schema = _inlined(RecipeKeys.model_json_schema(by_alias=True))
    schema["properties"]["extends"] = {"type": "string", "description": "One other recipe, relative to this."}
    schema["properties"]["backbone"] = _reference("frozen_backbone")
    pretrain = _table_of(schema["properties"]["pretrain"])
    for slot in ("data", "views", "method", "backbone", "head", "objective", "optimizer"):
        pretrain["properties"][slot] = _reference(slot)
    schedules = pretrain["properties"]["schedule"]["properties"]
    for quantity in schedules:
        schedules[quantity] = _reference("schedule")
    pretrain["properties"]["callbacks"] = {"type": "array", "items": _reference("callbacks")}
    for slot in ("evaluate", "export"):
        schema["properties"][slot] = {"type": "array", "items": _reference(slot)}
    for variant in (*tables["evaluation"]["anyOf"], *tables["callback"]["anyOf"]):
        variant["properties"]["data"] = _reference("data")
    for table in (schema, pretrain, _table_of(schema["properties"]["sweep"])):
        table.pop("required", None)  # with `extends`, any key may come from the other file
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "sslkit recipe",
        "$defs": tables,
    }


def _can_be_loaded(component: Component) -> bool:
    """Return whether it can be asked for its options: one that cannot is no harm to the others."""
    try:
        signature_of(component)
    except PluginError:
        return False
    return True


def _reference(slot: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{_definition(slot)}"}


def _definition(slot: str) -> str:
    """Return how the schema calls a slot's table: by its kind, but for the second slot of backbones."""
    return slot if slot == "frozen_backbone" else SLOTS[slot][0]


def _component_schema(component: Component, keys: type[ComponentKeys]) -> dict[str, Any]:
    engine = _inlined(keys.model_json_schema())
    signature = signature_of(component)
    options = _inlined(signature.model.model_json_schema())
    properties = engine["properties"] | options.get("properties", {})
    for name, meaning in signature.meanings.items():
        if name in options.get("properties", {}):
            properties[name] = properties[name] | {"description": meaning}
    if "root" not in signature.engine:
        properties.pop("folder", None)
    if component.kind == "callback" and "data" not in signature.engine:
        properties.pop("data")
    properties["name"] = {"const": component.name, "description": component.summary}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _table_of(optional: dict[str, Any]) -> dict[str, Any]:
    """Return the table of an optional property, which pydantic writes as anyOf [table, null]."""
    table: dict[str, Any] = optional["anyOf"][0]
    return table


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with its references put in place, so that schemas can be joined."""
    definitions = schema.pop("$defs", {})

    def put_in(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                target = definitions[part["$ref"].rpartition("/")[2]]
                rest = {key: value for key, value in part.items() if key != "$ref"}
                return put_in(target) | put_in(rest)
            return {key: put_in(value) for key, value in part.items()}
        return [put_in(item) for item in part] if isinstance(part, list) else part

    inlined: dict[str, Any] = put_in(schema)
    return inlined
