"""A front page loads nothing before its names are used, and each of them once."""

import importlib
import sys

import pytest


@pytest.fixture
def page(tmp_path, monkeypatch):
    package = tmp_path / "a_lazy_page"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from sslkit import load_on_use\n"
        '__getattr__, __dir__ = load_on_use(__name__, {"answer": "a_lazy_page.home", "gone": "a_lazy_page.home"})\n'
    )
    (package / "home.py").write_text("answer = object()\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("a_lazy_page")
    for name in ("a_lazy_page", "a_lazy_page.home"):
        sys.modules.pop(name, None)


def test_names_load_on_first_use(page):
    assert {"answer", "gone"} <= set(dir(page))
    assert "a_lazy_page.home" not in sys.modules
    first = page.answer
    assert first is sys.modules["a_lazy_page.home"].answer is vars(page)["answer"]


def test_other_names_are_unknown_as_python_says_it(page):
    with pytest.raises(AttributeError, match="module 'a_lazy_page' has no attribute 'anwser'") as error:
        _ = page.anwser
    assert (error.value.name, error.value.obj) == ("anwser", page)
    with pytest.raises(ImportError, match="cannot import name 'anwser'"):
        exec("from a_lazy_page import anwser")
    with pytest.raises(AttributeError, match="'a_lazy_page.home' has no attribute 'gone'"):
        _ = page.gone
