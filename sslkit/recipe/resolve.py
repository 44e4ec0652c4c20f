"""From one document to a `Recipe` whose every component exists and whose every option is valid.

Enters: a path and overrides. Leaves: a `Recipe`, or one `RecipeError` with all problems, each with its file and
line. Nothing is built here; importing the named components is what it costs. Called by `run`, `check` and Python;
`load_viewing` by `preview`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from sslkit.errors import PluginError, RecipeError
from sslkit.recipe.merge import OVERRIDE, load_document
from sslkit.recipe.plan import CallbackPlan, Choice, EvaluatePlan, PretrainPlan, Recipe, Viewing
from sslkit.recipe.read import Document, KeyPath
from sslkit.recipe.schema import SLOTS, PretrainKeys, RecipeKeys
from sslkit.registry.discover import Registry
from sslkit.registry.options import REQUIRED, Problem, check_options, signature_of, unknown_key, validate
from sslkit.registry.register import Component
from sslkit.text import closest, one_line


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and check everything in it that can be checked without data.

    Args:
        path: The TOML file.
        overrides: Changes such as `pretrain.batch_size=512`; the right side is a TOML value.

    Raises:
        RecipeError: With every problem found, one line each.
    """
    return resolve(load_document(Path(path), overrides), Path(path), overrides)


def resolve(document: Document, source: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Check a document.

    Args:
        document: With its overrides applied.
        source: The file it came from.
        overrides: For the record.

    Raises:
        RecipeError: With every problem found, one line each.
    """
    return _Resolver(document, source, tuple(overrides)).recipe()


def load_viewing(path: str | Path, overrides: Sequence[str] = ()) -> Viewing:
    """Read a recipe file as far as its views depend on it; no other component is imported or checked.

    Args:
        path: The TOML file.
        overrides: Changes such as `pretrain.views.image_size=64`.

    Raises:
        RecipeError: With every problem found, one line each; or that the recipe does not pretrain.
    """
    document = load_document(Path(path), overrides)
    if "pretrain" not in document.tree:
        raise RecipeError(f"{one_line(path)}: has no [pretrain] table, so no views; name a recipe that pretrains")
    return _Resolver(document, Path(path), tuple(overrides)).viewing()


class _Resolver:
    """Collects problems while it goes through the tables of one document."""

    def __init__(self, document: Document, source: Path, overrides: tuple[str, ...]) -> None:
        self.document = document
        self.source = source
        self.overrides = overrides
        self.problems: set[tuple[str, int, str]] = set()  # file, line, what to say
        self.installed = Registry([])

    def viewing(self) -> Viewing:
        keys, _ = self._engine_keys()
        pretrain = self.document.tree["pretrain"]
        tables = pretrain if isinstance(pretrain, dict) else {}
        data, views = (self._choice(slot, tables.get(slot), ("pretrain", slot)) for slot in ("data", "views"))
        if self.problems or keys is None or data is None or views is None:
            raise RecipeError([text for _, _, text in sorted(self.problems)])
        return Viewing(keys.name, keys.seed, data, views)

    def recipe(self) -> Recipe:
        keys, plugins = self._engine_keys()
        pretrain_table = self.document.tree.get("pretrain")
        pretrain = self._pretrain(pretrain_table) if isinstance(pretrain_table, dict) else None
        backbone = self._choice("frozen_backbone", self.document.tree.get("backbone"), ("backbone",))
        evaluate = tuple(self._evaluations())
        export = self._list("export", ("export",))
        if self.problems or keys is None:
            raise RecipeError([text for _, _, text in sorted(self.problems)])
        return Recipe(
            name=keys.name,
            description=keys.description,
            requires=keys.requires,
            plugins=plugins,
            seed=keys.seed,
            weights=keys.weights,
            partial_weights=keys.partial_weights,
            backbone=backbone,
            pretrain=pretrain,
            evaluate=evaluate,
            export=export,
            source=self.source,
            overrides=self.overrides,
            derived=keys.derived or {},
            installed=self.installed,
        )

    def _engine_keys(self) -> tuple[RecipeKeys | None, tuple[Path, ...]]:
        """Check the keys that are no component's, and find the plugins, files among them."""
        keys, problems = validate(RecipeKeys, self.document.tree, beside=("extends",))
        self._report((), problems)
        plugins = self._plugin_files()
        self.installed = Registry.discover(plugins)
        self._check_files()
        self._check_requires()
        self._check_parts()
        return (keys if isinstance(keys, RecipeKeys) else None), plugins

    def _pretrain(self, table: dict[str, Any]) -> PretrainPlan | None:
        path: KeyPath = ("pretrain",)
        keys, _ = validate(PretrainKeys, table)  # its problems were reported with the whole recipe's
        method = self._choice("method", table.get("method", {"name": "builtin.joint_embedding"}), (*path, "method"))
        parts = self._method_parts(method, table)
        choices = {
            slot: self._choice(slot, table[slot], (*path, slot))
            for slot in ("data", "views", "optimizer", *parts)
            if isinstance(table.get(slot), dict)
        }
        schedule_tables = table.get("schedule", {})
        schedules = {
            quantity: self._choice("schedule", schedule, (*path, "schedule", quantity))
            for quantity, schedule in (schedule_tables.items() if isinstance(schedule_tables, dict) else ())
            if isinstance(schedule, dict) and quantity in ("learning_rate", "weight_decay")
        }
        callbacks = tuple(self._callbacks())
        data, views, optimizer = (choices.get(slot) for slot in ("data", "views", "optimizer"))
        if isinstance(keys, PretrainKeys) and keys.micro_batch_size and keys.batch_size % keys.micro_batch_size:
            fitting = (size for size in range(keys.micro_batch_size, 0, -1) if keys.batch_size % size == 0)
            reason = f"does not divide batch_size = {keys.batch_size}; the next smaller one that does: {next(fitting)}"
            self._problem((*path, "micro_batch_size"), reason)
        if not isinstance(keys, PretrainKeys) or method is None or not (data and views and optimizer):
            return None
        return PretrainPlan(
            epochs=keys.epochs,
            batch_size=keys.batch_size,
            micro_batch_size=keys.micro_batch_size,
            precision=keys.precision,
            weights=keys.weights,
            partial_weights=keys.partial_weights,
            checkpoint_every_steps=keys.checkpoint_every_steps,
            checkpoint_every_epochs=keys.checkpoint_every_epochs,
            on_save_error=keys.on_save_error,
            data=data,
            views=views,
            method=method,
            backbone=choices.get("backbone"),
            head=choices.get("head"),
            objective=choices.get("objective"),
            optimizer=optimizer,
            schedules={name: schedule for name, schedule in schedules.items() if schedule is not None},
            callbacks=callbacks,
        )

    def _method_parts(self, method: Choice | None, table: dict[str, Any]) -> list[str]:
        """Return which of backbone, head, objective the method takes; a missing or surplus table is a problem."""
        slots = ("backbone", "head", "objective")
        if method is None:
            return [slot for slot in slots if slot in table]
        signature = signature_of(method.component)
        name = method.component.name
        for slot in slots:
            path = ("pretrain", slot)
            if slot in table and slot not in signature.engine and slot not in self.document.before_method:
                self._problem(path, f"the method {name} takes no {slot}; leave the table out")
            if slot not in table and slot in signature.engine and slot not in signature.optional:
                self._problem(path, f"is required by the method {name}: add [pretrain.{slot}]")
        return [slot for slot in slots if slot in signature.engine]

    def _evaluations(self) -> Iterator[EvaluatePlan]:
        tables = self.document.tree.get("evaluate", [])
        for number, table in enumerate(tables if isinstance(tables, list) else []):
            path: KeyPath = ("evaluate", number)
            choice = self._choice("evaluate", table, path)
            if choice is None:
                continue
            data = self._data_of(choice, path)
            if data is None and "pretrain" not in self.document.tree:
                self._problem(path, "data is required without [pretrain]: add data = { name = ... }")
            keys = choice.keys
            for key in ("features", "baselines"):
                twice = [name for number, name in enumerate(keys[key]) if name in keys[key][:number]]
                if twice:
                    self._problem((*path, key), f'"{twice[0]}" stands there twice; leave one out')
            yield EvaluatePlan(
                choice, data, keys["features"], keys["baselines"], keys["central_share"], keys["num_seeds"]
            )

    def _callbacks(self) -> Iterator[CallbackPlan]:
        for choice in self._list("callbacks", ("pretrain", "callbacks")):
            path: KeyPath = ("pretrain", "callbacks", int(choice.path.rpartition(".")[2]))
            data = self._data_of(choice, path)
            takes_data = "data" in signature_of(choice.component).engine
            if data is not None and not takes_data:
                self._problem((*path, "data"), f"{choice.component.name} measures nothing; leave the table out")
            yield CallbackPlan(choice, data, takes_data)

    def _data_of(self, choice: Choice, path: KeyPath) -> Choice | None:
        """Return the data table of an evaluation or a callback, if it has one."""
        table = choice.keys["data"]
        if table is not None and "normalize" in table:
            self._problem((*path, "data", "normalize"), "belongs to the weights; leave it out here")
        return self._choice("data", table, (*path, "data"))

    def _list(self, slot: str, path: KeyPath) -> tuple[Choice, ...]:
        tables: Any = self.document.tree
        for part in path:
            tables = tables.get(part, []) if isinstance(tables, dict) else []
        if not isinstance(tables, list):
            return ()
        choices = (self._choice(slot, table, (*path, number)) for number, table in enumerate(tables))
        return tuple(choice for choice in choices if choice is not None)

    def _choice(self, slot: str, table: Any, path: KeyPath) -> Choice | None:
        """Check one component table: the engine's keys, that the component exists, its options."""
        if not isinstance(table, dict):
            return None
        kind, keys_model = SLOTS[slot]
        name = table.get("name")
        engine_table = {key: value for key, value in table.items() if key in keys_model.model_fields}
        rest = {key: value for key, value in table.items() if key not in keys_model.model_fields}
        keys, problems = validate(keys_model, engine_table)
        self._report(path, problems)
        if not isinstance(name, str):
            # Without the component its options are unknown: only a mistyped `name` can be told.
            for key in filter(lambda key: closest(key, ["name"]), rest):
                self._problem((*path, key), unknown_key(key, ["name"]))
            return None
        try:
            component = self.installed.get(kind, name)
            options, problems = check_options(component, rest, beside=keys_model.model_fields)
        except PluginError as error:
            self._problem((*path, "name"), str(error))
            return None
        self._report(path, problems)
        if problems or keys is None:
            return None
        self._check_folder(component, table, path)
        values = {key: getattr(keys, key) for key in keys_model.model_fields if key != "name"}
        return Choice(".".join(map(str, path)), component, options, values)

    def _check_folder(self, component: Component, table: dict[str, Any], path: KeyPath) -> None:
        if component.kind == "data" and "folder" in table and "root" not in signature_of(component).engine:
            self._problem((*path, "folder"), f"{component.name} reads no folder; leave the key out")

    def _check_parts(self) -> None:
        tree = self.document.tree
        if "pretrain" not in tree and not tree.get("evaluate"):
            self._problem((), "needs a [pretrain] table, or weights = ... and [[evaluate]] tables")
        pretrain = tree.get("pretrain")
        if isinstance(pretrain, dict) and pretrain.get("partial_weights") is True and "weights" not in pretrain:
            self._problem(("pretrain", "partial_weights"), "there are no weights; say which, or leave the key out")
        if "sweep" in tree:
            self._problem(("sweep",), f"this is a study of many runs: sslkit sweep {self.source}")
        for key in ("weights", "partial_weights", "backbone"):
            if "pretrain" in tree and key in tree:
                self._problem((key,), "belongs inside [pretrain] when the recipe pretrains")

    def _plugin_files(self) -> tuple[Path, ...]:
        listed = self.document.tree.get("plugins", [])
        paths = [Path(path) for path in listed if isinstance(path, str)] if isinstance(listed, list) else []
        for number, path in enumerate(paths):
            if not path.is_file():
                self._problem(("plugins", number), f"there is no file {path}")
            if path.name in [other.name for other in paths[:number]]:  # a run keeps them in one folder
                self._problem(("plugins", number), f"two files are called {path.name}; rename one")
        return tuple(path for path in paths if path.is_file())

    def _check_files(self) -> None:
        listed = self.document.tree.get("plugins", [])
        for record in self.installed.plugin("local"):
            if record.status != "ok":
                self._problem(("plugins", listed.index(record.location)), record.reason)

    def _check_requires(self) -> None:
        listed = self.document.tree.get("requires", [])
        for number, text in enumerate(listed if isinstance(listed, list) else []):
            if isinstance(text, str) and (reason := unmet(text)) is not None:
                self._problem(("requires", number), reason)

    def _report(self, path: KeyPath, problems: Sequence[Problem]) -> None:
        is_other = self.document.where((*path, "name")) == OVERRIDE
        for problem in problems:
            again = "; another name replaces the whole table, so say it again" if problem.reason == REQUIRED else ""
            self._problem((*path, *problem.key), problem.reason + (again if is_other else ""))

    def _problem(self, path: KeyPath, reason: str) -> None:
        place = self.document.where(path)
        file, _, line = place.rpartition(":")
        order = (file, int(line)) if line.isdecimal() else (place, 0)
        key = ".".join(map(str, path))
        self.problems.add((*order, one_line(f"{place} {key}: {reason}" if key else f"{place}: {reason}", 1000)))


def unmet(requirement: str) -> str | None:
    """Return why an installed environment does not meet a requirement, or None if it does."""
    try:
        wanted = Requirement(requirement)
    except InvalidRequirement:
        return f'{requirement!r} is not a requirement; write it as "sslkit-simclr>=0.1"'
    # An older version's metadata may be left over in front of the plugin's own, and a half uninstalled one has none.
    found = importlib.metadata.distributions(name=wanted.name)
    versions = [version for version in (part.metadata["Version"] for part in found) if version]
    if not versions:
        folder = canonicalize_name(wanted.name).removeprefix("sslkit-")
        clone = f", or in a clone: pip install -e plugins/{folder}" if folder != canonicalize_name(wanted.name) else ""
        return f'{requirement} is not installed: pip install "{requirement}"{clone}'
    if not any(wanted.specifier.contains(version, prereleases=True) for version in versions):
        return f'{requirement} is required, {" and ".join(versions)} is installed: pip install "{requirement}"'
    return None
