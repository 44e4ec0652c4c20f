"""The package that `sslkit new-plugin` writes: names checked, templates filled, nothing overwritten.

Enters: a namespace, a kind, a component's name, a folder. Leaves: a package of a few files that installs, passes its
checks and trains. Called by the command `new-plugin`. The texts lie in `templates/`, one for each file, one for each
kind's component.
"""

from __future__ import annotations

import builtins
import keyword
import re
import sys
from collections.abc import Iterator
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Final, NamedTuple

import sslkit
from sslkit.errors import PluginError
from sslkit.registry.discover import NAMESPACE, RESERVED, Registry
from sslkit.text import one_line

_LONGEST_NAME: Final = 40  # of a name: it comes back in file names, recipes and tables
_OWN_FILES: Final = ("plugin", "__init__", "__main__")


class _Example(NamedTuple):
    """What is written for one kind.

    Attributes:
        component: Its name, unless the author gives one.
        summary: One line for lists.
        keys: Of its table in the recipe, beside `name`.
    """

    component: str
    summary: str
    keys: tuple[str, ...] = ()


EXAMPLES: Final = {
    "objective": _Example("contrast", "Find the other view among those of the batch.", ("temperature = 0.2",)),
    "views": _Example("uneven_light", "Two random crops, each lit unevenly.", ("image_size = 24", "strength = 0.4")),
    "method": _Example("siamese", "One view predicts the other, which is held still.", ("hidden_dim = 64",)),
    "backbone": _Example("convolutions", "Three convolutions and a mean over all places.", ("width = 32",)),
    "head": _Example("cosine_classifier", "The cosine with one direction a class, scaled.", ("scale = 10.0",)),
    "optimizer": _Example(
        "sign_descent", "Steps by the sign of a mean gradient.", ("learning_rate = 3e-4", "weight_decay = 1e-3")
    ),
    "schedule": _Example("line", "A straight line up, and one down.", ("warmup_epochs = 1",)),
    "data": _Example("stripes", "Stripes, whose direction is the class.", ("num_train = 640",)),
    "evaluation": _Example(
        "class_means", "Whose class mean is nearest?", ('features = ["h"]', 'baselines = ["random"]')
    ),
    "exporter": _Example("numpy_arrays", "The weights as plain numpy arrays."),
    "callback": _Example("epoch_table", "One row a pass, for a spreadsheet.", ('columns = ["loss", "learning_rate"]',)),
}

# The header of each kind's table. Those that builtin has no need of are in the recipe for their own kind only.
_HEADERS: Final = {kind: f"[pretrain.{kind}]" for kind in EXAMPLES} | {
    "schedule": "[pretrain.schedule.learning_rate]",
    "callback": "[[pretrain.callbacks]]",
    "evaluation": "[[evaluate]]",
    "exporter": "[[export]]",
}
_OWN_ONLY: Final = ("method", "callback", "exporter")


def write_plugin(
    name: str, kind: str, *, component: str | None = None, into: Path | None = None
) -> tuple[Path, list[Path]]:
    """Write a package with one component, and return its folder and its files.

    Args:
        name: The namespace; the distribution is `sslkit-NAME`, the import name `sslkit_NAME`.
        kind: Of the component, one of `EXAMPLES`.
        component: Its name and that of its file; left out, the example's own.
        into: A folder that is not there or empty; left out, `sslkit-NAME` in the working folder.

    Raises:
        PluginError: A name is taken or cannot be one, or the folder is not free.
    """
    check_namespace(name)
    component = EXAMPLES[kind].component if component is None else component
    check_component(component, kind)
    folder = Path(f"sslkit-{name.replace('_', '-')}") if into is None else into
    texts = dict(plugin_files(name, kind, component))
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise PluginError(f"{folder} is there already, and nothing is overwritten; choose another --into DIR")
        for place, text in texts.items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
    except OSError as error:
        raise PluginError(f"{folder} cannot be written: {one_line(error)}; choose another --into DIR") from error
    return folder, [folder / place for place in texts]


def plugin_files(name: str, kind: str, component: str) -> Iterator[tuple[str, str]]:
    """Yield every file of a package: its place in the folder, and its text.

    Args:
        name: The namespace.
        kind: One of `EXAMPLES`.
        component: The component's name.
    """
    package = f"sslkit_{name}"
    major, minor = sslkit.__version__.split(".")[:2]
    compares = kind in ("objective", "method")  # views with each other; all else can learn from labels
    words = {
        "name": name,
        "kind": kind,
        "component": component,
        "factory": _class_name(component),
        "summary": EXAMPLES[kind].summary,
        "package": package,
        "distribution": f"sslkit-{name.replace('_', '-')}",
        "requirement": f"sslkit>={major}.{minor},<{major}.{int(minor) + 1}",
        "head": "builtin.mlp" if compares else "builtin.classifier",
        "evaluation": "builtin.feature_health" if compares else "builtin.knn",
    }
    source = f"src/{package}"
    for place, text in {
        "pyproject.toml": _template("pyproject.toml"),
        "README.md": _template("README.md"),
        f"{source}/__init__.py": _template("init.py"),
        f"{source}/plugin.py": _template("plugin.py"),
        f"{source}/{component}.py": _template(f"components/{kind}.py"),
        f"{source}/py.typed": "",
        "tests/test_conformance.py": _template("test_conformance.py"),
        "recipe.toml": _recipe(kind, f"{name}.{component}"),
    }.items():
        yield place, Template(text).substitute(words)


def _class_name(component: str) -> str:
    return "".join(word.capitalize() for word in component.split("_"))


def _template(name: str) -> str:
    return (files("sslkit") / "templates" / f"{name}.template").read_text(encoding="utf-8")


def _recipe(kind: str, full_name: str) -> str:
    """Return the recipe's template with the component in its place, and without what has none beside it."""
    kind_of = {header: of for of, header in _HEADERS.items()}
    tables = []
    for table in _template("recipe.toml").strip().split("\n\n"):
        header = table.splitlines()[0]
        of = kind_of.get(header)
        if of == kind:
            tables.append("\n".join([header, f'name = "{full_name}"', *EXAMPLES[kind].keys]))
        elif of not in _OWN_ONLY and not (kind == "method" and of == "objective"):
            tables.append(table)
    return "\n\n".join(tables) + "\n"


def check_namespace(name: str) -> None:
    """Refuse a namespace that cannot be one, or that somebody has.

    Raises:
        PluginError: Says why, and what to type instead.
    """
    _check_spelling("the name of a plugin", name, re.sub(r"^sslkit[-_.]", "", name, flags=re.IGNORECASE))
    if name in RESERVED:
        raise PluginError(f'"{name}" is reserved for sslkit; choose another name')
    if name in sys.stdlib_module_names:
        raise PluginError(f'"{name}" is a module of Python\'s own; choose another name')
    for record in Registry.discover().plugin(name):
        raise PluginError(f'the plugin "{name}" is installed: {record.owner} in {record.location}; choose another name')
    if (spec := find_spec(f"sslkit_{name}")) is not None:
        raise PluginError(f"a package sslkit_{name} is installed: {one_line(spec.origin)}; choose another name")


def check_component(name: str, kind: str) -> None:
    """Refuse a component's name that cannot be one, or that its file or class cannot have.

    Args:
        name: Of the component.
        kind: Whose example is written.

    Raises:
        PluginError: Says why, and what to type instead.
    """
    _check_spelling("the name of a component", name, name)
    if name in _OWN_FILES:
        raise PluginError(f"the package has a file {name}.py of its own; choose another --component")
    if name in sys.stdlib_module_names:
        raise PluginError(f'"{name}" is a module of Python\'s own; choose another --component')
    lines = re.findall(r"^(?:from \S+ import|import|class) (.*)$", _template(f"components/{kind}.py"), re.MULTILINE)
    if (factory := _class_name(name)) in [*dir(builtins), *re.findall(r"\w+", " ".join(lines))]:
        raise PluginError(f"{name}.py needs the name {factory} for something else; choose another --component")


def _check_spelling(what: str, name: str, meant: str) -> None:
    if NAMESPACE.fullmatch(name) and len(name) <= _LONGEST_NAME and not keyword.iskeyword(name) and meant == name:
        return
    better = re.sub(r"[^a-z0-9]+", "_", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", meant).lower()).strip("_")
    better = re.sub(r"^[0-9_]+", "", better)[:_LONGEST_NAME]
    advice = f', such as "{better}"' if better and not keyword.iskeyword(better) else ""
    if keyword.iskeyword(name):
        raise PluginError(f'"{name}" is a word of Python\'s own; choose another name')
    raise PluginError(
        f'"{one_line(name, 60)}": {what} is lower-case letters, digits and _, at most {_LONGEST_NAME}'
        + (", without sslkit in front" if meant != name else "")
        + advice
    )
