"""The README keeps its word: its commands are those of the CI, its package is found, its ten lines of Python run."""

import importlib
import runpy
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from sslkit import Registry, load_recipe

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = runpy.run_path(str(ROOT / "docs" / "blocks.py"))["blocks"](PAGE)


def _marked(mark):
    (found,) = [block for block in BLOCKS if block.mark == mark]
    return found.text


def test_what_it_is_takes_three_lines():
    title, gap, *rest = PAGE.splitlines()
    assert title == "# sslkit"
    assert not gap
    assert rest.index("") == 3


@pytest.mark.parametrize("name", ["quickstart", "tests"])
def test_the_ci_runs_exactly_the_commands_of_the_readme(name):
    command = _marked(f"command: {name}").strip()
    assert "\n" not in command
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line.strip() for line in script].count(command) == 1


@pytest.mark.parametrize(
    ("name", "plugins"),
    [("quickstart", ["-e", "plugins/simclr"]), ("tests", ["-r", "plugins/requirements.txt"])],
    ids=["quickstart", "tests"],
)
def test_a_command_installs_the_root_first_and_extras_only_on_it(name, plugins):
    install = next(part for part in _marked(f"command: {name}").split("&&") if "pip install" in part)
    words = shlex.split(install)
    root = words.index("-e") + 1
    assert words[root] in (".", ".[test]")
    assert words[root + 1 :] == plugins
    assert words[:root] == ["python", "-m", "pip", "install", "-e"]


def test_all_plugins_of_the_clone_are_listed_simclr_first():
    lines = (ROOT / "plugins" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = [line.removeprefix("-e ").partition("[")[0] for line in lines if line.startswith("-e ")]
    assert listed[0] == "plugins/simclr"
    assert sorted(listed) == sorted(f"plugins/{path.parent.name}" for path in ROOT.glob("plugins/*/pyproject.toml"))


def test_the_picture_is_a_table_of_scores_and_loads_nothing():
    picture = (ROOT / "docs" / "images" / "quickstart.svg").read_text(encoding="utf-8")
    assert "docs/images/quickstart.svg" in PAGE
    assert "test&#160;scores" in picture
    assert "random&#160;backbone" in picture
    for outside in ("@import", "@font-face", "url(http", "href=", "<script", "<image"):
        assert outside not in picture


@pytest.fixture
def sphere(tmp_path, monkeypatch):
    """The README's package, laid out as pip would leave an editable install."""
    files = {block.mark.removeprefix("file: "): block.text for block in BLOCKS if block.mark.startswith("file: ")}
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    source = tmp_path / "sslkit-sphere" / "src"
    (source / "sslkit_sphere" / "__init__.py").touch()
    project = tomllib.loads(files["sslkit-sphere/pyproject.toml"])
    ((namespace, target),) = project["project"]["entry-points"]["sslkit"].items()
    metadata = source / "sslkit_sphere-0.1.0.dist-info"
    metadata.mkdir()
    name, version = project["project"]["name"], project["project"]["version"]
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(f"[sslkit]\n{namespace} = {target}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(source)
    importlib.invalidate_caches()
    yield project
    for module in [module for module in sys.modules if module.partition(".")[0] == "sslkit_sphere"]:
        del sys.modules[module]


def test_the_package_is_found(sphere):
    (record,) = Registry.discover().plugin("sphere")
    assert (record.status, record.reason) == ("ok", "")
    assert record.owner == "sslkit-sphere 0.1.0"
    assert [component.name for component in record.components] == ["sphere.align_uniform"]
    assert sphere["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["src/sslkit_sphere"]


def test_a_recipe_takes_the_loss_and_the_loss_learns(sphere):
    recipe = load_recipe(ROOT / "recipes" / "simclr_quickstart.toml", ["pretrain.objective.name=sphere.align_uniform"])
    assert dict(recipe.pretrain.objective.options) == {"weight": 1.0}
    objective = recipe.pretrain.objective.build(dim=8, num_samples=100, num_classes=None)
    torch.manual_seed(0)
    views = [torch.randn(16, 8, requires_grad=True) for _ in range(2)]
    optimizer = torch.optim.SGD(views, lr=1.0)
    losses = []
    for _ in range(20):
        loss, metrics = objective(views)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
    assert set(metrics) == {"alignment", "uniformity"}


def test_the_loss_is_twenty_lines():
    text = _marked("file: sslkit-sphere/src/sslkit_sphere/align_uniform.py")
    body = text[text.index("class ") :].splitlines()
    assert len(body) <= 20


def test_ten_lines_of_python_pretrain_and_evaluate(capsys):
    text = _marked("runnable")
    statements = [line for line in text.splitlines() if line and not line.startswith(("import ", "from "))]
    assert len(statements) <= 10
    exec(compile(text, "Python of the README", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    rows = [eval(line, {}) for line in lines if line.startswith("{")]  # progress comes before
    assert [(row["evaluation"], row["features"], row["n"]) for row in rows] == [("knn", "h", 256), ("linear", "h", 256)]
    assert all(0 <= row["value"] <= 1 for row in rows)
