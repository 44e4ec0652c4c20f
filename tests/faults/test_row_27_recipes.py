"""A recipe from anywhere: only `RecipeError` escapes, in no time, and its paths reach no further than they say.

What a single file may hold (256 KiB, nesting, encodings, endless integers) is tested in tests/recipe/test_read.py.
"""

from __future__ import annotations

import contextlib
import os
import time
import tomllib

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sslkit import RecipeError, load_recipe, run

VALUES = st.recursive(
    st.none().map(lambda _: "") | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def places(tree, path=()):
    """Iterate over the paths of everything in a recipe."""
    if path:
        yield path
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from places(value, (*path, key))


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_row_27_any_value_in_any_place_is_a_recipe_error_or_a_recipe(light, data):
    tree = tomllib.loads(light().read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        *above, key = data.draw(st.sampled_from(list(places(tree))))
        table = tree
        for step in above:
            table = table[step]
        table[key] = data.draw(VALUES)
        if isinstance(table, dict) and data.draw(st.booleans()):
            table[data.draw(st.text(max_size=8))] = data.draw(VALUES)
    path = light(name="fuzzed.toml")
    path.write_text(tomli_w.dumps(tree), encoding="utf-8")
    with contextlib.suppress(RecipeError):
        assert load_recipe(path).name


@given(st.text(max_size=40) | st.text("pretrain.evaluate=0[]{}\"', ", max_size=40))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_row_27_any_override_is_a_recipe_error_or_an_override(light, text):
    path = light()
    with contextlib.suppress(RecipeError):
        assert load_recipe(path, [text])


HARD = {
    "many keys": "".join(f"k{number} = 1\n" for number in range(20_000)),
    "many tables": "".join(f"[t{number}]\n" for number in range(20_000)),
    "deep brackets": "x = " + "[" * 60_000,
    "deep tables": "x = " + "{ a = " * 30_000,
    "dots": "a." * 60_000 + "a = 1",
    "one long string": 'x = "' + "a" * 250_000 + '"',
    "many quotes": '"' * 250_000,
    "near misses": "".join(f'temperatur{number} = "' + "x" * 50 + '"\n' for number in range(3000)),
}


@pytest.mark.parametrize("what", HARD)
def test_row_27_no_recipe_takes_long(light, what):
    path = light(more="\n[pretrain.head]\n" + HARD[what])
    assert path.stat().st_size < 2**19
    before = time.process_time()
    with pytest.raises(RecipeError):
        load_recipe(path)
    assert time.process_time() - before < 10


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX devices")
@pytest.mark.parametrize(
    ("old", "new"), [('name = "light"', 'name = "light"\nextends = "{}"'), ('["light.py"]', '["{}"]')]
)
def test_row_27_devices_and_pipes_are_no_files(light, tmp_path, old, new):
    """`/dev/zero` never ends, and a pipe without a writer never begins."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("/dev/zero", tmp_path / "pipe", tmp_path):
        with pytest.raises(RecipeError, match="there is no file"):
            load_recipe(light(old, new.format(name)))
    with pytest.raises(RecipeError, match="larger than 256 KiB"):
        load_recipe("/dev/zero")


def test_row_27_a_chain_of_files_has_an_end(light, tmp_path):
    for number in range(1500):
        (tmp_path / f"{number}.toml").write_text(f'extends = "{number + 1}.toml"')
    light(name="1500.toml")
    with pytest.raises(RecipeError, match=r"100\.toml: extends more than 100 files, one after the other"):
        load_recipe(tmp_path / "0.toml")
    assert load_recipe(tmp_path / "1450.toml").name == "light"


def test_row_27_nothing_is_filled_in_from_the_environment(light, monkeypatch):
    monkeypatch.setenv("SECRET", "token")
    recipe = load_recipe(light('model = "tiny"', 'model = "$SECRET ${SECRET} %SECRET% {SECRET} `id` $(id)"'))
    assert recipe.pretrain.backbone.options["model"] == "$SECRET ${SECRET} %SECRET% {SECRET} `id` $(id)"


@pytest.mark.parametrize("name", ["../up", "/tmp/away", "a/b", "..", ".", "", "a\\b", "a\nb", "~", "-x", "a" * 101])
def test_row_27_a_run_stays_in_the_folder_for_runs(recipe_file, tmp_path, name):
    """It is named after its recipe, and a name is no path."""
    with pytest.raises(RecipeError, match="name: "):
        run(recipe_file(), runs=tmp_path / "runs", overrides=[f"name={tomli_w.dumps({'x': name})[4:]}"])
    assert not (tmp_path / "runs").exists()


def test_row_27_a_plugin_file_is_copied_under_its_bare_name(recipe_file, tmp_path):
    folder = run(recipe_file(), into=tmp_path / "run").folder
    assert [path.name for path in (folder / "plugins").iterdir()] == ["toy_plugin.py"]
