"""What several rooms' tests need: what pip leaves behind, a recipe of light components, the commands in a process."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from hypothesis import HealthCheck, settings

# The same examples every time, however slow the machine is.
settings.register_profile("sslkit", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sslkit")

REPOSITORY = Path(__file__).resolve().parent.parent

GOOD_PLUGIN = """
from sslkit import hookimpl
SSLKIT_API = 1
@hookimpl
def sslkit_register(register):
    register.objective("loss", "{module}:Loss", summary="a loss")
class Loss:
    def __init__(self, *, scale: float = 1.0): self.scale = scale
"""

LIGHT_PLUGIN = '''
"""One component of each kind that a recipe names, without torch."""
from __future__ import annotations
from typing import Annotated, Any, Literal
from annotated_types import Gt, Interval
from sslkit import hookimpl
SSLKIT_API = 1

@hookimpl
def sslkit_register(register):
    for kind in ("views", "backbone", "head", "objective", "method", "optimizer", "schedule", "evaluation",
                 "exporter", "callback"):
        getattr(register, kind)(kind, f"light:{kind}", summary=f"a light {kind}")
    register.method("whole", "light:whole", summary="needs no parts")
    register.data("made", "light:made", summary="reads no folder")
    register.data("read", "light:read", summary="reads a folder")
    register.objective("other", "light:other", summary="with another option")

def views(*, size: Annotated[int, Gt(0)] = 8, ratio: tuple[float, float] = (0.5, 1.0)): ...
def backbone(*, model: str, depth: Literal[1, 2] = 1, options: dict[str, Any] = {}): ...
def head(in_dim, *, width: int | None = None): ...
def objective(dim, *, temperature: Annotated[float, Interval(gt=0, le=10)] = 0.5): ...
def other(*, margin: float = 1.0): ...
def method(backbone, objective, head=None, *, weight: float = 1.0): ...
def whole(*, weight: float = 1.0): ...
def optimizer(params, *, momentum: float = 0.9): ...
def schedule(*, warmup: float = 0.0): ...
def evaluation(*, k: int = 20): ...
def exporter(*, quiet: bool = False): ...
def callback(*, every: int = 1): ...
def made(*, amount: int = 10): ...
def read(root, *, labels: Literal["folders", "none"] = "folders"): ...
'''

LIGHT_RECIPE = """\
schema = 1
name = "light"
plugins = ["light.py"]

[pretrain]
epochs = 2
batch_size = 4

[pretrain.method]
name = "local.method"

[pretrain.data]
name = "local.made"

[pretrain.views]
name = "local.views"

[pretrain.backbone]
name = "local.backbone"
model = "tiny"

[pretrain.objective]
name = "local.objective"

[pretrain.optimizer]
name = "local.optimizer"
learning_rate = 0.1

[[evaluate]]
name = "local.evaluation"
"""

_numbers = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory):
    """Keep caches out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a folder on sys.path, as pip's target folder is."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def install(site):
    """Return a function that leaves in `site` what pip would: a module and its dist-info; it returns the module."""

    def leave(namespace, code=GOOD_PLUGIN, *, distribution=None, version="1.0", folder=site, module=None):
        distribution = distribution or f"toy-{namespace}"
        if module is None:
            module = f"toy_module_{next(_numbers)}"
            (folder / f"{module}.py").write_text(code.replace("{module}", module), encoding="utf-8")
        info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[sslkit]\n{namespace} = {module}\n")
        return module

    return leave


@pytest.fixture
def light(tmp_path):
    """Return a function that writes the light recipe, one text in it exchanged, and returns its path."""
    (tmp_path / "light.py").write_text(LIGHT_PLUGIN)

    def write(old="", new="", *, name="light.toml", more=""):
        assert old in LIGHT_RECIPE
        path = tmp_path / name
        path.write_text((LIGHT_RECIPE.replace(old, new) if old else LIGHT_RECIPE) + more, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def command():
    """Return a function that runs `sslkit ARGUMENTS` in a process of its own and returns what it said."""

    def run(*arguments, paths=(), **options):
        path = os.pathsep.join(map(str, [*paths, REPOSITORY, REPOSITORY / "plugins" / "simclr" / "src"]))
        environment = options.pop("env", os.environ) | {"PYTHONPATH": path}
        line = [sys.executable, "-m", "sslkit", *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=120, **options)

    return run


@pytest.fixture
def write_run(tmp_path):
    """Return a function that leaves a finished run's folder, as the engine does, and returns it.

    Each result is a row of `metrics.json` beside its predictions; `options` are those of its `[[evaluate]]` table.
    """

    def write(place, *results, seed=0, more="", status="finished"):
        folder = tmp_path / place
        (folder / "evaluate").mkdir(parents=True)
        by_index = {}
        for given in results:
            row = {"evaluation": "builtin.knn", "data": "builtin.shapes", "split": "test", "features": "h",
                   "weights": "pretrained", "metric": "top1", "interval": None, "seed": seed, "index": 0, "n": 4,
                   "data_fingerprint": "aaaa", "options": ""} | given  # fmt: skip
            by_index.setdefault(row["index"], []).append(row)
        recipe = f'schema = 1\nname = "toy"\nseed = {seed}\n{more}\n'
        for index, rows in sorted(by_index.items()):
            recipe += f'[[evaluate]]\nname = "{rows[0]["evaluation"]}"\n{rows[0]["options"]}\n'
            of_index = folder / "evaluate" / f"{index}-{rows[0]['evaluation']}"
            of_index.mkdir()
            arrays = {}
            for row in rows:
                del row["options"]
                stored = row.pop("stored", {})
                row["predictions"] = f"{row['weights']}.{row['features']}.{row['seed']}"
                arrays |= {f"{row['predictions']}.{name}": array for name, array in stored.items()}
            numpy.savez(of_index / "predictions.npz", **arrays)
            (of_index / "metrics.json").write_text(json.dumps({"results": rows}))
        (folder / "resolved.toml").write_text(recipe)
        if status == "finished":
            (folder / "summary.json").write_text(json.dumps({"status": status, "name": "toy", "seconds": 1.5}))
        else:
            (folder / "status.json").write_text(json.dumps({"status": status, "reason": "because"}))
        return folder

    return write
