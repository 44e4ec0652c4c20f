"""`sslkit components`: the list, and a table to paste that really passes."""

import json
import re

import pytest

from sslkit.__main__ import main
from sslkit.recipe.resolve import load_recipe
from sslkit.registry.discover import Registry
from sslkit.registry.register import KINDS

COMPONENTS = sorted(
    {(c.kind, c.name) for c in Registry.discover().components() if c.name.split(".")[0] in ("builtin", "simclr")}
)


def shown(capsys, *arguments):
    assert main(["components", *arguments]) == 0
    return capsys.readouterr().out


def test_the_list_goes_by_kind_and_names_owners(capsys):
    everything = shown(capsys).splitlines()
    kinds = [line for line in everything if not line.startswith(" ")]
    assert [kind for kind in KINDS if kind in kinds] == kinds
    objectives = shown(capsys, "objective").splitlines()
    assert objectives[0] == "objective"
    assert [line.split() for line in objectives] == [
        line.split() for line in everything[everything.index("objective") : everything.index("method")]
    ]
    assert any(re.search(r"^  simclr\.nt_xent +sslkit-simclr \S+  \S", line) for line in objectives)


def test_the_list_ends_with_what_cannot_be_used(capsys, install):
    install("shaky", "1 / 0")
    last = shown(capsys).splitlines()[-1]
    assert last.startswith("cannot be used: shaky (toy-shaky 1.0): ZeroDivisionError: division by zero (toy_module_")


def test_the_list_for_a_program(capsys, install):
    install("good", version="1.5")
    install("hollow", "from sslkit import hookimpl\nSSLKIT_API = 1\n@hookimpl\ndef sslkit_register(register):\n"
            "    register.objective('gone', 'no_such_package:X', summary='')")  # fmt: skip
    said = json.loads(shown(capsys, "objective", "--json"))
    assert said["schema"] == 1
    rows = {row["name"]: row for row in said["components"]}
    good = rows["good.loss"]
    assert (good["owner"], good["version"], good["kind"], good["reason"]) == ("toy-good", "1.5", "objective", "")
    assert good["options"] == [{"name": "scale", "type": "number", "required": False, "default": 1.0, "doc": ""}]
    assert "No module named 'no_such_package'" in rows["hollow.gone"]["reason"]
    assert rows["builtin.cross_entropy"]["engine"] == ["dim", "num_classes"]
    (one,) = json.loads(shown(capsys, "builtin.cosine", "--json"))["components"]
    assert [option["name"] for option in one["options"]] == ["warmup_epochs", "final_factor"]
    assert one["options"][0]["doc"] == "Epochs of linear warm-up; 0 starts at the full value."


def test_one_component(capsys):
    text = shown(capsys, "simclr.nt_xent")
    assert re.search(r"^defined in \S+nt_xent\.py:\d+$", text, re.MULTILINE)
    assert re.search(r"^  temperature: number >.*, default 0\.\d+\n      \w+", text, re.MULTILINE)
    assert '[pretrain.objective]\nname = "simclr.nt_xent"\ntemperature = ' in text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nt_xent", 'there is no component "nt_xent"; did you mean "simclr.nt_xent"?'),
        ("objectiv", 'there is no component "objectiv"; did you mean "objective"?'),
        ("shaky.loss", 'plugin "shaky" (toy-shaky 1.0) cannot be used: ZeroDivisionError: division by zero'),
    ],
)
def test_unknown_names(capsys, install, name, message):
    install("shaky", "1 / 0")
    assert main(["components", name]) == 2
    assert re.sub(r" \(\w+\.py:\d+\)", "", capsys.readouterr().err) == f"error: {message}\n"


def test_a_component_that_cannot_be_imported(capsys, install):
    install("hollow", "from sslkit import hookimpl\nSSLKIT_API = 1\n@hookimpl\ndef sslkit_register(register):\n"
            "    register.objective('gone', 'no_such_package:X', summary='')")  # fmt: skip
    assert main(["components", "hollow.gone"]) == 2
    assert "No module named 'no_such_package'; see: sslkit components hollow.gone -v" in capsys.readouterr().err


REQUIRED = {
    "learning_rate": "0.1",
    "model": '"resnet18"',
    "dataset": '"cifar10"',
    "name": '"x"',
    "train": '"train"',
    "operations": '["colour"]',
    "teacher": '"runs/teacher"',
    "groups": "[{ num_views = 2 }]",
    "project": '"x"',
}
UNNEEDED = {"simclr.distillation": ["objective"]}  # what a method has no use for
HEADERS = {
    "schedule": "[pretrain.schedule.learning_rate]",
    "callback": "[[pretrain.callbacks]]",
    "evaluation": "[[evaluate]]",
    "exporter": "[[export]]",
}
TABLES = {
    "data": 'name = "builtin.shapes"',
    "views": 'name = "simclr.two_crops"',
    "backbone": 'name = "builtin.timm"\nmodel = "resnet18"',
    "head": 'name = "simclr.mlp"',
    "objective": 'name = "simclr.nt_xent"',
    "optimizer": 'name = "builtin.sgd"\nlearning_rate = 0.1',
}


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_the_table_to_paste_passes(capsys, tmp_path, kind, name):
    text = shown(capsys, name)
    snippets = [part.partition("\n\n")[0] for part in text.split("to paste into a recipe:\n\n")[1:]]
    header = HEADERS.get(kind, f"[pretrain.{kind}]")
    (snippet,) = [part for part in snippets if part.startswith(f"{header}\n")]
    filled = re.sub(
        r"^(\w+) = \.\.\..*$", lambda match: f"{match[1]} = {REQUIRED[match[1]]}", snippet, flags=re.MULTILINE
    )
    others = {slot: table for slot, table in TABLES.items() if slot not in (kind, *UNNEEDED.get(name, ()))}
    tables = "\n".join(f"[pretrain.{slot}]\n{table}" for slot, table in others.items())
    path = tmp_path / "pasted.toml"
    path.write_text(f'schema = 1\nname = "pasted"\n[pretrain]\nepochs = 1\nbatch_size = 8\n{tables}\n{filled}\n')
    recipe = load_recipe(path)
    assert name in [choice.component.name for choice in recipe.choices()]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("simclr", '"simclr" is a plugin and no component; type: sslkit plugins simclr'),
        ("nowhere.loss", 'there is no component "nowhere.loss": no plugin "nowhere" is installed; see: sslkit plugins'),
    ],
)
def test_a_name_of_a_plugin_that_is_there_or_not_is_told(command, name, said):
    shown = command("components", name)
    assert shown.returncode == 2
    assert shown.stderr == f"error: {said}\n"
