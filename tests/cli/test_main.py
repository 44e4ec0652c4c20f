"""The front door: light, helpful, and one line for every mistake."""

import os
import subprocess
import sys

import pytest

from sslkit import __main__
from sslkit.cli import COMMANDS
from sslkit.errors import PluginError, RecipeError

HEAVY = ("torch", "pluggy", "pydantic", "rich", "numpy", "PIL", "timm", "packaging")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_in_its_help(capsys, name):
    with pytest.raises(SystemExit) as caught:
        __main__.main([name, "--help"])
    assert caught.value.code == 0
    assert f"  sslkit {name}" in capsys.readouterr().out


def test_help_imports_nothing_heavy():
    code = f"""
import sys
from sslkit.__main__ import main
try: main(["--help"])
except SystemExit: pass
print(sorted(set({HEAVY}) & set(sys.modules)))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"
    assert "example: sslkit run recipes/simclr_quickstart.toml" in shown.stdout


def test_plugins_import_no_torch():
    code = "import sys, sslkit.__main__ as m; m.main(['plugins']); print({'torch', 'pydantic'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    "line",
    ["", "rnu x.toml", "run", "run x.toml --wrokers 3", "run x.toml --workers -1", "run x.toml --dev=cpu",
     "plugins a b", "components --all", "plugins a b=x", "run x.toml --into"],
)  # fmt: skip
def test_wrong_arguments(capsys, line):
    with pytest.raises(SystemExit) as caught:
        __main__.main(line.split())
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_overrides_may_stand_anywhere():
    for line in (
        "r.toml a=1 b=2 --runs d",
        "r.toml --runs d a=1 b=2",
        "r.toml a=1 --runs d b=2",
        "--runs d r.toml a=1 b=2",
    ):
        parsed = __main__._parse(["run", *line.split()])
        assert (parsed.overrides, str(parsed.recipe), str(parsed.runs)) == (["a=1", "b=2"], "r.toml", "d")


def errors(capsys, *arguments):
    """Return the error lines of a command that ends with code 2."""
    assert __main__.main(list(map(str, arguments))) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    return [line.removeprefix("error: ") for line in lines]


def test_mistakes_are_one_line_each(capsys, light, tmp_path):
    assert errors(capsys, "check", tmp_path / "missing.toml") == [f"{tmp_path}/missing.toml: there is no such file"]
    assert "is a folder" in errors(capsys, "check", tmp_path)[0]
    assert len(errors(capsys, "check", light("epochs = 2", "epoch = 2"))) == 2
    assert errors(capsys, "check", light(), "pretrain.epoch=2") == [
        'override pretrain.epoch: unknown key; did you mean "epochs"?'
    ]
    assert "write it as key=value" in errors(capsys, "check", light(), "epochs")[0]
    assert "name a recipe" in errors(capsys, "check")[0]
    assert "no such file" in errors(capsys, "run", tmp_path / "lost.toml", "--runs", tmp_path / "runs")[0]
    assert not (tmp_path / "runs").exists()


def test_a_hostile_name_cannot_drive_the_terminal(capsys, light, tmp_path):
    path = light('name = "light"', 'name = "\\u001b[31m\\nred"')
    (line,) = errors(capsys, "check", path)
    assert r'got "\u001b[31m\nred"' in line
    (line,) = errors(capsys, "check", tmp_path / "\x1b[2J\n.toml")
    assert r"\x1b[2J" in line


def test_verbose_shows_the_traceback_and_keeps_the_code(capsys, tmp_path):
    assert __main__.main(["check", str(tmp_path / "x"), "-v"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert shown.splitlines()[-1] == f"error: {tmp_path}/x: there is no such file"


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (RecipeError(["a: 1", "b: 2\nc"]), 2, ["error: a: 1", "error: b: 2 c"]),
        (PluginError("x\ny"), 2, ["error: x y"]),
        (KeyboardInterrupt(), 130, []),
    ],
)
def test_exit_codes(capsys, monkeypatch, error, code, lines):
    def fail(*arguments):
        raise error

    monkeypatch.setattr("sslkit.registry.discover.Registry.discover", fail)
    assert __main__.main(["plugins"]) == code
    assert capsys.readouterr().err.splitlines() == lines


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("sslkit.registry.discover.Registry.discover", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        __main__.main(["plugins"])


def test_a_closed_pipe_is_no_error(command):
    line = f"{sys.executable} -m sslkit components | head -1; exit ${{PIPESTATUS[0]}}"
    shown = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (shown.returncode, shown.stderr, len(shown.stdout.splitlines())) == (0, "", 1)
    line = f"{sys.executable} -m sslkit components | (exec <&-; sleep 3); exit ${{PIPESTATUS[0]}}"
    shown = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (shown.returncode, shown.stderr) == (0, "")


def test_a_terminal_without_unicode_gets_escapes(command, light):
    shown = command("check", light(name="ü€.toml"), env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (shown.returncode, shown.stderr) == (0, "")
    assert r"\xfc\u20ac.toml: keys, types and ranges are good" in shown.stdout


def test_no_home_and_no_environment(command):
    bare = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    shown = command("plugins", env=bare)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "builtin" in shown.stdout


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_for_runs_is_refused_before_any_work(capsys, light, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    (line,) = errors(capsys, "run", light(), "--runs", tmp_path / "locked")
    assert "is not writable" in line


@pytest.mark.parametrize("flag", ["--runs", "--into"])
def test_a_place_where_no_folder_can_be_is_refused_before_the_recipe_is_read(capsys, tmp_path, flag):
    (tmp_path / "file").touch()
    (line,) = errors(capsys, "run", tmp_path / "lost.toml", flag, tmp_path / "file" / "runs")
    assert line == f"{tmp_path}/file: is a file, not a folder; choose another place"
    (line,) = errors(capsys, "run", tmp_path / "lost.toml", flag, "/proc/no/runs")
    assert "/proc/no/runs: is not writable (" in line
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("words", "code"), [("plugins >&-", 0), ("check nowhere.toml 2>&-", 2), ("components --json >&- 2>&-", 0)]
)
def test_closed_streams_are_nobodys_fault(words, code, tmp_path):
    shown = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m sslkit {words}"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (shown.returncode, "Traceback" in shown.stderr) == (code, False)


def test_a_home_is_meant_behind_an_equals_sign_too(command, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "x.toml").write_text("[pretrain")
    shown = command("sweep", "~/x.toml", "--runs=~/here", env=os.environ | {"HOME": str(home)})
    assert f"error: {home}/x.toml:1" in shown.stderr


@pytest.mark.parametrize(
    "words", ["run {recipe} --runs {link}", "run {recipe} --into {link}/x", "embed . . -o {link}/x.npz"]
)
def test_a_link_to_what_is_not_there_is_refused_before_any_work(command, light, tmp_path, words):
    link = tmp_path / "link"
    link.symlink_to("unmounted")
    shown = command(*words.format(recipe=light(), link=link).split())
    assert shown.returncode == 2
    assert f"error: {link}: is a link to unmounted, which is not there" in shown.stderr


def test_what_is_required_is_what_is_required(capsys):
    with pytest.raises(SystemExit):
        __main__.main(["run"])
    assert "required: recipe;" in capsys.readouterr().err


def test_parts_need_jobs_to_be_divided_among(command, light, tmp_path):
    recipe = light()
    recipe.write_text(recipe.read_text() + "\n[sweep.axes]\nseed = [0, 1]\n")
    shown = command("sweep", recipe, "--parts", "3", "--into", tmp_path / "study")
    assert "error: --parts divides the runs among jobs of --slurm" in shown.stderr


def test_other_weights_are_not_pretrained(command, light):
    shown = command("evaluate", "random", light(), "pretrain.epochs=3")
    assert "nothing is pretrained here; only data and backbone are used" in shown.stderr
