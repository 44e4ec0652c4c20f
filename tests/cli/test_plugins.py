"""`sslkit plugins`: one row each, exit code 0 whatever is installed."""

from sslkit.__main__ import main

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
    assert rows["good"].split()[1:] == ["ok", "toy-good", "4.2", "1", "components"]
    for namespace in FAULTS:
        assert rows[namespace].split()[1] == "failed", rows[namespace]
        assert len(rows[namespace]) < 400
    assert "printed 1,000,001 characters" in rows["prints"]
    assert "changed the working folder to /" in rows["moves"]
    assert r"ValueError: \x1b[31mred and more" in rows["raises"]
    assert main(["check", "nothing.toml"]) == 2


def test_one_plugin_with_its_components_and_its_traceback(install, capsys):
    install("good")
    install("raises", "def inner():\n    raise ValueError('deep inside')\ninner()")
    assert main(["plugins", "good"]) == 0
    assert "  objective  good.loss  a loss" in capsys.readouterr().out
    assert main(["plugins", "raises"]) == 0
    assert "Traceback" not in capsys.readouterr().out
    assert main(["plugins", "raises", "--traceback"]) == 0
    shown = capsys.readouterr().out
    assert "in inner" in shown
    assert shown.rstrip().endswith("ValueError: deep inside")


def test_a_plugin_that_is_not_there(capsys):
    assert main(["plugins", "biultin"]) == 2
    assert capsys.readouterr().err == 'error: there is no plugin "biultin"; did you mean "builtin"?\n'
