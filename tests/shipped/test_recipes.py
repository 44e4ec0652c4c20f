"""Every recipe that is shipped loads; every letter of its keys matters."""

import re
import shutil
from pathlib import Path

import pytest

from sslkit.errors import RecipeError
from sslkit.recipe.read import locate
from sslkit.recipe.resolve import load_recipe

ROOT = Path(__file__).resolve().parents[2] / "recipes"
RECIPES = sorted(path for path in ROOT.rglob("*.toml") if "sweeps" not in path.parts)  # test_sweeps.py has those


def mutations(key):
    """Return the key with one letter doubled, one left out or exchanged with its neighbour, and one replaced."""
    middle = len(key) // 2
    swapped = key[: middle - 1] + key[middle] + key[middle - 1] + key[middle + 1 :]
    shorter = swapped if swapped != key and len(key) > 1 else key[:middle] + key[middle + 1 :]
    replaced = key[:middle] + ("q" if key[middle] != "q" else "z") + key[middle + 1 :]
    doubled = key[:middle] + key[middle] + key[middle:]
    return {mutated for mutated in (doubled, shorter, replaced) if mutated and mutated != key}


def mutants(text):
    """Iterate over (changed text, line, key, mutated key) for every bare key of every header and assignment."""
    places = locate(text)
    lines = text.split("\n")
    is_header = {line for line in places.values() if lines[line - 1].lstrip().startswith("[")}
    keys = {
        (line, part)
        for path, line in places.items()
        for part in (path if line in is_header else path[-1:])
        if isinstance(part, str)
    }
    for number, key in sorted(keys):
        line = lines[number - 1]
        head = line if number in is_header else line.partition("=")[0]
        for match in re.finditer(rf"(?<![\w-]){re.escape(key)}(?![\w-])", head):
            for mutated in sorted(mutations(key)):
                changed = line[: match.start()] + mutated + line[match.end() :]
                yield "\n".join([*lines[: number - 1], changed, *lines[number:]]), number, key, mutated


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads(path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe.description


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_no_key_may_be_mistyped(path, tmp_path):
    shutil.copytree(ROOT, tmp_path / "recipes")  # around the changed one, for its `extends`
    changed = (tmp_path / "recipes" / path.relative_to(ROOT)).with_name(f"mutant_{path.name}")
    before = set(tmp_path.rglob("*"))
    tried = 0
    for text, line, key, mutated in mutants(path.read_text()):
        changed.write_text(text)
        with pytest.raises(RecipeError) as caught:
            load_recipe(changed)
        wanted = re.compile(
            rf"{re.escape(str(changed))}:{line} [\w.]*\b{re.escape(mutated)}: unknown key; "
            rf'(did you mean "{re.escape(key)}"\?|known here: .*\b{re.escape(key)}\b)'
        )
        assert any(wanted.match(problem) for problem in caught.value.problems), (mutated, line, caught.value.problems)
        tried += 1
    assert tried >= 2 * len(re.findall(r"^\w+ *=", path.read_text(), re.MULTILINE))
    assert set(tmp_path.rglob("*")) == before | {changed}


def test_a_mistyped_key_stops_the_command_before_anything_is_written(command, tmp_path):
    text = RECIPES[-1].read_text().replace("batch_size", "batch_sise")
    (tmp_path / "typo.toml").write_text(text)
    shown = command("run", "typo.toml", "--into", "runs/x", cwd=tmp_path)
    assert shown.returncode == 2
    assert re.search(
        r'^error: typo\.toml:\d+ pretrain\.batch_sise: unknown key; did you mean "batch_size"\?$', shown.stderr, re.M
    )
    assert all(line.startswith("error: ") for line in shown.stderr.splitlines())
    assert [entry.name for entry in tmp_path.iterdir()] == ["typo.toml"]
