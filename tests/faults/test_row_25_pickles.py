"""A file from outside never runs: what is not safetensors or JSON is refused, and a canary shows that no code ran."""

from __future__ import annotations

import ast
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sslkit
from sslkit import Arrays, BadImageError, DataError, ImageFolder, RunError, SslkitError, load_backbone, run
from sslkit.engine.checkpoint import _digest, choose_checkpoint, file_sha256, read_checkpoint, save_checkpoint

ROOT = Path(sslkit.__file__).parents[1]


class Payload:
    """Unpickled, it writes a file."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


@pytest.fixture(params=["torch.save", "old torch.save", "pickle"])
def hostile(request, canary):
    """A function that writes a file which runs code for anyone careless."""

    def write(path):
        content = {"weight": torch.ones(2), "payload": Payload(canary)}
        if request.param == "pickle":
            path.write_bytes(pickle.dumps(content))
        else:
            torch.save(content, path, _use_new_zipfile_serialization=request.param == "torch.save")
        return path

    return write


def test_row_25_the_payload_does_bite_where_nobody_is_careful(hostile, canary, tmp_path):
    path = hostile(tmp_path / "model.pt")
    try:
        torch.load(path, weights_only=False)
    except Exception:
        pickle.loads(path.read_bytes())
    assert canary.exists()


@pytest.mark.parametrize("name", ["model", "optimizer", "callbacks"])
def test_row_25_in_a_checkpoint(hostile, canary, tmp_path, name):
    """Even where its maker has made the manifest agree."""
    path = save_checkpoint(tmp_path / "checkpoints", 1, {}, {})
    bad = hostile(path / f"{name}.safetensors")
    manifest = json.loads((path / "MANIFEST.json").read_text())
    del manifest["sha256"]
    manifest["files"][bad.name] = {"bytes": bad.stat().st_size, "sha256": file_sha256(bad)}
    (path / "MANIFEST.json").write_text(json.dumps(manifest | {"sha256": _digest(manifest)}))
    chosen = choose_checkpoint(path.parent)
    with pytest.raises(RunError, match=r"step-00000001: holds no state of a run: SafetensorError"):
        read_checkpoint(chosen)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["backbone.safetensors", "head.safetensors"])
def test_row_25_as_weights_under_the_right_name(hostile, canary, finished, recipe_file, tmp_path, name):
    whole = (finished / name).read_bytes()
    hostile(finished / name)
    try:
        reason = "is not the file that" if name.startswith("backbone") else "is not a readable safetensors file"
        with pytest.raises(RunError, match=f"{name}: {reason}"):
            load_backbone(finished)
        if name.startswith("backbone"):
            with pytest.raises(RunError, match=f"{name}: is not a readable safetensors file"):
                run(recipe_file(), into=tmp_path / "run", overrides=[f"pretrain.weights='{finished}'"])
    finally:
        (finished / name).write_bytes(whole)
    assert not canary.exists()


_REFUSALS = (
    "says not which backbone|could run code, so it is not loaded|is not a readable safetensors file"
    "|is not the file that|nor what torch.save writes"
)


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.bin", "checkpoint.ckpt", "backbone.safetensors"])
def test_row_25_as_weights_of_another_kind(hostile, canary, finished, recipe_file, tmp_path, name):
    """A card beside it, as an artifact has it, changes nothing."""
    path = hostile(tmp_path / name)
    for card in (None, (finished / "backbone.json").read_bytes()):
        if card is not None:
            path.with_name("backbone.json").write_bytes(card)
            shutil.copytree(finished / "plugins", path.parent / "plugins")
        for load in (
            lambda: load_backbone(path),
            lambda: load_backbone(path, backbone=torch.nn.Linear(1, 2), input_size=8),
            lambda: run(recipe_file(), into=tmp_path / "run", overrides=[f"pretrain.weights='{path}'"]),
        ):
            with pytest.raises(RunError, match=_REFUSALS):
                load()
    assert not canary.exists()


def test_row_25_plugin_files_beside_weights_run_for_weights_of_theirs_only(canary, finished, tmp_path):
    """Weights of one's own `local` component bring its file; nobody else's weights bring code."""
    for name in ("backbone.safetensors", "backbone.json"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "evil.py").write_text(f"open({str(canary)!r}, 'w')")
    card = json.loads((tmp_path / "backbone.json").read_text())
    for name in ("builtin.timm", "simclr.resnet", "evil", "evil:Backbone", "localx.evil"):
        (tmp_path / "backbone.json").write_text(json.dumps(card | {"backbone": {"name": name, "options": {}}}))
        with pytest.raises(SslkitError):
            load_backbone(tmp_path)
        assert not canary.exists()


@pytest.mark.parametrize("backbone", ["os", 3, [], ["name"], {}, {"name": "builtin.timm"}, {"name": 1, "options": 2}])
def test_row_25_a_card_of_any_shape_is_one_line(finished, tmp_path, backbone):
    (tmp_path / "backbone.safetensors").write_bytes((finished / "backbone.safetensors").read_bytes())
    card = json.loads((finished / "backbone.json").read_text())
    (tmp_path / "backbone.json").write_text(json.dumps(card | {"backbone": backbone}))
    with pytest.raises(RunError, match=r"backbone\.json: backbone is damaged"):
        load_backbone(tmp_path)


def test_row_25_as_arrays_or_images(canary, tmp_path):
    """numpy's own files may hold pickles as well, and an image may be anything."""
    objects = np.empty(2, dtype=object)
    objects[0] = Payload(canary)
    np.save(tmp_path / "images.npy", objects, allow_pickle=True)
    with pytest.raises(DataError, match=r"images\.npy: not read as \.npy"):
        Arrays(tmp_path, train="images.npy")
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "b.png").write_bytes(pickle.dumps(Payload(canary)))
    images = ImageFolder(tmp_path / "images").split("train")
    with pytest.raises(BadImageError):
        images[1]
    assert not canary.exists()


# Where something is unpickled all the same, and why nobody else can have written it.
UNPICKLING = {
    "sslkit/engine/chunks.py": "what this process hands to a loader process that it starts itself",
    "sslkit/engine/state_dicts.py": "torch's reader that knows tensors only, for the weights of others",
    "sslkit/builtin/data/arrays_only.py": "knows numbers, text and arrays only; for CIFAR's official files",
    "sslkit/testing/checks/data.py": "what the check has pickled itself, a line before",
    "sslkit/testing/checks/views.py": "the same",
    "sslkit/testing/worlds.py": "answers of the processes that it has started, through a pipe",
    "sslkit/testing/rank.py": "tasks of the process that has started it, through a pipe",
}
_UNPICKLERS = {"load", "loads", "Unpickler", "open", "open_shelf"}


def test_row_25_nothing_else_unpickles():
    found = {}
    for path in [*(ROOT / "sslkit").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(ROOT).as_posix()}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id in ("pickle", "cPickle", "dill", "marshal", "shelve", "joblib", "cloudpickle"):
                    if node.attr in _UNPICKLERS:
                        found[where] = node.lineno
                elif (node.value.id, node.attr) in (("torch", "load"), ("hub", "load"), ("torch", "hub")):
                    found[where] = node.lineno
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert "weights_only=True" in ast.unparse(node), where
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant), where
                assert node.value.value is False, where
            if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "marshal", "shelve", "joblib", "torch"):
                assert not _UNPICKLERS & {name.name for name in node.names}, where
    assert found.keys() <= UNPICKLING.keys()
