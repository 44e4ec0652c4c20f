"""One page for each kind of component: its contract, its smallest example, what it is held to.

Enters: the contracts of `engine/interfaces.py` and `registry/hookspecs.py`, the examples that `sslkit new-plugin`
writes, the checks of `sslkit.testing`. Leaves: the text of a page. Called by `generate.py`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sslkit import scaffold
from sslkit.engine import interfaces
from sslkit.registry.hookspecs import RunHooks
from sslkit.registry.register import ENGINE_ARGUMENTS
from sslkit.testing.listing import checks_of


class _Kind(NamedTuple):
    """What a page says of its kind.

    Attributes:
        heading: Of the page.
        says: What such a component is for, and where it stands in a recipe.
        contract: The class that states it; None where a signature does.
        signature: Of the factory and of what it returns.
    """

    heading: str
    says: str
    contract: Any
    signature: str


KINDS: Final[dict[str, _Kind]] = {
    "views": _Kind(
        "Views",
        "A view generator makes V views of every image. It draws all random numbers on the host, crops in the loader's "
        "workers and changes pixels on the device. It stands under `[pretrain.views]`.",
        interfaces.Views,
        "",
    ),
    "backbone": _Kind(
        "Backbones",
        "A backbone is what is kept: images to features. It stands under `[pretrain.backbone]`.",
        interfaces.Backbone,
        "",
    ),
    "head": _Kind(
        "Heads",
        "A head turns features into what the objective compares; it is dropped afterwards. It stands under "
        "`[pretrain.head]`.",
        interfaces.Head,
        "",
    ),
    "objective": _Kind(
        "Objectives",
        "An objective is the loss of projections. It stands under `[pretrain.objective]`. "
        "[Write a loss](../../how_to/write_a_loss.md) begins with a file of ten lines.",
        interfaces.Objective,
        "",
    ),
    "method": _Kind(
        "Methods",
        "A method turns a batch of views into a loss. Its positional parameters decide which tables a recipe needs: "
        "backbone, head, objective. It stands under `[pretrain.method]`; without one, `builtin.joint_embedding` hands "
        "the projections of all views to the objective.",
        interfaces.Method,
        "",
    ),
    "optimizer": _Kind(
        "Optimizers",
        "An optimizer is torch's, made from groups: weights, and norms and biases. The engine writes `lr` and "
        "`weight_decay` into both before every step, scaled and scheduled; `adapt` says whether a layer-wise rate is "
        "meant for the group. It stands under `[pretrain.optimizer]`.",
        None,
        "def optimizer(params: Iterable[Mapping[str, Any]], *, ...) -> torch.optim.Optimizer: ...",
    ),
    "schedule": _Kind(
        "Schedules",
        "A schedule is a factor on a base value, a pure function of the progress. It stands under "
        "`[pretrain.schedule.learning_rate]` or `[pretrain.schedule.weight_decay]`.",
        interfaces.Progress,
        "def schedule(*, ...) -> Callable[[Progress], float]: ...",
    ),
    "data": _Kind(
        "Data",
        "Data are splits of images and labels. They stand under `[pretrain.data]` and under `[evaluate.data]`; "
        "`--data-root` and the key `folder` make the `root`.",
        interfaces.Data,
        "",
    ),
    "evaluation": _Kind(
        "Evaluations",
        "An evaluation measures frozen weights on labelled data. It stands under `[[evaluate]]`. "
        "[Write an evaluation](../../how_to/write_an_evaluation.md) tells more.",
        interfaces.Pretrained,
        "def evaluation(*, ...) -> Callable[[Pretrained, Data], Outcome]: ...",
    ),
    "exporter": _Kind(
        "Exporters",
        "An exporter writes the weights in another format and returns the files. It stands under `[[export]]`, and is "
        "what `sslkit export` calls.",
        None,
        "def exporter(*, ...) -> Callable[[Pretrained, Path], list[Path]]: ...",
    ),
    "callback": _Kind(
        "Callbacks",
        "A callback watches a run: it has methods marked with `hookimpl`, which take only the arguments they need. It "
        "stands under `[[pretrain.callbacks]]`. What changes the mathematics is no callback.",
        RunHooks,
        "",
    ),
}


def kind_page(kind: str, notice: str) -> str:
    """Return the page of a kind."""
    about = KINDS[kind]
    files = dict(scaffold.plugin_files("mine", kind, scaffold.EXAMPLES[kind].component))
    given = ENGINE_ARGUMENTS[kind]
    arguments = (
        f"The engine gives a factory what it declares, positionally, of: {', '.join(f'`{g}`' for g in given)}."
        if given
        else "The engine gives a factory of this kind nothing: all its parameters are options."
    )
    lines = [
        notice,
        f"# {about.heading}",
        "",
        about.says,
        "",
        arguments,
        "Keyword-only parameters are the recipe's options, with the types, ranges and docstrings of their annotations.",
        "What sslkit and its plugins bring of this kind: [components](../components.md).",
        "",
        "## The contract",
        "",
    ]
    if about.signature:
        lines += ["```python", f"# {about.signature}", "```", ""]
    if about.contract is not None:
        lines += ["```python", inspect.getsource(about.contract).rstrip(), "```", ""]
    lines += [
        "## The smallest example",
        "",
        f"`sslkit new-plugin mine --kind {kind}` writes this package. It installs, trains and passes its checks.",
        "",
    ]
    for place in (path for path in files if path.endswith((".py", ".toml")) and files[path].strip()):
        if place.startswith("tests/") or place.endswith("__init__.py"):
            continue
        language = "toml" if place.endswith(".toml") else "python"
        lines += [f"`{place}`", "", f"```{language}", files[place].rstrip(), "```", ""]
    lines += [
        "## What it is held to",
        "",
        'The checks of `sslkit.testing.plugin_checks("mine")` for this kind, beside those of the plugin itself:',
        "",
        "| check | what it asks |",
        "| --- | --- |",
        *(f"| {name} | {_first_line(check)} |" for name, check in checks_of(kind).items()),
        "",
    ]
    return "\n".join(lines)


def _first_line(check: Callable[..., Any]) -> str:
    text = inspect.getdoc(check) or ""
    return re.sub(r"\s+", " ", text.partition("\n\n")[0]).replace("|", "\\|")
