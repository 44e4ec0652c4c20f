"""Merging: tables merge, all else replaces, another component replaces its whole table; overrides; places."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslkit.errors import RecipeError
from sslkit.recipe.merge import _merged, load_document
from sslkit.recipe.read import Document

KEYS = st.sampled_from(["a", "b", "c"])  # few, so that they meet; `name` is tested by itself
LEAVES = st.integers(0, 5) | st.lists(st.integers(0, 5), max_size=2) | st.text("xy", max_size=1)
TREES = st.dictionaries(
    KEYS, st.recursive(LEAVES, lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=3), max_leaves=6)
)


def merge(base, child):
    return _merged(Document(base), Document(child)).tree


def leaves(tree, path=()):
    if isinstance(tree, dict):
        return {key: value for step, below in tree.items() for key, value in leaves(below, (*path, step)).items()}
    return {path: tree}


@given(TREES)
def test_an_empty_child_or_base_changes_nothing(tree):
    assert merge(tree, {}) == tree
    assert merge({}, tree) == tree
    assert merge(tree, tree) == tree


@given(TREES, TREES)
def test_the_child_wins_and_the_rest_of_the_base_stays(base, child):
    merged = leaves(merge(base, child))
    of_child = leaves(child)
    assert merged.items() >= of_child.items()
    for path, value in leaves(base).items():
        met = any(path[: len(other)] == other or other[: len(path)] == path for other in of_child)
        if not met:
            assert merged[path] == value
    assert set(merged) <= set(of_child) | set(leaves(base))


BASE = {"head": {"name": "a.mlp", "width": 4, "deep": {"x": 1}}, "list": [1, 2], "top": 1}


@pytest.mark.parametrize(
    ("child", "merged"),
    [
        ({"width": 5}, {"name": "a.mlp", "width": 5, "deep": {"x": 1}}),
        ({"name": "a.mlp", "deep": {"y": 2}}, {"name": "a.mlp", "width": 4, "deep": {"x": 1, "y": 2}}),
        ({"name": "a.none"}, {"name": "a.none"}),
        ({"name": "a.none", "bias": 1}, {"name": "a.none", "bias": 1}),
    ],
)
def test_another_component_replaces_its_whole_table(child, merged):
    assert merge(BASE, {"head": child}) == BASE | {"head": merged}


def test_the_recipes_own_name_replaces_only_itself():
    assert merge({"name": "old", "seed": 3}, {"name": "new"}) == {"name": "new", "seed": 3}


def test_a_name_for_a_table_that_had_none_keeps_its_options():
    assert merge({"head": {"width": 4}}, {"head": {"name": "a.mlp"}}) == {"head": {"name": "a.mlp", "width": 4}}


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def chain(tmp_path):
    """Three recipes, each extending the next, in different folders."""
    write(tmp_path, "base/root.toml", "seed = 1\nweights = 'w'\nplugins = ['p.py', '/abs/q.py']\n\n[pretrain]\n"
          "epochs = 1\nweights = 'v'\n[pretrain.head]\nname = 'a.mlp'\n"
          "width = 4\n[[evaluate]]\nname = 'x'\nk = 1\n")  # fmt: skip
    write(tmp_path, "base/middle.toml", "extends = 'root.toml'\n[pretrain]\nepochs = 2\n[pretrain.head]\nwidth = 5\n")
    return write(tmp_path, "own/child.toml", "extends = '../base/middle.toml'\nseed = 7\n[pretrain.head]\n"
                 "name='b.none'\nevaluate = 0\n")  # fmt: skip


def test_a_chain_of_files(chain, tmp_path):
    document = load_document(chain)
    base = tmp_path / "base"
    assert document.tree == {
        "seed": 7,
        "weights": str(base / "w"),
        "plugins": [str(base / "p.py"), "/abs/q.py"],
        "pretrain": {"epochs": 2, "weights": str(base / "v"), "head": {"name": "b.none", "evaluate": 0}},
        "evaluate": [{"name": "x", "k": 1}],
    }


def test_places_point_to_the_file_that_says_it(chain, tmp_path):
    document = load_document(chain)
    root, middle = tmp_path / "base" / "root.toml", f"{chain.parent / '../base/middle.toml'}"

    def where(*path):
        return document.where(path)

    assert where("seed") == f"{chain}:2"
    assert where("pretrain", "epochs") == f"{middle}:3"
    assert where("pretrain", "weights") == f"{root}:7"
    assert where("pretrain", "head", "name") == f"{chain}:4"
    assert where("pretrain", "head", "width") == f"{chain}:3"  # no longer there: the table that would hold it
    assert where("evaluate", 0, "k") == f"{root}:13"
    assert where("nothing") == str(chain)


def test_a_replaced_list_forgets_where_the_old_one_stood(tmp_path):
    write(tmp_path, "base.toml", "[[evaluate]]\nname = 'x'\nk = 1\n")
    child = write(tmp_path, "child.toml", "extends = 'base.toml'\n\nevaluate = [{ name = 'y', k = 2 }]\n")
    document = load_document(child)
    assert document.where(("evaluate", 0, "k")) == f"{child}:3"


REFUSED = [
    ("extends = 'lost.toml'", r"child\.toml:1 extends: there is no file .*lost\.toml"),
    ("\nextends = '.'", r"child\.toml:2 extends: there is no file"),
    ("extends = 3", r"child\.toml:1 extends: should be the path of one recipe"),
    ("extends = ['a.toml']", "should be the path of one recipe"),
    ("extends = 'child.toml'", r"extends itself: child\.toml -> child\.toml"),
    ("extends = 'other.toml'", r"extends itself: child\.toml -> other\.toml -> child\.toml"),
    ('extends = "a\\u0000b"', "there is no file"),
    (f"extends = '{'x' * 5000}'", "there is no file"),
    ("extends = '~nobody_at_all/x'", "there is no file"),
    ("extends = 'bad.toml'", r"bad\.toml:1: not valid TOML"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED, ids=range(len(REFUSED)))
def test_extends_refused(tmp_path, text, reason):
    write(tmp_path, "other.toml", "extends = 'child.toml'")
    write(tmp_path, "bad.toml", "a = = 1")
    with pytest.raises(RecipeError, match=reason):
        load_document(write(tmp_path, "child.toml", text))


def test_a_base_twice_in_different_branches_is_no_circle(tmp_path):
    write(tmp_path, "base.toml", "a = 1")
    (tmp_path / "link.toml").symlink_to(tmp_path / "base.toml")
    assert load_document(write(tmp_path, "child.toml", "extends = 'link.toml'")).tree == {"a": 1}


RECIPE = """\
name = "r"
[pretrain]
epochs = 1
[pretrain.head]
name = "a.mlp"
width = 4
[[evaluate]]
name = "x"
epochs = 90
"""


def overridden(tmp_path, *overrides):
    return load_document(write(tmp_path, "r.toml", RECIPE), overrides)


VALUES = [
    ("512", 512),
    ("1e-3", 1e-3),
    ("true", True),
    ("[1, 2]", [1, 2]),
    ('["h", "z"]', ["h", "z"]),
    ('"two words"', "two words"),
    ("'x=y'", "x=y"),
    ("{ a = 1 }", {"a": 1}),
    ("resnet18", "resnet18"),
    ("timm/resnet_18.a1-in1k", "timm/resnet_18.a1-in1k"),
    ("~/photos", "~/photos"),
    (" 3 ", 3),
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_override_values(tmp_path, text, value):
    assert overridden(tmp_path, f"pretrain.epochs={text}").tree["pretrain"]["epochs"] == value


def test_overrides_reach_lists_and_make_tables(tmp_path):
    document = overridden(tmp_path, "evaluate.0.epochs=10", "pretrain.views.size = 3", "seed=4")
    assert document.tree["evaluate"] == [{"name": "x", "epochs": 10}]
    assert document.tree["pretrain"]["views"] == {"size": 3}
    assert document.where(("evaluate", 0, "epochs")) == "override"
    assert document.where(("evaluate", 0, "name")).endswith("r.toml:8")
    assert document.where(("pretrain", "views", "size")) == "override"
    assert document.where(("pretrain", "views")) == "override"


def test_another_name_clears_the_old_components_options(tmp_path):
    document = overridden(tmp_path, "pretrain.head.name=b.none", "pretrain.head.bias=1")
    assert document.tree["pretrain"]["head"] == {"name": "b.none", "bias": 1}
    assert document.where(("pretrain", "head", "width")) == "override"
    assert overridden(tmp_path, "pretrain.head.name=a.mlp").tree["pretrain"]["head"]["width"] == 4
    assert overridden(tmp_path, "evaluate.0.name=y").tree["evaluate"] == [{"name": "y"}]
    assert overridden(tmp_path, "name=other").tree["pretrain"]["epochs"] == 1


def test_paths_in_overrides_are_relative_to_where_one_stands(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    tree = overridden(tmp_path, "pretrain.weights=runs/x", 'plugins=["a.py", "/b.py"]').tree
    assert tree["pretrain"]["weights"] == str(tmp_path / "here" / "runs/x")
    assert tree["plugins"] == [str(tmp_path / "here" / "a.py"), "/b.py"]


def test_a_home_folder_is_filled_in_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert overridden(tmp_path, "weights=~/w").tree["weights"] == "/home/me/w"
    assert Path(overridden(tmp_path, "weights=~nobody_at_all/w").tree["weights"]).is_absolute()


BAD_OVERRIDES = [
    ("pretrain.epochs", "write it as key=value, such as"),
    ("=3", "write it as key=value"),
    ("a..b=3", "write it as key=value"),
    ("pretrain.epochs=", "'' is not a TOML value"),
    ("name=two words", "needs quotes: 'name=\"...\"'"),
    ("name=1\nseed = 2", "is not a TOML value"),
    ("evaluate.1.epochs=3", "'1' is no place in a list of 1, counted from 0"),
    ("evaluate.first.epochs=3", "'first' is no place in a list"),
    ("export.0.quiet=true", "this recipe exports nothing; there is no export.0.quiet"),
    ("pretrain.epochs.x=3", "the key before 'x' holds a value, not a table"),
    ("seed=" + "1" * 5000, "is not a TOML value"),
    ("seed=" + "[" * 1000 + "]" * 1000, "is not a TOML value"),
    ("seed=99999999999999999999", "too large an integer"),
]


@pytest.mark.parametrize(("override", "reason"), BAD_OVERRIDES, ids=range(len(BAD_OVERRIDES)))
def test_overrides_refused(tmp_path, override, reason):
    with pytest.raises(RecipeError) as caught:
        overridden(tmp_path, override)
    assert reason in str(caught.value)
    assert "override" in str(caught.value)


def test_a_recipe_that_pretrains_nothing_has_no_such_keys(tmp_path):
    path = write(tmp_path, "r.toml", 'name = "r"\nweights = "random"\n[[evaluate]]\nname = "builtin.knn"')
    with pytest.raises(RecipeError, match="this recipe pretrains nothing; there is no pretrain.epochs"):
        load_document(path, ["pretrain.epochs=1"])
    assert load_document(path, ["pretrain={epochs=1}"]).tree["pretrain"] == {"epochs": 1}


def test_no_working_folder_is_needed_for_an_absolute_recipe(tmp_path):
    path = write(tmp_path, "r.toml", RECIPE)
    before = Path.cwd()
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    try:
        assert load_document(path).tree["name"] == "r"
    finally:
        os.chdir(before)


def test_a_description_is_of_its_own_file(tmp_path):
    write(tmp_path, "base.toml", "description = 'of the base'\nseed = 1\n")
    silent = write(tmp_path, "silent.toml", "extends = 'base.toml'\n")
    assert load_document(silent).tree == {"seed": 1}
    own = write(tmp_path, "own.toml", "extends = 'silent.toml'\ndescription = 'own'\n")
    assert load_document(own).tree == {"seed": 1, "description": "own"}
