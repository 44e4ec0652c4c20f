"""Writes the reference pages from the code that they describe: `python docs/generate.py`.

Enters: recipe keys, components, commands and the front page. Leaves: `docs/reference/*.md` and
`docs/recipe.schema.json`. Tests fail when one is not what this makes, so none can fall behind.
"""

from __future__ import annotations

import argparse
import json
import re
import runpy
import typing
from pathlib import Path
from typing import Any, Final

import pydantic
import sslkit_simclr

import sslkit
import sslkit.testing
from sslkit.cli import parser
from sslkit.cli.components import _snippet, _toml
from sslkit.recipe import schema
from sslkit.registry.discover import Registry
from sslkit.registry.options import _annotation_text, signature_of
from sslkit.registry.register import ENGINE_ARGUMENTS, KINDS, Component

kind_page = runpy.run_path(str(Path(__file__).with_name("kinds.py")))["kind_page"]
api_entry = runpy.run_path(str(Path(__file__).with_name("python_api.py")))["entry"]

REFERENCE: Final = Path(__file__).parent / "reference"
SCHEMA: Final = Path(__file__).with_name("recipe.schema.json")
# What this repository holds; other plugins have their own pages.
NAMESPACES: Final = ("builtin", "simclr", "byol", "dino", "mae", "moco", "supcon", "swav", "trackers", "vicreg")

_NOTICE = "<!-- Made by docs/generate.py: change the code or the script, not this page. -->"

# Heading of a table of keys -> (what stands in front of a key, the model that declares them, what to say first).
_KEY_TABLES: Final[dict[str, tuple[str, type[pydantic.BaseModel], str]]] = {
    "The whole recipe": ("", schema.RecipeKeys, ""),
    "[pretrain]": ("pretrain.", schema.PretrainKeys, ""),
    "Every component table": (
        "",
        schema.ComponentKeys,
        "Beside it stand the component's own options: see [components](components.md).",
    ),
    "[pretrain.data], and data of an evaluation": ("", schema.DataKeys, ""),
    "normalize": ("normalize.", schema.Normalize, ""),
    "[pretrain.optimizer]": ("", schema.OptimizerKeys, ""),
    "[pretrain.schedule.*]": (
        "pretrain.schedule.",
        schema.ScheduleTables,
        "A schedule is a factor on a base value, a function of the progress. Without one the value is constant.",
    ),
    "[[evaluate]]": ("", schema.EvaluateKeys, ""),
    "[sweep]": (
        "sweep.",
        schema.SweepKeys,
        "A recipe with this table is a study: see [run a study](../how_to/run_a_study.md).",
    ),
    "[[sweep.report]]": (
        "",
        schema.ChartKeys,
        "One chart each. Axes are called by their keys, or by the ends of these.",
    ),
    "measures of a chart": ("", schema.MeasureKeys, ""),
}

# What a key that holds component tables means; the models of those tables stand further down the page.
_TABLE_MEANINGS: Final = {
    "pretrain": "Table: what is pretrained, on what, and how.",
    "data": "Data component.",
    "views": "View generator.",
    "method": "Method; it decides which of the next three tables are needed.",
    "backbone": "Backbone: the part that is kept.",
    "head": "Projection head.",
    "objective": "Objective: the loss.",
    "optimizer": "Optimizer.",
    "schedule": "Tables of schedules, by quantity.",
    "callbacks": "Callbacks, `[[pretrain.callbacks]]`, beside console and JSONL, which are always there.",
    "evaluate": "Evaluations, in order.",
    "export": "Exporters, in order.",
    "description": "One sentence for a reader.",
    "seed": "All randomness follows from it.",
    "learning_rate": "Schedule component for the learning rate.",
    "weight_decay": "Schedule component for the weight decay.",
    "mean": "One number per channel.",
    "std": "One number per channel.",
}

_KIND_HEADINGS: Final = {
    "views": "Views",
    "backbone": "Backbones",
    "head": "Heads",
    "objective": "Objectives",
    "method": "Methods",
    "optimizer": "Optimizers",
    "schedule": "Schedules",
    "data": "Data",
    "evaluation": "Evaluations",
    "exporter": "Exporters",
    "callback": "Callbacks",
}

# The front page, in the order in which a reader meets it.
_API: Final[dict[str, tuple[str, ...]]] = {
    "Pretraining and evaluating": (
        "pretrain", "evaluate", "Result", "save_backbone", "load_backbone", "FrozenModel", "embed_folder", "run",
        "RunInfo", "PretrainState",
    ),
    "Recipes and plugins": ("load_recipe", "Recipe", "Registry", "Register", "hookimpl", "load_on_use"),
    "Components": (
        "JointEmbedding", "embed_views", "MomentumCopy", "rising_momentum", "full_precision",
        "timm_backbone", "Classifier", "MLPHead", "CrossEntropy",
        "CropFlip", "Shapes", "ImageFolder", "ImageList", "TarShards", "Arrays", "TorchvisionSets", "TransferSets",
        "ImageNet", "linear", "linear_augmented", "logistic_regression", "knn", "fine_tune", "own_classifier",
        "feature_health", "Online", "Console", "sgd", "adamw", "cosine", "constant",
    ),
    "Contracts": (
        "Batch", "Progress", "Loss", "LossOutput", "Views", "Backbone", "Head", "Objective", "Method", "Schedule",
        "Data", "Dataset", "Evaluation", "Pretrained", "Features", "Outcome", "Exporter", "Normalisation", "Tree",
        "Work", "Nominal",
    ),
    "For authors of components": (
        "sample_keys", "uniforms", "seeded", "open_image", "fitted_images", "scaled_side", "list_images", "find_images",
        "FoundImages", "Listing", "IMAGE_SUFFIXES", "cached_arrays", "CropRule", "Boxes", "crop_boxes",
        "crop_and_resize", "Cropper", "require_range", "gather_rows", "sum_over_ranks", "rank", "world_size",
        "did_you_mean", "one_line", "safe_text", "duration",
    ),
    "For authors of evaluations": (
        "needs_labels", "labelled_features", "training_features", "checked_labels", "check_labels", "labels_of",
        "count_classes", "has_split",
        "balanced_holdout", "classification_outcome", "MLPProbe", "mean_per_class", "voc_map",
        "rankme", "alpha_req", "lidar", "bootstrap_interval", "mean_and_deviation", "shown_value", "shown_interval",
    ),
    "Errors": (
        "SslkitError", "RecipeError", "PluginError", "DataError", "AbsentError", "BadImageError", "RunError",
        "NonFiniteError",
    ),
}  # fmt: skip
_SIMCLR_API: Final = ("TwoCrops", "OneBranch", "simclr_resnet", "MLP", "NTXent", "LARS", "transform_probe")


def pages() -> dict[str, str]:
    """Return every generated page: its name below `docs/reference` and its text."""
    return {
        "recipes.md": _recipes_page(),
        "components.md": _components_page(),
        "commands.md": _commands_page(),
        "api.md": _api_page(),
        **{f"kinds/{kind}.md": kind_page(kind, _NOTICE) for kind in KINDS},
    }


def _recipes_page() -> str:
    lines = [
        _NOTICE,
        "# Recipe keys",
        "",
        "The engine's own keys. A component's options stand in the same table as these and are listed under",
        "[components](components.md). Unknown keys, wrong types and values out of range are refused, all at once,",
        "before anything is written. `sslkit check RECIPE` does only that.",
        "",
        '`extends = "other.toml"` starts from one other recipe, relative to this one: tables merge, everything else',
        "replaces, and a component table whose `name` differs replaces the whole table.",
        "",
    ]
    for heading, (prefix, model, introduction) in _KEY_TABLES.items():
        lines += [f"## {heading}", ""]
        lines += [introduction, ""] if introduction else []
        lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
        lines += [_key_row(prefix, name, model) for name in model.model_fields]
        lines.append("")
    return "\n".join(lines)


def _key_row(prefix: str, name: str, model: type[pydantic.BaseModel]) -> str:
    info = model.model_fields[name]
    annotation = typing.get_type_hints(model, include_extras=True)[name]
    default = "required" if info.is_required() else _default(info.get_default(call_default_factory=True))
    meaning = info.description or _TABLE_MEANINGS[name]
    return _row(f"`{prefix}{info.alias or name}`", _key_type(annotation), default, meaning)


def _key_type(annotation: Any) -> str:
    """Return a key's type; a table with a model of its own is just a table here."""
    parts = [annotation, *typing.get_args(annotation)]
    if any(isinstance(part, type) and issubclass(part, pydantic.BaseModel) for part in parts):
        return "table"
    text = _type(_annotation_text(annotation))
    return "array of tables" if text == "[table, ...]" else text


def _type(text: str) -> str:
    return text.strip().removesuffix(" or left out")  # the default says so


def _default(value: Any) -> str:
    if isinstance(value, pydantic.BaseModel):
        return "empty"
    return "left out" if value is None else f"`{_toml(value)}`"


def _row(*cells: str) -> str:
    escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _components_page() -> str:
    lines = [
        _NOTICE,
        "# Components",
        "",
        "What sslkit and the plugins of its repository bring. `sslkit components` lists what is installed on your",
        "machine, other people's plugins too, and `sslkit components NAME` shows one of them with its file and line.",
        "",
    ]
    registry = Registry.discover()
    for kind in KINDS:
        chosen = [c for c in registry.components(kind) if c.name.partition(".")[0] in NAMESPACES]
        lines += [f"## {_KIND_HEADINGS[kind]}", ""]
        given = ENGINE_ARGUMENTS[kind]
        if given:
            lines += [f"A factory of this kind may declare, positionally: {', '.join(f'`{g}`' for g in given)}.", ""]
        for component in chosen:
            lines += _component_section(component)
    return "\n".join(lines)


def _component_section(component: Component) -> list[str]:
    lines = [f"### {component.name}", "", _sentence(component.summary), ""]
    options = signature_of(component).options()
    if options:
        lines += ["| option | type | default | meaning |", "| --- | --- | --- | --- |"]
        for option in options:
            default = "required" if option.required else _default(option.default)
            lines.append(_row(f"`{option.name}`", _type(option.annotation), default, option.meaning))
    else:
        lines.append("No options.")
    return [*lines, "", "```toml", *_snippet(component), "```", ""]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _commands_page() -> str:
    lines = [
        _NOTICE,
        "# Commands",
        "",
        "Every command answers `--help`. A mistake is one line on standard error and exit code 2, behind the usage if "
        "the arguments are at fault; nothing is written.",
        "",
    ]
    for name, command in _subparsers(parser()).items():
        lines += [f"## sslkit {name}", "", *_command(command)]
        for action, its_command in _subparsers(command).items():
            lines += [f"### sslkit {name} {action}", "", *_command(its_command)]
    return "\n".join(lines)


def _command(command: argparse.ArgumentParser) -> list[str]:
    actions = [action for action in command._actions if not isinstance(action, argparse._SubParsersAction)]
    shown = [action for action in actions if action.help != argparse.SUPPRESS]
    rows = [_row(_argument(action), action.help or "") for action in shown]
    table = ["| argument | meaning |", "| --- | --- |", *rows]
    return [command.description or "", "", *table, "", "```text", command.epilog or "", "```", ""]


def _subparsers(top: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    # argparse's own help text differs between Python versions; its actions do not.
    found = (action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    return {name: command for action in found for name, command in action.choices.items()}


def _argument(action: argparse.Action) -> str:
    value = action.metavar or action.dest.upper()
    if action.option_strings:
        shown = ", ".join(action.option_strings)
        return f"`{shown}`" if action.nargs == 0 else f"`{shown} {value}`"
    text = f"{action.metavar or action.dest}"
    return {"?": f"`[{text}]`", "*": f"`[{text} ...]`"}.get(str(action.nargs), f"`{text}`")


def _api_page() -> str:
    listed = [name for names in _API.values() for name in names]
    if sorted(listed) != sorted(sslkit.__all__):
        missing = sorted(set(sslkit.__all__).symmetric_difference(listed))
        raise SystemExit(f"docs/generate.py: _API and sslkit.__all__ differ in {', '.join(missing)}")
    lines = [
        _NOTICE,
        "# Python",
        "",
        "Everything public can be imported from `sslkit` itself, and what tests use from `sslkit.testing`. Alone,",
        "`import sslkit` loads no library. Other modules are private: they may change in any version.",
        "",
    ]
    for heading, names in _API.items():
        lines += [f"## {heading}", ""]
        for name in names:
            lines += api_entry(sslkit, name)
    lines += ["## sslkit.testing", "", "For the tests of plugins.", ""]
    for name in sslkit.testing.__all__:
        lines += api_entry(sslkit.testing, name)
    lines += ["## sslkit_simclr", "", "The parts of SimCLR, each usable alone.", ""]
    for name in _SIMCLR_API:
        lines += api_entry(sslkit_simclr, name)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def main() -> None:
    """Write the pages that differ."""
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages().items():
        path = REFERENCE / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    text = json.dumps(schema.json_schema(Registry.discover(), NAMESPACES), indent=1) + "\n"
    if not SCHEMA.exists() or SCHEMA.read_text(encoding="utf-8") != text:
        SCHEMA.write_text(text, encoding="utf-8")
        print(f"wrote {SCHEMA}")


if __name__ == "__main__":
    main()
