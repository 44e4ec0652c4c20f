from __future__ import annotations

import json

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from sslkit import FrozenModel, Normalisation, PluginError, RunError, load_backbone, timm_backbone
from sslkit.engine.artifact import component_card, save_artifact
from sslkit.engine.weights import load_into

CARD = component_card("builtin.timm", {"model": "test_resnet"})


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    backbone = timm_backbone(model="test_resnet").to(memory_format=torch.channels_last)
    model = FrozenModel(backbone, input_size=32, normalisation=Normalisation((0.5, 0.4, 0.3), (0.2, 0.2, 0.1)))
    path = save_artifact(tmp_path, model, backbone=CARD, lineage={"recipe": "x"})
    return model, path


def test_the_backbone_comes_back(saved):
    model, path = saved
    images = torch.rand(3, 3, 32, 32)
    for where in (path, path.parent):
        loaded = load_backbone(where)
        assert torch.equal(loaded(images), model(images))
        assert not loaded.training
        assert loaded.input_size == 32


def test_it_loads_in_plain_timm_with_the_cards_normalisation(saved):
    model, path = saved
    card = json.loads(path.with_name("backbone.json").read_text())
    plain = timm.create_model(card["timm"]["model"], num_classes=0, **card["timm"]["options"]).eval()
    plain.load_state_dict(load_file(path), strict=True)
    mean, std = (torch.tensor(card["normalisation"][key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(plain((images - mean) / std), model(images), atol=1e-6)


def test_a_head_is_saved_and_loaded(tmp_path):
    import sslkit_simclr

    torch.manual_seed(0)
    backbone = timm_backbone(model="test_resnet")
    head = sslkit_simclr.MLP(backbone.feature_dim, out_dim=16)
    model = FrozenModel(backbone, head, input_size=32)
    save_artifact(tmp_path, model, backbone=CARD, head=component_card("simclr.mlp", {"out_dim": 16}))
    loaded = load_backbone(tmp_path)
    h = torch.rand(4, backbone.feature_dim)
    assert torch.equal(loaded.head(h), model.head(h))


def test_a_backbone_made_by_hand_needs_its_module(tmp_path):
    model = FrozenModel(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)), input_size=2)
    path = save_artifact(tmp_path, model, backbone=None)
    with pytest.raises(RunError, match="give the module: load_backbone"):
        load_backbone(path)
    again = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    images = torch.rand(2, 3, 2, 2)
    assert torch.equal(load_backbone(path, backbone=again)(images), model(images))


@pytest.fixture
def misfit(saved):
    """A saved backbone that lacks a tensor, has one too many and one of another shape; returns its path and names."""
    _, path = saved
    tensors = load_file(path)
    missing, reshaped = sorted(name for name in tensors if name.endswith("weight"))[:2]
    tensors["surplus"] = torch.zeros(1)
    del tensors[missing]
    tensors[reshaped] = torch.zeros(2, 5)
    save_file(tensors, path)
    return path, missing, reshaped


def test_weights_that_do_not_fit_are_refused_tensor_by_tensor(misfit):
    path, missing, reshaped = misfit
    fresh = timm_backbone(model="test_resnet")
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    shape = list(before[reshaped].shape)
    with pytest.raises(RunError) as caught:
        load_into(fresh, path)
    assert str(caught.value) == (
        f"{path} does not fit: {len(before) - 2} of {len(before)} tensors match; missing: {missing}; unknown: surplus; "
        f"of another shape: {reshaped} (is [2, 5], should be {shape}); to load the tensors that fit, set "
        "pretrain.partial_weights = true"
    )
    assert all(torch.equal(value, before[name]) for name, value in fresh.state_dict().items())


def test_weights_that_fit_partly_are_loaded_on_request_and_reported(misfit, caplog):
    path, missing, reshaped = misfit
    torch.manual_seed(1)
    fresh = timm_backbone(model="test_resnet")
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    caplog.set_level("INFO", "sslkit")
    load_into(fresh, path, partial=True)
    given, count = load_file(path), len(before)
    for name, value in fresh.state_dict().items():
        assert torch.equal(value, before[name] if name in (missing, reshaped) else given[name]), name
    shape = list(before[reshaped].shape)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: {count - 2} of {count} tensors match; the others stay as they are",
        f"{path}: left as it was: missing: {missing}",
        f"{path}: left as it was: unknown: surplus",
        f"{path}: left as it was: of another shape: {reshaped} (is [2, 5], should be {shape})",
    ]


def test_weights_of_which_nothing_fits_are_refused_even_so(tmp_path):
    save_file({"a": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(RunError, match=r"other\.safetensors: not one of its tensors fits: .*; unknown: a"):
        load_into(timm_backbone(model="test_resnet"), tmp_path / "other.safetensors", partial=True)


def test_a_file_that_is_no_safetensors_file_is_refused(tmp_path):
    torch.save({"a": torch.zeros(3)}, tmp_path / "weights.safetensors")
    with pytest.raises(RunError, match="is not a readable safetensors file"):
        load_into(timm_backbone(model="test_resnet"), tmp_path / "weights.safetensors")


def test_what_is_missing_is_named(saved, tmp_path):
    _, path = saved
    with pytest.raises(RunError, match="there are no such weights"):
        load_backbone(tmp_path / "elsewhere")
    card = json.loads(path.with_name("backbone.json").read_text())
    path.with_name("backbone.json").write_text(json.dumps(card | {"backbone": component_card("gone.net", {})}))
    with pytest.raises(PluginError, match="no plugin .gone. is installed"):
        load_backbone(path)
    path.with_name("backbone.json").write_text(json.dumps(card | {"format": 99}))
    with pytest.raises(RunError, match="format 99 by a newer sslkit"):
        load_backbone(path)
    path.with_name("backbone.json").unlink()
    with pytest.raises(RunError, match="says not which backbone it belongs to"):
        load_backbone(path)
