"""A name that was read never becomes an import: recipes, cards and checkpoints name registered components only."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

import sslkit
from sslkit import RecipeError, SslkitError, load_backbone, load_recipe

ROOT = Path(sslkit.__file__).parents[1]

# Where code is loaded by a name, and whose name it is.
LOADING = {
    ("sslkit/lazy.py", "import_module"): "the front pages of packages: a table of their own",
    ("sslkit/cli/__init__.py", "import_module"): "commands: a tuple in that file",
    ("sslkit/registry/register.py", "import_module"): "targets that an installed plugin registered",
    ("sslkit/registry/discover.py", "load_module"): "modules that an installed package's entry point names",
    ("sslkit/registry/load.py", "import_module"): "the same",
    ("sslkit/registry/load.py", "exec_module"): "the files that a recipe lists under `plugins`",
    ("sslkit/registry/load.py", "spec_from_file_location"): "the same",
    ("sslkit/registry/options.py", "eval"): "annotations in a plugin's own source",
    ("sslkit/builtin/exporters/onnx.py", "find_spec"): "its own packages: constants",
    ("sslkit/builtin/exporters/onnx.py", "import_module"): "the same",
    ("sslkit/studies/projection.py", "find_spec"): "openTSNE, whether it is there",
    ("sslkit/registry/claims.py", "find_spec"): "whether an entry point's module is there: finds, runs nothing",
    ("sslkit/scaffold.py", "find_spec"): "whether the name of a new package is taken: finds, runs nothing",
    ("sslkit/testing/listing.py", "import_module"): "its own checks: one file for each kind",
    ("plugins/trackers/src/sslkit_trackers/mlflow.py", "import_module"): "the service's library: a constant",
    ("plugins/trackers/src/sslkit_trackers/wandb.py", "import_module"): "the same",
    ("plugins/simclr/src/sslkit_simclr/one_branch.py", "import_module"): "its own operations: constants",
    ("plugins/simclr/src/sslkit_simclr/two_crops.py", "import_module"): "its own operations: constants",
}
_LOADERS = {"import_module", "__import__", "exec_module", "load_module", "find_spec", "spec_from_file_location",
            "run_path", "run_module", "resolve_name", "ImportString"}  # fmt: skip
_BARE = {"eval", "exec", "compile", "__import__"}  # `backbone.eval()` and `re.compile()` are others


def loading_calls():
    for path in [*(ROOT / "sslkit").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            name = (
                called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
            )
            if name in _LOADERS or (isinstance(called, ast.Name) and name in _BARE):
                yield (path.relative_to(ROOT).as_posix(), name), node


def test_row_26_code_is_loaded_by_name_in_few_places():
    assert {place for place, _ in loading_calls()} == set(LOADING)


def test_row_26_in_plugins_the_names_are_written_there():
    """A constant, or one made of the plugin's own package name."""
    for (path, name), call in loading_calls():
        if "one_branch" in path or "two_crops" in path:
            text = ast.unparse(call.args[0])
            assert text.startswith(("'sslkit_simclr.operations.", "f'sslkit_simclr.operations.{")), (
                f"{path}: {name}({text})"
            )


@pytest.fixture
def trap(site, tmp_path):
    """A module on the path that writes a file when anyone imports it."""
    canary = tmp_path / "canary"
    (site / "trap_module.py").write_text(f"open({str(canary)!r}, 'w')\nclass Trap: ...\n")
    yield canary
    assert not canary.exists()
    assert "trap_module" not in sys.modules
    __import__("trap_module")  # it does bite
    assert canary.exists()
    del sys.modules["trap_module"]


NAMES = ["trap_module", "trap_module:Trap", "trap_module.Trap", "local.trap_module", "local.trap_module:Trap",
         "builtin.trap_module:Trap", "import_module('trap_module')", "__import__('trap_module')"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_row_26_a_recipe_that_names_a_module(light, trap, name):
    for slot in ("method", "data", "views", "backbone", "objective", "optimizer", "evaluation"):
        with pytest.raises(RecipeError, match="there is no|no plugin"):
            load_recipe(light(f'"local.{"made" if slot == "data" else slot}"', json.dumps(name)))
    with pytest.raises(RecipeError, match="there is no file"):
        load_recipe(light('plugins = ["light.py"]', f"plugins = [{json.dumps(name)}]"))
    with pytest.raises(RecipeError, match="is not a requirement|is not installed"):
        load_recipe(light('name = "light"', f'name = "light"\nrequires = [{json.dumps(name)}]'))
    with pytest.raises(RecipeError, match="temperature: should be a valid number"):
        load_recipe(light(), [f"pretrain.objective.temperature={json.dumps(name)}"])


@pytest.mark.parametrize("name", NAMES)
def test_row_26_a_card_that_names_a_module(finished, trap, tmp_path, name):
    (tmp_path / "backbone.safetensors").write_bytes((finished / "backbone.safetensors").read_bytes())
    card = json.loads((finished / "backbone.json").read_text())
    for changed in (
        {"backbone": {"name": name, "options": {}}},
        {"backbone": None, "timm": {"model": name, "options": {}}},
    ):
        (tmp_path / "backbone.json").write_text(json.dumps(card | changed))
        with pytest.raises(SslkitError):
            load_backbone(tmp_path)
