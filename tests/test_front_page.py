"""The front page: one list of names, twice written down, each importable, and light until a name is used."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import sslkit

HEAVY = ("torch", "torchvision", "timm", "kornia", "numpy", "PIL", "pydantic", "rich", "pluggy", "safetensors")

PACKAGES = sorted(folder.name for folder in (Path(__file__).parents[1] / "plugins").iterdir() if folder.is_dir())


def _type_checking_imports(path):
    """Return name -> module of the imports below `if TYPE_CHECKING:`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    found = {}
    for node in guarded.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname in (None, alias.name)
            assert alias.name not in found
            found[alias.name] = node.module
    return found


def test_type_checkers_and_python_see_the_same_front_page():
    assert _type_checking_imports(Path(sslkit.__file__)) | {"load_on_use": "sslkit.lazy"} == sslkit._HOME_OF
    assert sslkit.__all__ == sorted(sslkit._HOME_OF)


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_and_python_see_the_same_plugin(package):
    page = pytest.importorskip(f"sslkit_{package}")
    homes = _type_checking_imports(Path(page.__file__))
    assert sorted(page.__all__) == sorted(homes)
    assert all(getattr(page, name) is getattr(import_module(home), name) for name, home in homes.items())


@pytest.mark.parametrize("name", sslkit.__all__)
def test_each_name_comes_from_its_home(name):
    assert getattr(sslkit, name) is getattr(import_module(sslkit._HOME_OF[name]), name)
    assert name in dir(sslkit)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'pretrian'"):
        sslkit.pretrian  # noqa: B018


def test_importing_sslkit_alone_imports_no_library():
    code = f"import sys, sslkit; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
