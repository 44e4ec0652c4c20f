from __future__ import annotations

import json
import os
import pickle

import pytest
import torch

from sslkit import (
    FrozenModel,
    Normalisation,
    PluginError,
    RunError,
    SslkitError,
    load_backbone,
    pretrain,
    save_backbone,
    timm_backbone,
)
from sslkit.builtin.exporters.timm import export_timm
from sslkit.engine.artifact import component_card, save_artifact
from sslkit.engine.weights import load_into, normalisation_of_weights, untrained_like

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.2, 0.1)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return FrozenModel(timm_backbone(model="test_resnet"), input_size=32, normalisation=Normalisation(MEAN, STD))


@pytest.fixture
def images():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def timm_folder(model, tmp_path):
    export_timm()(model, tmp_path)
    return tmp_path / "timm"


@pytest.mark.parametrize("prefix", ["", "module.", "backbone."])
def test_a_state_dict_needs_its_module_and_input_size(model, images, tmp_path, prefix):
    path = tmp_path / "w.pth"
    torch.save({prefix + name: tensor for name, tensor in model.backbone.state_dict().items()}, path)
    with pytest.raises(RunError, match=r"says not which backbone it belongs to; name it in the recipe's \[backbone\]"):
        load_backbone(path)
    with pytest.raises(RunError, match="nothing says for which images it was trained"):
        load_backbone(path, backbone=timm_backbone(model="test_resnet"))
    loaded = load_backbone(
        path, backbone=timm_backbone(model="test_resnet"), input_size=32, normalisation=Normalisation(MEAN, STD)
    )
    assert torch.equal(loaded(images), model(images))
    assert loaded.source == tmp_path


def test_a_folder_in_timms_form_brings_normalisation_and_input_size_along(model, images, timm_folder):
    for weights in (timm_folder, f"timm:{timm_folder}"):
        loaded = load_backbone(weights)
        assert torch.allclose(loaded(images), model(images), atol=1e-6)
        assert loaded.input_size == 32
        assert loaded.normalisation == Normalisation(MEAN, STD)
        assert normalisation_of_weights(weights) == (True, Normalisation(MEAN, STD))


def test_what_contradicts_the_weights_is_refused(model, timm_folder, tmp_path):
    save_artifact(tmp_path, model, backbone=component_card("builtin.timm", {"model": "test_resnet"}))
    for weights in (timm_folder, tmp_path / "backbone.safetensors"):
        with pytest.raises(RunError, match="input_size is declared as 64, but .* was trained with 32"):
            load_backbone(weights, input_size=64)
        with pytest.raises(RunError, match="normalisation is declared as"):
            load_backbone(weights, normalisation=Normalisation((0.0,), (0.5,)))
        assert load_backbone(weights, input_size=32, normalisation=Normalisation(MEAN, STD)).input_size == 32


def test_without_normalisation_there_is_none(images, tmp_path):
    model = FrozenModel(timm_backbone(model="test_resnet"), input_size=32)
    export_timm()(model, tmp_path)
    loaded = load_backbone(tmp_path / "timm")
    assert loaded.normalisation is None
    assert torch.allclose(loaded(images), model(images), atol=1e-6)


def test_random_weights_are_those_of_the_module(images):
    backbone = timm_backbone(model="test_resnet")
    loaded = load_backbone("random", backbone=backbone, input_size=32)
    assert torch.equal(loaded(images), backbone.eval()(images))


def test_an_untrained_backbone_of_the_same_kind(model, timm_folder, tmp_path):
    save_artifact(tmp_path, model, backbone=component_card("builtin.timm", {"model": "test_resnet"}))
    for weights in (timm_folder, tmp_path):
        fresh = untrained_like(weights)
        assert [p.shape for p in fresh.parameters()] == [p.shape for p in model.backbone.parameters()]
        assert not torch.equal(next(fresh.parameters()), next(model.backbone.parameters()))
    assert untrained_like("random") is None


def test_timm_weights_to_start_from(model, timm_folder):
    fresh = timm_backbone(model="test_resnet")
    load_into(fresh, f"timm:{timm_folder}")
    assert torch.equal(next(fresh.parameters()), next(model.backbone.parameters()))
    with pytest.raises(RunError, match="does not fit"):
        load_into(timm_backbone(model="test_vit"), f"timm:{timm_folder}")


def test_an_unknown_name_and_a_missing_network_are_one_line(monkeypatch, tmp_path):
    with pytest.raises(PluginError, match=r"timm has no weights for 'resnett50'; did you mean"):
        load_backbone("timm:resnett50")
    if os.environ.get("HF_HUB_OFFLINE") != "1":  # read once, when the hub's client is imported
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SslkitError, match="the weights of timm's test_resnet.r160_in1k cannot be had"):
        load_backbone("timm:test_resnet.r160_in1k")


def test_weights_beside_another_files_card_are_refused(model, tmp_path):
    other = FrozenModel(timm_backbone(model="test_resnet"), input_size=32)
    for name, each in (("a", model), ("b", other)):
        (tmp_path / name).mkdir()
        save_artifact(tmp_path / name, each, backbone=component_card("builtin.timm", {"model": "test_resnet"}))
    (tmp_path / "a" / "backbone.safetensors").write_bytes((tmp_path / "b" / "backbone.safetensors").read_bytes())
    with pytest.raises(RunError, match="is not the file that backbone.json beside it speaks of"):
        load_backbone(tmp_path / "a")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "x"),
        ("input_size", None),
        ("head", "x"),
        ("backbone", {"name": "builtin.timm"}),
        ("normalisation", {"mean": [0.5]}),
        ("timm", 3),
    ],
)
def test_a_damaged_card_is_one_line(model, tmp_path, key, value):
    save_artifact(tmp_path, model, backbone=component_card("builtin.timm", {"model": "test_resnet"}))
    card = tmp_path / "backbone.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {key: value}))
    with pytest.raises(RunError, match=rf"backbone.json: {key} is damaged"):
        load_backbone(tmp_path)


def test_timm_weights_of_which_nothing_fits_are_refused_even_partly(timm_folder):
    with pytest.raises(RunError, match="not one of its tensors fits"):
        load_into(timm_backbone(model="test_vit"), f"timm:{timm_folder}", partial=True)


def test_artifacts_can_be_read_by_others(model, tmp_path):
    path = save_artifact(tmp_path, model, backbone=None)
    (tmp_path / "any").touch()
    assert path.stat().st_mode == (tmp_path / "any").stat().st_mode


def test_what_pretrain_returns_can_be_kept(model, images, tmp_path):
    path = save_backbone(model, tmp_path / "kept" / "here")
    assert path == tmp_path / "kept" / "here" / "backbone.safetensors"
    loaded = load_backbone(tmp_path / "kept" / "here")
    assert torch.equal(loaded(images), model(images))
    assert (loaded.normalisation, loaded.input_size) == (Normalisation(MEAN, STD), 32)


def test_it_can_be_pickled_and_moved_as_any_module(model, images):
    again = pickle.loads(pickle.dumps(model))
    assert torch.equal(again(images), model(images))
    moved = again.to("meta")
    assert moved.device == torch.device("meta")
    assert moved(images.to("meta")).shape == (3, model.backbone.feature_dim)
    assert moved.embed(images).device == torch.device("meta")
    assert not any("normalise" in name for name in again.state_dict())


def test_weights_of_a_checkpoint(toy, tmp_path):
    parts = toy()
    made = pretrain(
        parts.method, parts.data, parts.views, parts.optimizer, checkpoints=tmp_path / "checkpoints", **parts.settings
    )
    newest = sorted((tmp_path / "checkpoints").glob("step-*"))[-1]
    for weights in (newest, newest / "model.safetensors"):
        loaded = load_backbone(weights, backbone=toy().method.backbone, input_size=16)
        assert all(
            torch.equal(loaded.backbone.state_dict()[name], value) for name, value in made.backbone.state_dict().items()
        )
    with pytest.raises(
        RunError, match=r"the run is not finished; go on with it, or take those of .*step-00000012, saying"
    ):
        load_backbone(tmp_path, backbone=parts.method.backbone)
