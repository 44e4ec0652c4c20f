"""The documentation is true: generated pages are up to date, links lead somewhere, recipes and commands are valid."""

import ast
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest

import sslkit
from sslkit import load_recipe
from sslkit.__main__ import _parse
from sslkit.recipe.evaluation import load_evaluation
from sslkit.recipe.sweep import load_sweep

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
OWN_PAGES = [page for page in PAGES if not {"reference", "lab_notes"} & set(page.relative_to(ROOT).parts)]
_HELPERS = runpy.run_path(str(DOCS / "blocks.py"))
blocks, commands = _HELPERS["blocks"], _HELPERS["commands"]

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def _id(page):
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def generated():
    return runpy.run_path(str(DOCS / "generate.py"))["pages"]()


@pytest.mark.parametrize("page", sorted((DOCS / "reference").rglob("*.md")), ids=_id)
def test_a_generated_page_is_what_the_script_makes(generated, page):
    name = page.relative_to(DOCS / "reference").as_posix()
    assert page.read_text(encoding="utf-8") == generated[name], "run: python docs/generate.py"


def test_no_generated_page_is_forgotten(generated):
    reference = DOCS / "reference"
    assert {path.relative_to(reference).as_posix() for path in reference.rglob("*.md")} == set(generated)


def test_every_public_name_has_its_place_in_the_reference():
    text = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    of_sslkit, _, _ = text.partition("\n## sslkit.testing\n")
    assert sorted(re.findall(r"^### (\w+)$", of_sslkit, re.MULTILINE)) == sorted(sslkit.__all__)
    assert " at 0x" not in text


def test_every_component_has_its_place_in_the_reference():
    text = (DOCS / "reference" / "components.md").read_text(encoding="utf-8")
    known = {component.name for component in sslkit.Registry.discover().components()}
    shipped = {"builtin", *(path.name for path in (ROOT / "plugins").iterdir())}
    expected = {name for name in known if name.partition(".")[0] in shipped}
    assert set(re.findall(r"^### (\S+)$", text, re.MULTILINE)) == expected


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_relative_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in _LINK.findall(text):
        if target.startswith(("http://", "https://", "#")):
            continue
        assert (page.parent / target.partition("#")[0]).exists(), f"{_id(page)}: {target}"


def test_every_page_is_in_the_navigation():
    navigation = set(re.findall(r"(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert navigation <= pages
    assert {page for page in pages - navigation if not page.startswith("lab_notes/")} == set()


@pytest.mark.parametrize("page", OWN_PAGES, ids=_id)
def test_python_blocks_are_python(page):
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "python":
            ast.parse(block.text, f"{_id(page)}:{block.line}")


@pytest.fixture
def desk(tmp_path):
    """A folder with the shipped recipes, where a page's files are laid out beside them."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")

    def lay_out(page):
        written = []
        for block in blocks(page.read_text(encoding="utf-8")):
            if block.mark.startswith("file: "):
                path = tmp_path / block.mark.removeprefix("file: ")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
                written.append(path)
        return written

    return lay_out


@pytest.mark.parametrize("page", OWN_PAGES, ids=_id)
def test_recipes_on_a_page_are_valid(page, desk):
    whole = re.compile(r"^(schema = 1|extends = )", re.MULTILINE)
    files = [path for path in desk(page) if path.suffix == ".toml" and whole.search(path.read_text(encoding="utf-8"))]
    for path in files:
        recipe = load_sweep(path) if "[sweep" in path.read_text(encoding="utf-8") else load_recipe(path)
        assert recipe.name == path.stem
    unmarked = [b.line for b in blocks(page.read_text(encoding="utf-8")) if b.language == "toml" and not b.mark
                and whole.search(b.text)]  # fmt: skip
    assert not unmarked, f"{_id(page)}: mark whole recipes with <!-- file: NAME.toml -->"


def test_the_loss_of_the_how_to_is_built_from_its_file(desk):
    paths = desk(DOCS / "how_to" / "write_a_loss.md")
    recipe = load_recipe(next(path for path in paths if path.suffix == ".toml"))
    objective = recipe.pretrain.objective.build(dim=8, num_samples=10, num_classes=None)
    torch = pytest.importorskip("torch")
    same = torch.eye(8)
    loss, metrics = objective([same, same])
    assert metrics["distance"].item() == pytest.approx(0, abs=1e-6)
    # Each dimension of the identity matrix has standard deviation sqrt(1 / 8): two views, weight 0.5.
    assert loss.item() == pytest.approx(1 - 8**-0.5, abs=1e-6)


@pytest.mark.parametrize("page", OWN_PAGES, ids=_id)
def test_commands_on_a_page_parse_and_name_real_recipes(page, desk, tmp_path, monkeypatch):
    desk(page)
    monkeypatch.chdir(tmp_path)
    for command in commands(page.read_text(encoding="utf-8")):
        arguments = _parse(shlex.split(command)[1:])
        recipe = getattr(arguments, "recipe", None)
        if recipe is None or page.name == "first_plugin.md":  # tests/downstream/test_first_plugin.py runs that page
            continue
        assert recipe.exists(), f"{_id(page)}: {command}"
        if "sphere." not in command:  # tests/test_readme.py installs that one
            if arguments.command == "sweep":
                load_sweep(recipe, arguments.overrides)
            elif hasattr(arguments, "weights"):
                load_evaluation(recipe, arguments.weights, arguments.overrides)
            else:
                load_recipe(recipe, arguments.overrides)


def test_the_changes_that_the_how_to_suggests_are_valid():
    text = (DOCS / "how_to" / "run_on_your_images.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| `([^`]+=[^`]+)`", text, re.MULTILINE)
    assert len(rows) >= 5
    for row in rows:
        load_recipe(ROOT / "recipes" / "simclr_folder.toml", row.split())


def test_files_and_folders_that_pages_name_exist():
    for page in (DOCS / "contributing.md", *sorted((DOCS / "explanation").glob("*.md"))):
        for path in re.findall(
            r"`((?:sslkit|plugins|tests|docs|recipes|benchmarks)/[\w/.{},]*)`", page.read_text("utf-8")
        ):
            stem, brace, rest = path.partition("{")
            names, _, end = rest.partition("}")
            for name in names.split(",") if brace else [""]:
                assert (ROOT / f"{stem}{name}{end}").exists(), f"{_id(page)}: {path}"


def test_the_picture_script_draws_what_a_summary_says(tmp_path, monkeypatch):
    row = {"data": "pretrain.data", "split": "test", "metric": "top1", "n": 5000, "seed": 0, "index": 0}
    rows = [
        row | {"evaluation": "builtin.linear", "features": "h", "weights": "pretrained", "value": 0.5678},
        row | {"evaluation": "builtin.linear", "features": "h", "weights": "random", "value": 0.1234},
    ]
    from sslkit.run_folder import write_json

    write_json(tmp_path / "summary.json", {"status": "finished", "name": "toy", "seconds": 61.0, "results": rows})
    monkeypatch.syspath_prepend(DOCS)
    draw = runpy.run_path(str(DOCS / "picture.py"))["draw"]
    picture = draw(tmp_path)
    assert "56.78&#160;%" in picture
    assert "12.34&#160;%" in picture
    assert "@font-face" not in picture
    with pytest.raises(SystemExit):
        draw(tmp_path / "elsewhere")
    assert "picture" not in sys.modules
