"""`sslkit plugins`: one row each, exit code 0 whatever is installed."""

import json
import os
import sys

import sslkit
from sslkit.__main__ import main

HOOK = "from sslkit import hookimpl\nSSLKIT_API = 1\n@hookimpl\n"

FAULTS = {
    "exits": "import sys; sys.exit(5)",
    "prints": "print('x' * 1_000_000)",
    "misspells": "def f(:",
    "moves": "import os; os.chdir('/')",
    "lacks": "import a_library_that_is_not_here",
    "raises": "raise ValueError('\\x1b[31mred\\nand more')",
    "old": "SSLKIT_API = 0",
    "kills_output": "import sys; sys.stdout.close(); sys.stdout = None; sys.exit()",
}


def test_eight_kinds_of_broken_plugin_are_eight_rows(install, site, command):
    install("good", version="4.2")
    for namespace, code in FAULTS.items():
        install(namespace, code)
    shown = command("plugins", paths=[site])
    assert (shown.returncode, shown.stderr) == (0, "")
    rows = {line.split()[0]: line for line in shown.stdout.splitlines()}
    assert len(rows) == len(shown.stdout.splitlines())
    assert {"builtin", "good", *FAULTS} <= rows.keys()
    assert rows["good"].split()[1:] == ["ok", "toy-good", "4.2", "objective"]
    for namespace in FAULTS:
        assert rows[namespace].split()[1] == "failed", rows[namespace]
        assert len(rows[namespace]) < 400
    assert "printed 1,000,001 characters" in rows["prints"]
    assert "changed the working folder to /" in rows["moves"]
    assert r"ValueError: \x1b[31mred and more" in rows["raises"]
    assert main(["check", "nothing.toml"]) == 2


def test_each_fault_of_a_plugin_and_of_its_metadata_for_a_program(install, site, tmp_path, command):
    stale, later = tmp_path / "stale", tmp_path / "later"
    good = install("good", version="2.0")
    install("good", version="1.0", module=good, folder=stale)
    install("good", version="1.5", module=good, folder=later)
    install("good", version="0.9", module="gone", folder=site)
    (stale / "half_gone-0.3.dist-info").mkdir()
    (stale / "half_gone-0.3.dist-info" / "entry_points.txt").write_text("[sslkit]\nhalf = half_gone.plugin\n")
    install("extra", HOOK + "def sslkit_register(register, recipe): ...")
    install("misspelt", HOOK + "def sslkit_registre(register): ...")
    install("future", HOOK.replace("= 1", "= 99") + "def sslkit_register(register): ...")
    install("silent", HOOK.replace("SSLKIT_API = 1", "") + "def sslkit_register(register): ...")
    install("twice", distribution="first-plugin", version="1.1")
    install("twice", distribution="second-plugin", version="2.2")
    install("leaver", "print('bye')\nimport sys; sys.exit('no more')")
    shown = command("plugins", "--json", paths=[stale, site, later])
    assert (shown.returncode, shown.stderr) == (0, "")
    said = json.loads(shown.stdout)
    assert (said["schema"], said["sslkit"]) == (1, sslkit.__version__)
    rows = {row["namespace"]: row for row in said["plugins"]}
    assert len(rows) == len(said["plugins"])
    assert rows["good"] == {
        "namespace": "good", "status": "ok", "reason": "", "owner": "toy-good", "version": "2.0",
        "location": str(site), "api": 1,
        "components": [
            {"kind": "objective", "name": "good.loss", "summary": "a loss", "target": f"{good}:Loss"},
        ],
    }  # fmt: skip
    reasons = {
        "half": "is left over: delete it",
        "extra": "has sslkit_register(register, recipe), but it is given register and nothing else",
        "misspelt": "there is no hook sslkit_registre; write sslkit_register(register)",
        "future": f"says SSLKIT_API = 99; this sslkit ({sslkit.__version__}) speaks 1: install a newer sslkit",
        "silent": "does not say which SSLKIT_API it speaks",
        "leaver": "; printed 4 characters while it was imported (hidden)",
    }
    for namespace, reason in reasons.items():
        assert (rows[namespace]["status"], rows[namespace]["components"]) == ("failed", [])
        assert reason in rows[namespace]["reason"], rows[namespace]
    assert (rows["future"]["api"], rows["silent"]["api"]) == (99, None)
    assert rows["twice"]["status"] == "conflict"
    assert "first-plugin 1.1" in rows["twice"]["reason"]
    assert "second-plugin 2.2" in rows["twice"]["reason"]
    assert rows["builtin"]["status"] == "ok"


def test_one_plugin_with_its_components_and_its_traceback(install, capsys, site):
    install("good")
    install("raises", "def inner():\n    raise ValueError('deep inside')\ninner()")
    assert main(["plugins", "good"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "good  ok  toy-good 1.0  objective",
        f"  in  {site}",
        "  objective  good.loss  a loss",
    ]
    assert main(["plugins", "raises"]) == 0
    assert "Traceback" not in capsys.readouterr().out
    assert main(["plugins", "raises", "--traceback"]) == 0
    shown = capsys.readouterr().out
    assert "in inner" in shown
    assert shown.rstrip().endswith("ValueError: deep inside")


def test_kinds_are_counted(install, capsys):
    lines = [f"register.{kind}('{name}', 'a:B', summary='')" for kind, name in
             [("head", "a"), ("views", "b"), ("head", "c"), ("data", "d")]]  # fmt: skip
    install("many", HOOK + "def sslkit_register(register):\n    " + "\n    ".join(lines))
    install("none", HOOK + "def sslkit_register(register): ...")
    assert main(["plugins"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert rows["many"].endswith("  views, head (2), data")
    assert rows["none"].endswith("  no components")


def test_rows_fit_the_terminal(install, capsys, monkeypatch):
    install("wordy", f"raise ValueError('{'many words ' * 20}')")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((80, 24)))
    assert main(["plugins"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    first = next(number for number, line in enumerate(lines) if line.startswith("wordy"))
    column = lines[first].index("ValueError")
    assert lines[first + 1][:column].isspace()
    assert lines[first + 1][column:].startswith(("many", "words"))


def test_a_plugin_that_is_not_there(capsys):
    for more in ([], ["--json"]):
        assert main(["plugins", "biultin", *more]) == 2
        assert capsys.readouterr() == ("", 'error: there is no plugin "biultin"; did you mean "builtin"?\n')
