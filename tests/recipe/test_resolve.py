"""Resolving: every problem of a recipe at once, each with its place; and what a good one resolves to."""

import importlib.metadata
import re

import pytest

from sslkit.errors import RecipeError
from sslkit.recipe.resolve import load_recipe, unmet


def problems(path, *overrides):
    """Return the problems without the folder of the recipe."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    assert all("\n" not in problem for problem in caught.value.problems)
    return [problem.replace(f"{path.parent}/", "") for problem in caught.value.problems]


def test_a_good_recipe(light):
    recipe = load_recipe(light(), ["pretrain.views.size=16"])
    plan = recipe.pretrain
    assert (recipe.name, recipe.seed, recipe.overrides) == ("light", 0, ("pretrain.views.size=16",))
    assert (plan.epochs, plan.batch_size, plan.precision, plan.weights) == (2, 4, "float32", None)
    assert plan.views.options == {"size": 16, "ratio": (0.5, 1.0)}
    assert plan.optimizer.options == {"momentum": 0.9}
    assert plan.optimizer.keys == {"learning_rate": 0.1, "learning_rate_scaling": "none", "weight_decay": 0.0}
    assert (plan.head, plan.schedules, plan.callbacks) == (None, {}, ())
    (evaluation,) = recipe.evaluate
    assert (evaluation.features, evaluation.baselines, evaluation.data) == (("h",), (), None)
    assert plan.objective.path == "pretrain.objective"
    assert [choice.component.name for choice in recipe.choices()] == [
        f"local.{name}" for name in ("made", "views", "method", "backbone", "objective", "optimizer", "evaluation")
    ]


def child_of(path, text):
    child = path.with_name("child.toml")
    child.write_text(f'extends = "{path.name}"\n{text}', encoding="utf-8")
    return child


WHOLE = '[pretrain.method]\nname = "local.whole"\n'


def test_a_new_method_leaves_out_what_it_has_no_use_for(light):
    path = light()
    plan = load_recipe(child_of(path, WHOLE)).pretrain
    assert (plan.method.component.name, plan.backbone, plan.objective) == ("local.whole", None, None)
    assert load_recipe(path, ["pretrain.method.name=local.whole"]).pretrain.objective is None
    again = child_of(path, WHOLE).rename(path.with_name("whole.toml"))
    assert load_recipe(child_of(again, 'name = "grandchild"')).pretrain.objective is None
    back = child_of(again, '[pretrain.method]\nname = "local.method"\n')
    assert load_recipe(back).pretrain.objective.component.name == "local.objective"


def test_what_is_written_for_the_new_method_is_still_surplus(light):
    path = light()
    child = child_of(path, WHOLE + '[pretrain.backbone]\nmodel = "large"\n')
    assert problems(child) == [
        "child.toml:4 pretrain.backbone: the method local.whole takes no backbone; leave the table out"
    ]
    own = child_of(path, WHOLE).rename(path.with_name("whole.toml"))
    assert "takes no backbone" in problems(child_of(own, '[pretrain.backbone]\nmodel = "large"\n'))[0]
    overrides = ["pretrain.method.name=local.whole", "pretrain.backbone.model=large"]
    assert "takes no backbone" in problems(path, *overrides)[0]


def test_all_problems_at_once_in_the_order_of_the_file(light):
    path = light("epochs = 2\nbatch_size = 4", 'epochs = "2"\nbatch_size = 0\nepoch = 3', more="k = true\nkk = 1\n")
    path.write_text(path.read_text().replace('"local.objective"', '"local.objektive"').replace('model = "tiny"', ""))
    assert problems(path) == [
        'light.toml:6 pretrain.epochs: should be a valid integer, got "2"',
        "light.toml:7 pretrain.batch_size: should be greater than 0, got 0",
        'light.toml:8 pretrain.epoch: unknown key; did you mean "epochs"?',
        "light.toml:19 pretrain.backbone.model: is required",
        'light.toml:24 pretrain.objective.name: there is no objective "local.objektive"; '
        'did you mean "local.objective"?; see: sslkit components objective',
        "light.toml:32 evaluate.0.k: should be a valid integer, got true",
        'light.toml:33 evaluate.0.kk: unknown key; did you mean "k"?',
    ]


HEAD = '[pretrain.head]\nname = "local.head"\n'
ONE = [
    ("schema = 1", "schema = 2", "light.toml:1 schema: should be 1, got 2"),
    ("schema = 1", "schem = 1", 'light.toml:1 schem: unknown key; did you mean "schema"?'),
    ('name = "light"', 'name = "a/b"', "light.toml:2 name: String should match pattern"),
    ('name = "light"', "", "light.toml name: is required"),
    ('name = "light"', 'name = "light"\nextend = "x"', 'light.toml:3 extend: unknown key; did you mean "extends"?'),
    ('name = "light"', 'name = "light"\nweights = "w"', "light.toml:3 weights: belongs inside [pretrain]"),
    ('name = "light"', 'name = "light"\nseed = -1', "light.toml:3 seed: should be greater than or equal to 0"),
    ('["light.py"]', '["light.py", "lost.py"]', "light.toml:3 plugins.1: there is no file "),
    ('["light.py"]', '["light.py", "./light.py"]', "light.toml:3 plugins.1: two files are called light.py; rename one"),
    ('["light.py"]', '["light.py", 3]', "light.toml:3 plugins.1: should be a valid string, got 3"),
    ("epochs = 2", "epochs = 2\npartial_weights = true", "light.toml:7 pretrain.partial_weights: there are no weights"),
    ("[pretrain.data]", "[pretrain.dat]", 'light.toml:12 pretrain.dat: unknown key; did you mean "data"?'),
    ("[pretrain.data]", "[pretrain.dat]", "light.toml:5 pretrain.data: is required"),
    ('name = "local.made"', 'nam = "local.made"', 'light.toml:13 pretrain.data.nam: unknown key; did you mean "name"?'),
    ('name = "local.made"', 'name = "local.views"', "pretrain.data.name: local.views is a component of kind views"),
    ('name = "local.made"', "name = 3", "light.toml:13 pretrain.data.name: should be a valid string, got 3"),
    ('name = "local.made"', 'name = "local.made"\nfolder = "x"', "light.toml:14 pretrain.data.folder: local.made"),
    ('name = "local.made"', 'name = "local.read"\nfoldr = "x"', 'data.foldr: unknown key; did you mean "folder"?'),
    ('name = "local.made"', 'name = "local.made"\nqq = 1', "unknown key; known here: amount, name, folder, normalize"),
    ('name = "local.made"', 'name = "local.made"\nnormalize.mean = [0.5]', ":14 pretrain.data.normalize.std: is req"),
    ('name = "local.made"', 'name = "local.made"\nnormalize = {men = [0.5], std = [0]}', 'did you mean "mean"?'),
    ("[pretrain.objective]", "[pretrain.objectiv]", "pretrain.objective: is required by the method local.method"),
    ('"local.method"', '"local.whole"', ":18 pretrain.backbone: the method local.whole takes no backbone"),
    ('"local.method"', '"nowhere.method"', ':10 pretrain.method.name: there is no method "nowhere.method": no'),
    ("[[evaluate]]", HEAD + "wdith = 3\n[[evaluate]]", ':31 pretrain.head.wdith: unknown key; did you mean "width"?'),
    ("[[evaluate]]", '[pretrain.schedule.learning_rat]\nname = "local.schedule"\n[[evaluate]]',
     'light.toml:29 pretrain.schedule.learning_rat: unknown key; did you mean "learning_rate"?'),
    ("[[evaluate]]", '[pretrain.schedule.learning_rate]\nname = "local.schedule"\nwarmupp = 1\n[[evaluate]]',
     'light.toml:31 pretrain.schedule.learning_rate.warmupp: unknown key; did you mean "warmup"?'),
    ("[[evaluate]]", '[[pretrain.callbacks]]\nname = "local.callback"\nevry = 1\n[[evaluate]]',
     'light.toml:31 pretrain.callbacks.0.evry: unknown key; did you mean "every"?'),
    ("[[evaluate]]", '[[export]]\nname = "local.exporter"\nquit = 1\n[[evaluate]]', ":31 export.0.quit: unknown"),
    ("[[evaluate]]", "[[evaluat]]", 'light.toml:29 evaluat: unknown key; did you mean "evaluate"?'),
    ('name = "local.evaluation"', 'name = "local.evaluation"\nfeatures = []', "light.toml:31 evaluate.0.features: "),
    ('name = "local.evaluation"', 'name = "local.evaluation"\nbaselines = ["chance"]', ":31 evaluate.0.baselines.0"),
    ('name = "local.evaluation"', 'name = "local.evaluation"\ndata = {name = "local.rad"}', ":31 evaluate.0.data.name"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), ONE, ids=[new[:30] for _, new, _ in ONE])
def test_one_problem(light, old, new, expected):
    assert any(expected in problem for problem in problems(light(old, new)))


def test_parts_that_are_no_tables(light, tmp_path):
    for text in ("pretrain = 3", "evaluate = 3", "evaluate = [3]", "[pretrain]\nmethod = 3", "plugins = 3",
                 "requires = [3]", "[pretrain]\nschedule = 3", "[pretrain]\ncallbacks = {}", "export = [[]]",
                 "derived = 3", "[pretrain]\ndata = []", "[pretrain.schedule]\nlearning_rate = 3"):  # fmt: skip
        path = tmp_path / "odd.toml"
        path.write_text(f"schema = 1\nname = 'x'\n{text}\n")
        found = problems(path)
        assert any(text.split()[0].strip("[]") in problem for problem in found), (text, found)


def test_a_mistyped_name_does_not_blame_the_options(light):
    found = problems(light('name = "local.backbone"', 'nmae = "local.backbone"'))
    assert not any("model" in problem for problem in found)
    assert 'light.toml:19 pretrain.backbone.nmae: unknown key; did you mean "name"?' in found


def test_overrides_are_named(light):
    assert problems(light(), "pretrain.epoch=3", "evaluate.0.k=x") == [
        'override evaluate.0.k: should be a valid integer, got "x"',
        'override pretrain.epoch: unknown key; did you mean "epochs"?',
    ]


EVALUATION = 'schema = 1\nname = "only"\nplugins = ["light.py"]\n{}[[evaluate]]\nname = "local.evaluation"\n{}'


def test_a_recipe_that_only_evaluates(light, tmp_path):
    light()
    path = tmp_path / "only.toml"
    path.write_text(EVALUATION.format('weights = "w"\n', 'data = {name = "local.read", folder = "x"}\n'))
    recipe = load_recipe(path)
    assert recipe.pretrain is None
    assert recipe.weights == str(tmp_path / "w")
    assert recipe.evaluate[0].data.keys["folder"] == "x"
    path.write_text(EVALUATION.format("", ""))
    assert problems(path) == [
        "only.toml:4 evaluate.0: data is required without [pretrain]: add data = { name = ... }",
    ]
    path.write_text('schema = 1\nname = "nothing"\n')
    assert problems(path) == ["only.toml: needs a [pretrain] table, or weights = ... and [[evaluate]] tables"]


def test_escape_sequences_in_a_recipe_never_reach_the_terminal(light):
    path = light('name = "local.made"', 'name = "\\u001b[31m.x\\ny"\n"\\u001b]0;k" = "\\u009b"')
    found = problems(path)
    assert len(found) == 1
    assert r"\x1b[31m.x y" in found[0]
    assert not set("\x1b\x9b\n") & set("".join(found))


def test_a_broken_plugin_stops_only_the_recipe_that_names_it(install, light):
    install("shaky", "1 / 0")
    install("steady")
    load_recipe(light())
    load_recipe(light('"local.objective"', '"steady.loss"'))
    (problem,) = problems(light('"local.objective"', '"shaky.loss"'))
    assert problem.startswith("light.toml:23 pretrain.objective.name: ")
    assert "ZeroDivisionError: division by zero" in problem


def test_a_broken_file_that_is_listed_is_a_mistake_whether_or_not_it_is_used(light, tmp_path):
    (tmp_path / "broken.py").write_text("\n1 / 0")
    path = light('["light.py"]', '["light.py", "broken.py"]')
    said = "light.toml:3 plugins.1: ZeroDivisionError: division by zero (broken.py:2)"
    assert problems(path) == [said]
    assert said in problems(path, "pretrain.objective.name=local.lost")
    (tmp_path / "twice.py").write_text((tmp_path / "light.py").read_text())
    (problem,) = problems(light('["light.py"]', '["light.py", "twice.py"]'))
    assert re.search(r"plugins\.1: .* is registered by the file light\.py already", problem)


def test_requires(light, install):
    install("steady", distribution="steady-plugin", version="1.5")
    load_recipe(light('name = "light"', 'name = "light"\nrequires = ["steady-plugin>=1,<2", "Steady.Plugin"]'))
    path = light('name = "light"', 'name = "light"\nrequires = ["steady-plugin>=2", "no_such_thing", "= 3"]')
    assert [problem.partition(": ")[0] for problem in problems(path)] == [
        f"light.toml:3 requires.{n}" for n in range(3)
    ]
    assert unmet("steady-plugin>=2").startswith("steady-plugin>=2 is required, 1.5 is installed: pip install")
    assert unmet("no_such_thing") == 'no_such_thing is not installed: pip install "no_such_thing"'
    assert unmet("sslkit-nowhere>=0.1").endswith("or in a clone: pip install -e plugins/nowhere")
    assert "is not a requirement" in unmet("= 3")
    assert unmet(f"pytest=={importlib.metadata.version('pytest')}") is None


def test_metadata_that_an_older_version_has_left_behind_meets_nothing_and_hides_nothing(install, site):
    install("steady", distribution="steady-plugin", version="2.0")
    left = site / "steady_plugin-1.0.dist-info"
    left.mkdir()
    assert unmet("steady-plugin>=2") is None
    (left / "METADATA").write_text("Metadata-Version: 2.1\nName: steady-plugin\nVersion: 1.0\n", encoding="utf-8")
    assert unmet("steady-plugin>=2") is None
    assert "is required" in unmet("steady-plugin>=3")


def test_a_component_that_cannot_be_imported_is_a_problem_not_a_traceback(install, light):
    install("hollow", "from sslkit import hookimpl\nSSLKIT_API = 1\n@hookimpl\ndef sslkit_register(register):\n"
            "    register.objective('gone', 'no_such_package:X', summary='')")  # fmt: skip
    (problem,) = problems(light('"local.objective"', '"hollow.gone"'))
    assert problem.startswith(
        "light.toml:23 pretrain.objective.name: objective hollow.gone of toy-hollow 1.0 cannot be"
    )


def test_an_option_that_an_engine_key_hides_is_refused(light, tmp_path):
    (tmp_path / "hides.py").write_text(
        "from sslkit import hookimpl\nSSLKIT_API = 1\ndef quick(params, *, weight_decay: float = 0.5): ...\n@hookimpl\n"
        "def sslkit_register(register): register.optimizer('quick', 'hides:quick', summary='hides a key')\n"
    )
    path = light('["light.py"]', '["light.py", "hides.py"]')
    (problem,) = problems(path, "pretrain.optimizer.name=local.quick", "pretrain.optimizer.learning_rate=1.0")
    assert "optimizer local.quick of the file hides.py: its option 'weight_decay' is a key of the engine" in problem


def test_a_name_is_set_before_what_is_said_of_its_table(light):
    overrides = ["pretrain.optimizer.learning_rate=0.25", "pretrain.optimizer.name=builtin.adamw"]
    recipe = load_recipe(light(), overrides)
    assert recipe.pretrain.optimizer.component.name == "builtin.adamw"
    assert recipe.pretrain.optimizer.keys["learning_rate"] == 0.25
    (problem,) = problems(light(), "pretrain.optimizer.name=builtin.adamw")
    assert problem.endswith("learning_rate: is required; another name replaces the whole table, so say it again")


def test_names_of_files_that_are_no_text_cannot_be_said(light, tmp_path):
    with pytest.raises(RecipeError, match=r"is not UTF-8, and a recipe cannot say it; rename it"):
        load_recipe(light(), ["pretrain.weights=n\udce9"])
