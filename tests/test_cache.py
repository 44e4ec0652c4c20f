from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sslkit.cache import cached_arrays

KEY = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".cache/sslkit/arrays"


def made():
    return {"numbers": np.arange(1000), "none": np.empty(0, dtype=np.uint8)}


def never():
    raise AssertionError("built again")


def assert_whole(arrays):
    assert list(arrays) == ["numbers", "none"]
    assert all(
        np.array_equal(arrays[name], array) and arrays[name].dtype == array.dtype for name, array in made().items()
    )


def test_arrays_are_built_once_and_mapped(folder):
    for arrays in (cached_arrays(KEY, made), cached_arrays(KEY, never)):
        assert_whole(arrays)
        for array in arrays.values():
            assert isinstance(array, np.memmap)
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 1
    assert [place.name for place in folder.iterdir()] == [KEY]


def test_a_mapped_array_is_pickled_as_its_path(folder):
    array = cached_arrays(KEY, made)["numbers"]
    small = pickle.dumps(array)
    again = pickle.loads(small)
    assert len(small) < 500
    assert isinstance(again, np.memmap)
    assert np.array_equal(again, array)
    assert pickle.loads(pickle.dumps(array[10:13])).tolist() == [10, 11, 12]
    assert pickle.loads(pickle.dumps(array[[5, 7]])).tolist() == [5, 7]
    shutil.rmtree(folder)
    assert np.array_equal(pickle.loads(pickle.dumps(array)), array)  # the file is gone, the mapping is not


def _sum(array, answer):
    answer.put((isinstance(array, np.memmap), int(array.sum())))


def test_a_spawned_process_maps_the_same_file(folder):
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    process = context.Process(target=_sum, args=(cached_arrays(KEY, made)["numbers"], answer))
    process.start()
    process.join(60)
    assert answer.get() == (True, 499500)


def cut(path):
    path.write_bytes(path.read_bytes()[:-8])


def lengthen(path):
    path.write_bytes(path.read_bytes() + b"\0" * 8)


def exchange(path):
    np.save(path, np.arange(1000)[::-1].astype(np.float64))  # of the same size


DAMAGES = {
    "cut short": lambda entry: cut(entry / "numbers.npy"),
    "too long": lambda entry: lengthen(entry / "numbers.npy"),
    "another type": lambda entry: exchange(entry / "numbers.npy"),
    "a file missing": lambda entry: (entry / "none.npy").unlink(),
    "no array": lambda entry: (entry / "numbers.npy").write_bytes(b""),
    "no manifest": lambda entry: (entry / "manifest.json").unlink(),
    "half a manifest": lambda entry: cut(entry / "manifest.json"),
    "another manifest": lambda entry: (entry / "manifest.json").write_text('["numbers"]'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_built_again(folder, damage):
    cached_arrays(KEY, made)
    DAMAGES[damage](folder / KEY)
    with pytest.raises(AssertionError, match="built again"):
        cached_arrays(KEY, never)
    assert_whole(cached_arrays(KEY, made))
    assert_whole(cached_arrays(KEY, never))
    assert [place.name for place in folder.iterdir()] == [KEY]


def test_an_array_of_objects_is_never_read(folder):
    cached_arrays(KEY, made)
    np.save(folder / KEY / "numbers.npy", np.array([{}]), allow_pickle=True)
    assert_whole(cached_arrays(KEY, made))


def test_what_cannot_be_stored_stays_in_memory(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    caplog.set_level("DEBUG", "sslkit")
    arrays = cached_arrays(KEY, made)
    assert_whole(arrays)
    assert not arrays["numbers"].flags.writeable
    assert len(caplog.records) == 1
    assert "not cached" in caplog.text


def test_a_full_disk_leaves_nothing_behind(folder, monkeypatch):
    def full(file, array, **options):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    assert_whole(cached_arrays(KEY, made))
    assert list(folder.iterdir()) == []


def test_a_faster_builder_wins(folder):
    def slow():
        return {"numbers": cached_arrays(KEY, made)["numbers"] * 2, "none": made()["none"]}

    assert_whole(cached_arrays(KEY, slow))
    assert [place.name for place in folder.iterdir()] == [KEY]


BUILDER = """
import os, sys
import numpy as np
from sslkit.cache import cached_arrays

def stop(descriptor, fsync=os.fsync):
    fsync(descriptor)
    print("half there", flush=True)
    sys.stdin.read()

os.fsync = stop
cached_arrays(sys.argv[1], lambda: {"numbers": np.arange(1000), "none": np.empty(0, dtype=np.uint8)})
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX only")
def test_a_killed_builder_leaves_nothing_that_counts(folder):
    command = [sys.executable, "-c", BUILDER, KEY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as builder:
        assert builder.stdout.readline() == "half there\n"
        (left,) = folder.iterdir()
        assert left.name.startswith(f".tmp-{builder.pid}-{socket.gethostname()}")
        cached_arrays(OTHER, made)
        assert left.is_dir()  # its builder lives
        builder.send_signal(signal.SIGKILL)
    assert (left / "numbers.npy").is_file()
    assert_whole(cached_arrays(KEY, made))
    assert {place.name for place in folder.iterdir()} == {KEY, OTHER}


def age(path, days):
    then = time.time() - days * 24 * 3600
    os.utime(path, (then, then))


def test_what_nobody_uses_goes(folder):
    cached_arrays(KEY, made)
    elsewhere = folder / ".tmp-1-another-host-x"
    elsewhere.mkdir()
    (folder / "not ours").mkdir()
    age(folder / KEY / "manifest.json", 100)
    cached_arrays(KEY, never)  # used: young again
    cached_arrays(OTHER, made)
    assert (folder / KEY).is_dir()
    assert elsewhere.is_dir()
    age(folder / KEY / "manifest.json", 100)
    age(elsewhere, 2)
    (folder / OTHER / "manifest.json").unlink()
    cached_arrays(OTHER, made)
    assert {place.name for place in folder.iterdir()} == {OTHER, "not ours"}


def test_a_key_is_a_hash(folder):
    for key in ("", "../escape", KEY.upper(), KEY + "\n"):
        with pytest.raises(ValueError, match="not a SHA-256"):
            cached_arrays(key, made)


def test_the_manifest_says_what_is_stored(folder):
    cached_arrays(KEY, made)
    manifest = json.loads((folder / KEY / "manifest.json").read_text())
    assert manifest["numbers"] == {"dtype": "<i8", "shape": [1000], "bytes": 8128}
    assert Path(folder / KEY / "numbers.npy").stat().st_size == 8128
