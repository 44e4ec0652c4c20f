"""The package that `new-plugin` writes: whole for every kind, and nothing of anybody's is touched."""

import ast
import importlib
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import sslkit
from sslkit.__main__ import main
from sslkit.errors import PluginError
from sslkit.registry.discover import Registry
from sslkit.registry.register import KINDS
from sslkit.scaffold import EXAMPLES, check_component, check_namespace, write_plugin


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Return a function that writes a package and installs it as `pip install -e` does; it returns its folder."""
    packages = []

    def make(name, kind, **arguments):
        folder, _ = write_plugin(name, kind, into=tmp_path / name, **arguments)
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        metadata = folder / "src" / f"sslkit_{name}-0.1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
        ((namespace, target),) = project["entry-points"]["sslkit"].items()
        (metadata / "entry_points.txt").write_text(f"[sslkit]\n{namespace} = {target}\n")
        monkeypatch.syspath_prepend(str(folder / "src"))
        importlib.invalidate_caches()
        packages.append(f"sslkit_{name}")
        return folder

    yield make
    for module in [module for module in sys.modules if module.partition(".")[0] in packages]:
        del sys.modules[module]


def test_there_is_an_example_of_every_kind():
    assert set(EXAMPLES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_of_every_kind_is_found_and_passes_check_build(made, kind, capsys):
    folder = made("mine", kind)
    (record,) = Registry.discover().plugin("mine")
    assert (record.status, record.reason, record.owner) == ("ok", "", "sslkit-mine 0.1.0")
    (component,) = record.components
    assert (component.kind, component.name) == (kind, f"mine.{EXAMPLES[kind].component}")
    assert main(["check", str(folder / "recipe.toml"), "--build"]) == 0, capsys.readouterr().err
    recipe = sslkit.load_recipe(folder / "recipe.toml")
    assert component.name in [choice.component.name for choice in recipe.choices()]
    namespaces = {choice.component.name.partition(".")[0] for choice in recipe.choices()}
    assert namespaces <= {"builtin", "mine"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_are_few_short_and_whole(tmp_path, kind):
    folder, files = write_plugin("mine", kind, into=tmp_path / "new")
    assert sorted(files) == sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(files) == 8
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "$" not in text
        assert len(text.splitlines()) <= 100
        assert max(map(len, text.splitlines()), default=0) <= 120
        assert text == "" or (text.endswith("\n") and not text.endswith("\n\n"))
        if path.suffix == ".py":
            assert ast.get_docstring(ast.parse(text)) is not None
        if path.suffix == ".toml":
            tomllib.loads(text)


def test_a_front_page_gives_the_class_and_imports_no_torch_before(made):
    made("mine", "objective", component="far_apart")
    page = importlib.import_module("sslkit_mine")
    assert page.__all__ == ["FarApart"]
    assert "sslkit_mine.far_apart" not in sys.modules
    assert page.FarApart is Registry.discover().get("objective", "mine.far_apart").load()
    with pytest.raises(AttributeError, match="no attribute 'Contrast'"):
        page.Contrast  # noqa: B018


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "My-Loss",
            '"My-Loss": the name of a plugin is lower-case letters, digits and _, at most 40, such as "my_loss"',
        ),
        ("sslkit-sphere", 'at most 40, without sslkit in front, such as "sphere"'),
        ("sslkit_sphere", 'without sslkit in front, such as "sphere"'),
        ("2d", 'at most 40, such as "d"'),
        ("", '"": the name of a plugin'),
        ("a/b", 'such as "a_b"'),
        ("../up", 'such as "up"'),
        ("größe", "lower-case letters"),
        ("x\x1b[31m", r'"x\x1b[31m": the name'),
        ("a" * 41, f'such as "{"a" * 40}"'),
        ("class", '"class" is a word of Python\'s own; choose another name'),
        ("json", '"json" is a module of Python\'s own; choose another name'),
        *((name, f'"{name}" is reserved for sslkit; choose another name') for name in ("builtin", "core", "local")),
        ("sslkit", '"sslkit" is reserved for sslkit'),
    ],
)
def test_names_that_cannot_be_one(name, reason, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new-plugin", "--", name]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert reason in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_names_that_somebody_has(install, site):
    install("taken", version="3.0")
    install("shaky", "1 / 0")
    with pytest.raises(PluginError, match=f'the plugin "taken" is installed: toy-taken 3.0 in {site}; choose another'):
        check_namespace("taken")
    with pytest.raises(PluginError, match='the plugin "shaky" is installed'):
        check_namespace("shaky")
    (site / "sslkit_half.py").touch()
    with pytest.raises(PluginError, match=f"a package sslkit_half is installed: {site}/sslkit_half.py"):
        check_namespace("half")
    check_namespace("free")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("plugin", "has a file plugin.py of its own"),
        ("__init__", "the name of a component is lower-case"),
        ("json", "a module of Python's own"),
        ("Far-Apart", 'such as "far_apart"'),
        ("lambda", "a word of Python's own"),
        ("a.b", 'such as "a_b"'),
        ("images", "images.py needs the name Images for something else"),
        ("tensor", "needs the name Tensor"),
        ("exception", "needs the name Exception"),
    ],
)
def test_components_that_cannot_be_called_so(name, reason, tmp_path):
    with pytest.raises(PluginError, match=reason):
        write_plugin("mine", "data", component=name, into=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    check_component("images", "objective")


def test_nothing_is_overwritten(tmp_path):
    full, file, empty = tmp_path / "full", tmp_path / "file", tmp_path / "empty"
    full.mkdir()
    (full / "README.md").write_text("mine")
    file.write_text("mine")
    empty.mkdir()
    for place in (full, file):
        with pytest.raises(PluginError, match=f"{place} is there already, and nothing is overwritten; choose another"):
            write_plugin("mine", "data", into=place)
    assert [path.name for path in full.iterdir()] == ["README.md"]
    assert (full / "README.md").read_text() == file.read_text() == "mine"
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for place in (file / "below", tmp_path / "dangling", Path("/proc/nowhere")):
        with pytest.raises(PluginError, match="cannot be written: .*; choose another --into DIR"):
            write_plugin("mine", "data", into=place)
    assert write_plugin("mine", "data", into=empty)[0] == empty


def test_the_templates_are_in_the_wheel(tmp_path, monkeypatch):
    backend = pytest.importorskip("hatchling.build")
    root = Path(sslkit.__file__).parents[1]
    if not (root / "pyproject.toml").exists():
        pytest.skip("there is no checkout here")
    monkeypatch.chdir(root)
    name = backend.build_wheel(str(tmp_path))
    with zipfile.ZipFile(tmp_path / name) as wheel:
        shipped = {entry for entry in wheel.namelist() if entry.startswith("sslkit/templates/")}
    assert shipped == {path.relative_to(root).as_posix() for path in (root / "sslkit/templates").rglob("*.template")}
    assert len(shipped) == 6 + len(KINDS)
