"""Metadata on the import path, stale and doubled: the code that an import finds is the plugin, with its own version."""

import base64
import hashlib
import json
import site as python_site
import sys
import zipfile

import pytest

from sslkit.registry.discover import Registry


def row(namespace="good"):
    (record,) = Registry.discover().plugin(namespace)
    return record


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Return a function that makes a folder in front of the import path."""

    def add(name):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.syspath_prepend(str(folder))
        return folder

    yield add
    for name in [name for name in sys.modules if name.startswith("toy_copied")]:
        del sys.modules[name]


def copy(folder, version):
    """Leave a package whose summary says which version it is."""
    package = folder / "toy_copied"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").touch()
    (package / "plugin.py").write_text(
        "from sslkit import hookimpl\nSSLKIT_API = 1\n@hookimpl\ndef sslkit_register(register):\n"
        f"    register.head('head', 'toy_copied.plugin:Head', summary='code of {version}')\n"
    )
    return "toy_copied.plugin"


def note_record(folder, version):
    """Write the list of files with their digests, as pip does."""
    digest = hashlib.sha256((folder / "toy_copied" / "plugin.py").read_bytes()).digest()
    text = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    (folder / f"toy_good-{version}.dist-info" / "RECORD").write_text(f"toy_copied/plugin.py,sha256={text},1\n")


@pytest.mark.parametrize("versions", [("1.0", "2.0"), ("9.0", "10.0"), ("2.0.dev1", "2.0.1")])
@pytest.mark.parametrize("newer_first", [True, False])
def test_an_older_dist_info_beside_a_newer_one(install, path, versions, newer_first):
    folder = path("only")
    module = copy(folder, versions[1])
    for version in reversed(versions) if newer_first else versions:
        install("good", version=version, module=module, folder=folder)
    assert (row().status, row().version) == ("ok", versions[1])


def test_after_a_step_back_the_list_of_files_tells_which_version_it_is(install, path):
    folder = path("only")
    install("good", version="2.0", module=copy(folder, "2.0"), folder=folder)
    note_record(folder, "2.0")
    install("good", version="1.0", module=copy(folder, "1.0"), folder=folder)
    note_record(folder, "1.0")
    assert (row().version, row().components[0].summary) == ("1.0", "code of 1.0")


@pytest.mark.parametrize(("first", "second"), [("2.0", "1.9"), ("1.9", "2.0")])
def test_of_two_copies_on_the_path_the_first_wins_as_in_an_import(install, path, first, second):
    later, earlier = path("later"), path("earlier")
    install("good", version=second, module=copy(later, second), folder=later)
    install("good", version=first, module=copy(earlier, first), folder=earlier)
    record = row()
    assert (record.status, record.owner, record.location) == ("ok", f"toy-good {first}", str(earlier))
    assert [component.summary for component in record.components] == [f"code of {first}"]


def test_stale_metadata_in_front_names_code_that_is_elsewhere(install, path):
    real, stale = path("real"), path("stale")
    module = copy(real, "2.0")
    install("good", version="2.0", module=module, folder=real)
    install("good", version="1.0", module=module, folder=stale)
    assert (row().owner, row().location) == ("toy-good 2.0", str(real))


def test_stale_metadata_in_front_names_code_that_is_gone(install, path):
    install("good", version="2.0")
    install("good", version="1.0", module="a_module_that_is_gone", folder=path("stale"))
    registry = Registry.discover()
    assert [record.owner for record in registry.plugin("good")] == ["toy-good 2.0"]
    assert [component.name for component in registry.components("objective")].count("good.loss") == 1


def test_what_a_renamed_distribution_left_does_not_fight_its_successor(install, path):
    install("good", version="2.0", distribution="new-name")
    install(
        "good", version="1.0", distribution="old-name", module="a_package_that_is_gone.plugin", folder=path("stale")
    )
    assert (row().status, row().owner) == ("ok", "new-name 2.0")


def test_what_an_interrupted_upgrade_left_is_no_distribution(install, path):
    folder = path("only")
    module = copy(folder, "1.0")
    install("good", version="1.0", module=module, folder=folder)
    install("good", version="2.0", module=module, folder=folder)
    (folder / "toy_good-2.0.dist-info").rename(folder / "~oy_good-2.0.dist-info")
    assert (row().status, row().owner) == ("ok", "toy-good 1.0")


def test_an_editable_install_beside_an_uninstalled_half(install, path, tmp_path, monkeypatch):
    site, project = path("packages"), tmp_path / "my project"
    (project / "src").mkdir(parents=True)
    module = copy(project / "src", "2.0")
    for version in ("3.0", "2.0"):
        install("good", version=version, module=module, folder=site)
    (site / "toy_good-3.0.dist-info" / "METADATA").unlink()  # uninstalled, but for what somebody held open
    (site / "toy_good.pth").write_text(f"{project / 'src'}\n")
    address = {"url": project.as_uri(), "dir_info": {"editable": True}}
    (site / "toy_good-2.0.dist-info" / "direct_url.json").write_text(json.dumps(address))
    monkeypatch.setattr(sys, "path", [*sys.path])
    python_site.addsitedir(str(site))
    assert (row().status, row().owner, row().location) == ("ok", "toy-good 2.0", str(project / "src"))


def test_a_development_install_of_old_is_one_row(path):
    source, site = path("source"), path("packages")
    module = copy(source, "0.4")
    for folder in (source, site):  # `setup.py develop`, and what an older pip left in site-packages
        info = folder / "toy_good.egg-info"
        info.mkdir()
        (info / "PKG-INFO").write_text(
            f"Metadata-Version: 1.0\nName: toy-good\nVersion: 0.{4 if folder == source else 3}\n"
        )
        (info / "entry_points.txt").write_text(f"[sslkit]\ngood = {module}\n")
    (site / "toy-good.egg-link").write_text(f"{source}\n.")
    assert (row().status, row().owner, row().location) == ("ok", "toy-good 0.4", str(source))


def test_metadata_without_a_version_takes_it_from_the_folder(install, path):
    folder = path("only")
    install("good", version="0.7", module=copy(folder, "0.7"), folder=folder)
    (folder / "toy_good-0.7.dist-info" / "METADATA").write_text("")
    assert row().owner == "toy_good 0.7"


def test_a_plugin_inside_a_zip_file(tmp_path, monkeypatch):
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("toy_copied/__init__.py", "")
        file.writestr("toy_copied/plugin.py", "from sslkit import hookimpl\nSSLKIT_API = 1\n"
                      "@hookimpl\ndef sslkit_register(register): ...\n")  # fmt: skip
        file.writestr("toy_zipped-1.0.dist-info/METADATA", "Name: toy-zipped\nVersion: 1.0\n")
        file.writestr("toy_zipped-1.0.dist-info/entry_points.txt", "[sslkit]\ngood = toy_copied.plugin\n")
    monkeypatch.syspath_prepend(str(archive))
    record = row()
    for name in [name for name in sys.modules if name.startswith("toy_copied")]:
        del sys.modules[name]
    assert (record.status, record.owner, record.location) == ("ok", "toy-zipped 1.0", str(archive))
