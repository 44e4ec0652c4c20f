"""Discovery: every fault of a plugin is one row with its reason, and harms nobody."""

import os
from pathlib import Path

import pytest

from sslkit import hookimpl
from sslkit.errors import PluginError
from sslkit.registry.discover import Registry
from sslkit.registry.hookspecs import callback_manager
from sslkit.registry.options import signature_of

HEAD = "from sslkit import hookimpl\nSSLKIT_API = 1\n"
HOOK = HEAD + "@hookimpl\ndef sslkit_register(register):\n    "

BROKEN = {
    "raises": ("1 / 0", "ZeroDivisionError: division by zero"),
    "lacks": ("import a_library_that_is_not_here", "No module named 'a_library_that_is_not_here'"),
    "misspells": ("def f(:", "SyntaxError"),
    "leaves": ("import sys\nsys.exit(3)", "SystemExit: 3"),
    "skips": ("class Odd(BaseException): ...\nraise Odd('no test')", "Odd: no test"),
    "old": (HOOK.replace("API = 1", "API = 99") + "pass", "speaks 1: install a newer sslkit"),
    "older": (HOOK.replace("API = 1", "API = 0") + "pass", "speaks 1: install a newer toy-older"),
    "silent": ("from sslkit import hookimpl", "does not say which SSLKIT_API it speaks: write SSLKIT_API = 1 in it"),
    "hookless": (HEAD, "has no @hookimpl sslkit_register(register)"),
    "wrong_argument": (HEAD + "@hookimpl\ndef sslkit_register(registry): ...", "is given register and nothing else"),
    "one_too_many": (
        HOOK.replace("(register)", "(register, extra)") + "pass",
        "has sslkit_register(register, extra), but",
    ),
    "misspelt_hook": (
        HEAD + "@hookimpl\ndef sslkit_regster(register): ...",
        "no hook sslkit_regster; write sslkit_register(",
    ),
    "hook_raises": (HOOK + "raise OSError('no disk')", "OSError: no disk"),
    "bad_name": (HOOK + "register.head('My-Head', 'a:B', summary='')", "lower-case letters, digits and _"),
    "no_string": (HOOK + "register.head('head', dict, summary='')", "the target is a string"),
    "no_colon": (HOOK + "register.head('head', 'a.B', summary='')", "'package.module:Name', not 'a.B'"),
    "twice": (HOOK + "[register.head('h', 'a:B', summary='') for _ in range(2)]", "registered twice"),
    "no_kind": (HOOK + "register.renamed('hed', old='a', new='b')", "no kind 'hed'; did you mean \"head\"?"),
    "halfway": (HOOK + "register.head('h', 'a:B', summary=''); 1 / 0", "ZeroDivisionError"),
}


def row(registry, namespace):
    (record,) = registry.plugin(namespace)
    return record


def test_an_installed_plugin_gives_its_components(install, site):
    module = install("good", version="2.3")
    registry = Registry.discover()
    record = row(registry, "good")
    assert (record.status, record.reason, record.owner) == ("ok", "", "toy-good 2.3")
    assert record.location == str(site)
    component = registry.get("objective", "good.loss")
    assert (component.target, component.owner) == (f"{module}:Loss", "toy-good 2.3")
    assert component.load()().scale == 1.0


def test_every_broken_plugin_is_one_row_with_its_reason_and_the_others_work(install, capsys):
    install("good")
    for namespace, (code, _) in BROKEN.items():
        install(namespace, code)
    registry = Registry.discover()
    for namespace, (_, reason) in BROKEN.items():
        record = row(registry, namespace)
        assert record.status == "failed"
        assert reason in record.reason, namespace
        assert "Traceback" in record.traceback
        assert record.components == []
        with pytest.raises(PluginError, match=rf'plugin "{namespace}" .* cannot be used: .*--traceback'):
            registry.get("head", f"{namespace}.head")
    assert registry.get("objective", "good.loss")
    assert row(registry, "builtin").status == "ok"
    assert capsys.readouterr() == ("", "")


def test_what_a_plugin_prints_is_hidden_and_counted(install, capsys):
    install("loud", "import sys\nprint('x' * 999_999)\nsys.stderr.write('y')\nsys.stdout.close()\n" + HOOK + "pass")
    record = row(Registry.discover(), "loud")
    assert record.status == "ok"
    assert "printed 1,000,001 characters" in record.reason
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("more", ["", "os.rmdir(folder)\n"])
def test_a_changed_working_folder_is_changed_back(install, more):
    before = Path.cwd()
    install("mover", f"import os, tempfile\nfolder = tempfile.mkdtemp()\nos.chdir(folder)\n{more}" + HOOK + "pass")
    record = row(Registry.discover(), "mover")
    assert Path.cwd() == before
    assert record.status == "ok"
    assert "changed the working folder" in record.reason


def test_a_removed_working_folder_hinders_nobody(install, tmp_path, monkeypatch):
    install("good")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "gone"
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()
    assert row(Registry.discover(), "good").status == "ok"


def test_metadata_of_which_only_the_entry_points_are_left_is_a_row(site):
    info = site / "half_gone-0.3.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[sslkit]\nhalf = half_gone.plugin\n")
    record = row(Registry.discover(), "half")
    assert (record.status, record.owner) == ("failed", "half_gone 0.3")
    assert "No module named 'half_gone'" in record.reason
    assert f"if half_gone 0.3 was uninstalled, {info} is left over: delete it" in record.reason


def test_unreadable_metadata_of_a_foreign_package_is_nobodys_business(site, install):
    install("good")
    info = site / "foreign-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_bytes(b"[sslkit\xff\nnonsense")
    assert row(Registry.discover(), "good").status == "ok"


@pytest.mark.parametrize("names", [("double", "double"), ("my-x", "my_x"), ("my.x", "My_X")])
def test_two_distributions_for_one_namespace(install, site, names):
    install(names[0], distribution="first-plugin", version="1.1")
    install(names[1], distribution="second-plugin", version="2.2")
    install("good")
    registry = Registry.discover()
    record = row(registry, names[0].replace("-", "_").replace(".", "_"))
    assert record.status == "conflict"
    for named in ("first-plugin 1.1", "second-plugin 2.2", str(site)):
        assert named in record.reason
    assert record.components == []
    with pytest.raises(PluginError, match="2 distributions claim"):
        registry.get("objective", f"{record.namespace}.loss")
    assert registry.get("objective", "good.loss")


def test_a_namespace_that_no_recipe_could_name(install):
    install("My-x")
    assert "'My-x' of toy-My-x 1.0" in row(Registry.discover(), "my_x").reason


@pytest.mark.parametrize("name", ["builtin", "core", "sslkit", "local"])
def test_reserved_names(install, name, site):
    install(name, version="6.6")
    registry = Registry.discover()
    record = registry.plugin(name)[-1]
    assert record.status == "conflict"
    assert f"{name!r} is reserved for sslkit; claimed by toy-{name} 6.6 in {site}" in record.reason
    assert registry.get("optimizer", "builtin.sgd").owner.startswith("sslkit ")


def test_who_claims_builtin_is_not_blamed_for_a_typing_error(install):
    install("builtin")
    with pytest.raises(PluginError, match=r'no optimizer "builtin.sdg"; did you mean "builtin.sgd"'):
        Registry.discover().get("optimizer", "builtin.sdg")


def test_a_former_name_works_and_warns(install):
    code = HOOK + "register.renamed('objective', old='old', new='new')\n"
    install("good", code + "    register.objective('new', 'a:B', summary='')\n")
    with pytest.warns(FutureWarning, match=r"good\.old is now called good\.new"):
        assert Registry.discover().get("objective", "good.old").name == "good.new"


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("objective", "nt_xent", r'no objective "nt_xent"; did you mean "simclr.nt_xent"\?; see: sslkit components'),
        ("objective", "simclr.nt_xnet", r'did you mean "simclr.nt_xent"\?'),
        ("optimizer", "sgd", r'did you mean "builtin.sgd"\?'),
        ("head", "simclr.nt_xent", "simclr.nt_xent is a component of kind objective, not head"),
        ("objective", "nowhere.zzz", r'no plugin "nowhere" is installed; see: sslkit plugins'),
        ("objective", "simcrl.nt_xent", r'no plugin "simcrl" is installed; did you mean "simclr.nt_xent"\?'),
    ],
)
def test_unknown_names(kind, name, reason):
    with pytest.raises(PluginError, match=reason):
        Registry.discover().get(kind, name)


def test_components_that_cannot_be_imported_say_why(install):
    install("hollow", HOOK + "register.head('h', 'no_such_package.x:Head', summary='')\n"
            "    register.head('g', 'json:Heda', summary='')\n"
            "    register.head('d', 'json:Dumps', summary='')")  # fmt: skip
    registry = Registry.discover()
    assert row(registry, "hollow").status == "ok"
    with pytest.raises(PluginError, match=r"head hollow.h of toy-hollow 1.0 cannot be imported.*no_such_package"):
        registry.get("head", "hollow.h").load()
    with pytest.raises(PluginError, match="module json has no 'Heda'"):
        registry.get("head", "hollow.g").load()
    with pytest.raises(PluginError, match="has no 'Dumps'; did you mean \"dumps\""):
        registry.get("head", "hollow.d").load()


def local(folder, name="my_loss", component="my_loss", option="scale: float = 1.0"):
    path = folder / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    code = HOOK + f"register.objective('{component}', '{name}:MyLoss', summary='mine')\n"
    path.write_text(
        code + "from dataclasses import dataclass\n@dataclass\nclass MyLoss:\n    pass\n"
        f"class MyLoss(MyLoss):\n    def __init__(self, *, {option}): ...\n"
    )
    return path


def test_a_local_file_is_a_plugin(tmp_path):
    path = local(tmp_path)
    registry = Registry.discover([path, path])
    record = row(registry, "local")
    assert (record.status, record.location) == ("ok", str(path))
    component = registry.get("objective", "local.my_loss")
    assert component.load().__name__ == "MyLoss"


def test_two_local_files_of_one_name_are_told_apart(tmp_path):
    first = local(tmp_path / "a", option="scale: float = 1.0")
    second = local(tmp_path / "b", option="other: int = 2")
    options = [
        [option.name for option in signature_of(Registry.discover([path]).get("objective", "local.my_loss")).options()]
        for path in (first, second)
    ]
    assert options == [["scale"], ["other"]]


def test_two_local_files_with_one_component(tmp_path):
    registry = Registry.discover([local(tmp_path, "first"), local(tmp_path, "second")])
    good, bad = registry.plugin("local")
    assert (good.status, bad.status) == ("ok", "failed")
    assert "objective local.my_loss is registered by the file first.py already" in bad.reason


def test_a_local_file_that_is_missing_or_broken_is_blamed_for_its_components_only(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0")
    registry = Registry.discover([local(tmp_path), broken, tmp_path / "missing.py", tmp_path])
    statuses = [(record.status, record.reason) for record in registry.plugin("local")]
    assert statuses[0] == ("ok", "")
    assert statuses[1] == ("failed", "ZeroDivisionError: division by zero (broken.py:1)")
    assert "there is no file" in statuses[2][1]
    assert "there is no file" in statuses[3][1]
    assert registry.get("objective", "local.my_loss")
    with pytest.raises(PluginError, match=r"the file broken\.py.*division by zero"):
        registry.get("objective", "local.lost")


def test_a_kind_that_is_none_is_named(install):
    install("typing_error", HOOK + "register.objectiv('loss', 'a:B', summary='')")
    (record,) = Registry.discover().plugin("typing_error")
    assert 'register.objectiv: there is no such kind; did you mean "objective"' in record.reason


def test_a_misspelt_hook_of_a_callback_is_named():
    class Watcher:
        @hookimpl
        def sslkit_step_ends(self, state): ...

    with pytest.raises(
        PluginError, match='Watcher.sslkit_step_ends is no hook of a run; did you mean "sslkit_step_end"'
    ):
        callback_manager([Watcher()])
