"""Who may import whom: the contracts of pyproject.toml, and what stays out of a process that only looks around."""

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "torchvision", "timm", "kornia")

LIGHT = {
    "a plugin's front page": "import sslkit_simclr",
    "a plugin's entry point": "import sslkit_simclr.plugin",
    "the built-in plugin": "import sslkit.builtin.plugin",
    "discovery": "from sslkit.registry.discover import Registry; assert Registry.discover().components('objective')",
    "sslkit plugins": "from sslkit.__main__ import main; assert main(['plugins']) == 0",
    "sslkit components": "from sslkit.__main__ import main; assert main(['components']) == 0",
    "sslkit --help": """
import contextlib
from sslkit.__main__ import main
with contextlib.suppress(SystemExit):
    main(['--help'])
""",
    "a mistyped flag": """
import contextlib
from sslkit.__main__ import main
with contextlib.suppress(SystemExit):
    main(['run', 'recipe.toml', '--epochs', '3'])
""",
}


@pytest.mark.skipif(find_spec("importlinter") is None, reason="import-linter comes with the dev extra")
def test_the_import_contracts_hold():
    code = (
        "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command(['--no-cache']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("what", LIGHT)
def test_no_torch_in(what):
    report = f"import sys; sys.stderr.write(str([name for name in {HEAVY!r} if name in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{LIGHT[what]}\n{report}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].endswith("[]"), done.stderr


METHOD_WORDS = ("simclr", "nt_xent", "ntxent", "kornia", "byol", "dino", "vicreg", "moco")


def _words_of(path):
    """Return (line, word) of every identifier and every string of a file but docstrings, sources and examples."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            # A component or distribution as such; a sentence that gives an example has spaces.
            if " " not in node.value.strip():
                yield node.lineno, node.value
            continue
        for field in ("id", "attr", "arg", "name", "module", "asname"):
            if isinstance(word := getattr(node, field, None), str):
                yield getattr(node, "lineno", 0), word


def test_sslkit_knows_no_method():
    """A method's name in the engine is a special case waiting to happen; commands may name one as an example."""
    found = [
        f"{path.relative_to(ROOT)}:{line}: {word}"
        for path in sorted((ROOT / "sslkit").rglob("*.py"))
        if path.parent.name != "cli"
        for line, word in _words_of(path)
        if any(method in word.lower() for method in METHOD_WORDS)
    ]
    assert not found
