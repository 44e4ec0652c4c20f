import pytest

from sslkit.__main__ import main
from sslkit.sources import SOURCES


def test_the_command_lists_the_sets_and_refuses_others(tmp_path, capsys):
    assert main(["data", "fetch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(SOURCES)
    assert main(["data", "fetch", "dtf", "--data-root", str(tmp_path)]) == 2
    assert "no set 'dtf'; did you mean \"dtd\"?" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if not source.archives])
def test_sets_that_cannot_be_fetched_say_where_to_get_them(name, tmp_path, capsys):
    assert main(["data", "fetch", name, "--data-root", str(tmp_path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {name} cannot be fetched: ")
    assert line.endswith(f"see {SOURCES[name].page}")
    assert list(tmp_path.iterdir()) == []


def test_every_source_is_complete():
    for source in SOURCES.values():
        assert bool(source.archives) != bool(source.by_hand)
        assert source.terms
        for archive in source.archives:
            assert len(bytes.fromhex(archive.md5)) == 16
            assert archive.url.startswith(("https://", "http://"))


def test_the_addresses_and_hashes_are_torchvision_s():
    sets = pytest.importorskip("torchvision.datasets")
    ours = {archive.url: archive.md5 for source in SOURCES.values() for archive in source.archives}
    flowers = sets.Flowers102
    theirs = {
        sets.Food101._URL: sets.Food101._MD5,
        sets.DTD._URL: sets.DTD._MD5,
        sets.CIFAR10.url: sets.CIFAR10.tgz_md5,
        sets.CIFAR100.url: sets.CIFAR100.tgz_md5,
        sets.STL10.url: sets.STL10.tgz_md5,
        **dict(sets.OxfordIIITPet._RESOURCES),
        **{flowers._download_url_prefix + name: md5 for name, md5 in flowers._file_dict.values()},
        **dict([sets.Imagenette._ARCHIVES["160px"]]),
        **{
            sets.voc.DATASET_YEAR_DICT[key]["url"]: sets.voc.DATASET_YEAR_DICT[key]["md5"]
            for key in ("2007", "2007-test")
        },
    }
    assert theirs.items() <= ours.items()
    assert {url.rpartition("/")[2] for url in ours.keys() - theirs} == {"caltech-101.zip", "fgvc-aircraft-2013b.tar.gz"}
