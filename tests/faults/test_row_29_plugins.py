"""A plugin is code. Whose it is that runs, the recipe says: no other plugin is even imported."""

from __future__ import annotations

import json
import sys

import pytest

from sslkit import PluginError, RecipeError, load_backbone, load_recipe, run
from sslkit.registry.discover import Registry

HEAD = "from sslkit import hookimpl\nSSLKIT_API = 1\n@hookimpl\ndef sslkit_register(register):\n    "


@pytest.fixture
def malicious(install, tmp_path):
    """An installed plugin that writes a file when it is imported."""
    canary = tmp_path / "canary"
    install("malicious", f"open({str(canary)!r}, 'w')\n{HEAD}register.head('h', 'json:loads', summary='')")
    return canary


def test_row_29_a_recipe_loads_the_plugins_that_it_names(install, light, malicious):
    module = install("wanted")
    recipe = load_recipe(light('"local.objective"', '"wanted.loss"'))
    assert recipe.pretrain.objective.component.owner == "toy-wanted 1.0"
    assert module in sys.modules
    assert not malicious.exists()


def test_row_29_a_run_and_its_weights_load_no_other_plugin(recipe_file, malicious, tmp_path):
    folder = run(recipe_file(), into=tmp_path / "run").folder
    load_backbone(folder)
    assert not malicious.exists()


def test_row_29_who_lists_or_names_it_loads_it(malicious):
    assert Registry.discover().get("optimizer", "builtin.sgd")
    assert not malicious.exists()
    Registry.discover().components("head")
    assert malicious.exists()
    malicious.unlink()
    for module in [
        name for name, found in sys.modules.items() if getattr(found, "__file__", None) and "toy_mod" in name
    ]:
        del sys.modules[module]
    assert Registry.discover().get("head", "malicious.h")
    assert malicious.exists()


def test_row_29_an_environment_variable_changes_nothing(light, malicious, monkeypatch):
    """What takes part is the recipe's to say, and nobody else's."""
    for name in ("SSLKIT_PLUGINS", "SSLKIT_NO_PLUGINS", "SSLKIT_PLUGIN_PATH", "PYTEST_PLUGINS"):
        monkeypatch.setenv(name, "malicious")
    load_recipe(light())
    assert not malicious.exists()


def test_row_29_a_broken_plugin_is_isolated_and_named(install, light):
    install("broken", "1 / 0")
    load_recipe(light())
    with pytest.raises(RecipeError, match=r'plugin "broken" \(toy-broken 1\.0\) is there but .* ZeroDivisionError'):
        load_recipe(light('"local.objective"', '"broken.loss"'))
    with pytest.raises(PluginError, match="broken"):
        Registry.discover().get("head", "broken.h")


def test_row_29_the_run_says_whose_code_it_was(recipe_file, tmp_path):
    folder = run(recipe_file(), into=tmp_path / "run").folder
    environment = json.loads((folder / "environment.json").read_text())
    assert len(environment["plugin_records"]["sslkit"]) == 64
    plugins = environment["plugins"]
    assert any("the file toy_plugin.py" in str(plugin) for plugin in plugins)
    assert any("sslkit" in str(plugin) for plugin in plugins)
