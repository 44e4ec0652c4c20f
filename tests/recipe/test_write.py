"""Writing: a resolved recipe read again is the same recipe, complete and self-contained."""

import json
import tomllib
from pathlib import Path

import pytest

from sslkit.recipe.resolve import load_recipe
from sslkit.recipe.write import essential_tree, resolved_toml, resolved_tree

RECIPES = sorted(
    path
    for path in (Path(__file__).resolve().parents[2] / "recipes").rglob("*.toml")
    if "sweeps" not in path.parts  # tests/shipped/test_sweeps.py has those
)


def again(recipe, folder):
    path = folder / "resolved.toml"
    path.write_text(resolved_toml(recipe, {"total_steps": 7}, Path()), encoding="utf-8")
    return load_recipe(path)


def tree_of(recipe):
    """The resolved tree without where data lies, which becomes absolute when it is written."""
    tree = resolved_tree(recipe)
    for table in (tree.get("pretrain", {}), *tree.get("evaluate", ())):
        table.get("data", {}).pop("folder", None)
    return tree


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_resolves_to_itself(path, tmp_path):
    recipe = load_recipe(path)
    second = again(recipe, tmp_path)
    assert tree_of(second) == tree_of(recipe)
    assert second.derived == {"total_steps": 7}
    assert resolved_toml(second, {"total_steps": 7}, Path()) == (tmp_path / "resolved.toml").read_text()


def test_everything_is_filled_in_and_absolute(light, tmp_path):
    path = light(more='features = ["h", "z"]\ndata = { name = "local.read" }\n'
                 '[[pretrain.callbacks]]\nname = "local.callback"\n')  # fmt: skip
    recipe = load_recipe(
        path,
        [
            "pretrain.weights=w.safetensors",
            "pretrain.backbone.options={ a = [1, { b = 2 }] }",
            "pretrain.data.normalize={ mean = [0.5], std = [1] }",
        ],
    )
    written = tomllib.loads(resolved_toml(recipe, {}, Path()))
    assert written["schema"] == 1
    assert written["plugins"] == [str(tmp_path / "light.py")]
    assert written["pretrain"]["weights"] == str(Path.cwd() / "w.safetensors")
    assert written["pretrain"]["views"] == {"name": "local.views", "size": 8, "ratio": [0.5, 1.0]}
    assert written["pretrain"]["backbone"]["options"] == {"a": [1, {"b": 2}]}
    assert written["pretrain"]["optimizer"]["learning_rate_scaling"] == "none"
    assert written["pretrain"]["data"]["normalize"] == {"mean": [0.5], "std": [1.0]}
    other = tmp_path / "elsewhere"
    other.mkdir()
    assert tree_of(again(recipe, other)) == tree_of(recipe)


def test_none_is_left_out(light):
    tree = resolved_tree(load_recipe(light()))

    def values(part):
        if isinstance(part, dict | list):
            for item in part.values() if isinstance(part, dict) else part:
                yield from values(item)
        else:
            yield part

    assert None not in list(values(tree))
    assert "head" not in tree["pretrain"]
    assert "weights" not in tree
    assert json.loads(json.dumps(tree)) == tree


def test_what_a_run_is_known_by_is_not_its_defaults(light):
    recipe = load_recipe(light(), ["pretrain.optimizer.momentum=0.9", "pretrain.objective.temperature=0.7"])
    whole, essential = resolved_tree(recipe)["pretrain"], essential_tree(recipe)["pretrain"]
    assert (whole["optimizer"]["momentum"], whole["objective"]["temperature"]) == (0.9, 0.7)
    assert "momentum" not in essential["optimizer"]
    assert essential["objective"]["temperature"] == 0.7
    assert essential["optimizer"]["learning_rate"] == whole["optimizer"]["learning_rate"]
