"""`sslkit export`: a new folder or one clear line, and never half of one."""

import pytest
import timm
import torch

from sslkit import FrozenModel, timm_backbone
from sslkit.__main__ import main
from sslkit.builtin.exporters import timm as timm_exporter
from sslkit.engine.artifact import component_card, save_artifact


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    torch.manual_seed(0)
    model = FrozenModel(timm_backbone(model="test_resnet"), input_size=32)
    card = component_card("builtin.timm", {"model": "test_resnet"})
    save_artifact(folder, model, backbone=card, lineage={"recipe": "toys", "epochs": 7})
    return folder


@pytest.mark.parametrize("name", ["timm", "builtin.timm", "huggingface-folder"])
def test_it_writes_a_new_folder_and_lists_its_files(run_folder, tmp_path, capsys, name):
    target = tmp_path / "some" / "where"
    assert main(["export", str(run_folder), "--to", name, "-o", str(target)]) == 0
    files = ["README.md", "config.json", "model.safetensors"]
    assert sorted(path.name for path in target.iterdir()) == files
    assert sorted(capsys.readouterr().out.splitlines()) == [str(target / file) for file in files]
    assert list(target.parent.iterdir()) == [target]
    assert "| epochs | 7 |" in (target / "README.md").read_text()
    assert target.stat().st_mode & 0o055 == 0o055  # not readable by its maker only, as temporary folders are
    loaded = timm.create_model(f"local-dir:{target}", pretrained=True).eval()
    assert loaded(torch.rand(2, 3, 32, 32)).shape == (2, 96)


def test_without_a_folder_it_goes_beside_the_weights(run_folder, capsys):
    assert main(["export", str(run_folder / "backbone.safetensors"), "--to", "pt2"]) == 0
    assert sorted(path.name for path in (run_folder / "pt2").iterdir()) == ["README.md", "model.pt2"]
    assert main(["export", str(run_folder), "--to", "pt2"]) == 2
    assert "pt2: is there already; name a new folder: -o DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("onx", 'no exporter "builtin.onx"; did you mean "builtin.onnx"?'),
        ("builtin.knn", "builtin.knn is a component of kind evaluation, not exporter"),
        ("nobody.coreml", 'no plugin "nobody" is installed'),
    ],
)
def test_unknown_formats_are_refused(run_folder, capsys, name, message):
    assert main(["export", str(run_folder), "--to", name]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_weights_that_are_not_there_are_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "unfinished").mkdir()
    for weights in ("unfinished", "missing.safetensors"):
        assert main(["export", str(tmp_path / weights), "--to", "timm", "-o", str(tmp_path / "out")]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_fails_leaves_nothing(run_folder, tmp_path, capsys, monkeypatch):
    def fails(*arguments, **options):
        raise RuntimeError("no more ink")

    monkeypatch.setattr(timm_exporter, "write_card", fails)
    with pytest.raises(RuntimeError):
        main(["export", str(run_folder), "--to", "timm", "-o", str(tmp_path / "out"), "-v"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
