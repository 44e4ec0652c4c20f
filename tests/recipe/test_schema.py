"""The JSON schema for editors: up to date, and true of what is shipped."""

import json
import tomllib
from pathlib import Path

import pytest

from sslkit.recipe.schema import json_schema
from sslkit.registry.discover import Registry

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPES = sorted(path for path in (REPOSITORY / "recipes").rglob("*.toml") if path.parent.name != "paper")


@pytest.fixture(scope="module")
def schema():
    shipped = ("builtin", *(path.parent.name for path in REPOSITORY.glob("plugins/*/pyproject.toml")))
    return json_schema(Registry.discover(), shipped)


def test_the_schema_in_the_documentation_is_up_to_date(schema):
    path = REPOSITORY / "docs" / "recipe.schema.json"
    current = path.exists() and json.loads(path.read_text()) == json.loads(json.dumps(schema))
    assert current, "run: python docs/generate.py"


def test_engine_keys_stand_beside_the_components_options(schema):
    variants = {table["properties"]["name"]["const"]: table for table in schema["$defs"]["optimizer"]["anyOf"]}
    lars = variants["simclr.lars"]
    assert {"learning_rate", "weight_decay", "momentum"} <= lars["properties"].keys()
    assert lars["additionalProperties"] is False
    assert all(info.get("description") for info in lars["properties"].values())
    assert schema["properties"]["pretrain"]["anyOf"][0]["properties"]["optimizer"] == {"$ref": "#/$defs/optimizer"}
    assert "$ref" not in json.dumps(schema["$defs"]["optimizer"])


def test_all_references_lead_somewhere(schema):
    def references(part):
        if isinstance(part, dict):
            yield from ([part["$ref"]] if "$ref" in part else [])
        for item in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            yield from references(item)

    found = set(references(schema))
    assert found <= {f"#/$defs/{name}" for name in schema["$defs"]}
    assert len(found) == len(schema["$defs"])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid(schema, path):
    jsonschema = pytest.importorskip("jsonschema")
    recipe = tomllib.loads(path.read_text())
    jsonschema.validate(recipe, schema)
    pretrain, evaluate = recipe.get("pretrain", {}), recipe.get("evaluate", [{}])
    components = (pretrain.get(kind) for kind in ("backbone", "objective", "method"))
    table = next(filter(None, (*components, recipe.get("sweep"), evaluate[0])), recipe)
    table["no_such_option"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(recipe, schema)
    table.pop("no_such_option")
    jsonschema.validate(recipe, schema)
    recipe["seed"] = -1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(recipe, schema)
