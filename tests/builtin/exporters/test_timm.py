"""The timm exporter: what timm loads from the folder is the backbone, and the card tells no tales."""

import json
from types import SimpleNamespace

import pytest
import timm
import torch
from torch import nn

from sslkit import Normalisation, SslkitError
from sslkit.builtin.backbones.timm import timm_backbone
from sslkit.builtin.exporters import timm as exporter
from sslkit.builtin.exporters.timm import export_timm


def pretrained_with(backbone, size=32, normalisation=None):
    return SimpleNamespace(
        backbone=backbone,
        head=None,
        normalisation=normalisation,
        input_size=size,
        device=torch.device("cpu"),
        seed=0,
    )


def trained(backbone, channels=3, size=32):
    """Move the weights and the running statistics away from where any fresh model has them."""
    backbone(torch.rand(4, channels, size, size))
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return backbone.eval()


@pytest.mark.parametrize(
    ("model", "options", "channels", "size"),
    [
        ("test_resnet", {}, 3, 32),
        ("test_resnet", {"act_layer": "silu", "global_pool": "max"}, 1, 32),
        ("test_vit", {"img_size": 64}, 3, 64),
    ],
)
def test_timm_loads_the_folder_and_gives_the_same_features(tmp_path, model, options, channels, size):
    backbone = trained(timm_backbone(model=model, timm_options=options, in_channels=channels), channels, size)
    files = export_timm()(pretrained_with(backbone, size), tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in files] == [
        "timm/model.safetensors",
        "timm/config.json",
    ]
    assert sorted(path.name for path in (tmp_path / "timm").iterdir()) == ["config.json", "model.safetensors"]
    loaded = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    images = torch.rand(3, channels, size, size)
    assert torch.equal(loaded(images), backbone(images))


def test_the_card_says_what_is_known_and_nothing_else(tmp_path):
    normalisation = Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    backbone = timm_backbone(model="resnet18").eval()
    export_timm()(pretrained_with(backbone, 48, normalisation), tmp_path)
    text = (tmp_path / "timm" / "config.json").read_text()
    card = json.loads(text)["pretrained_cfg"]
    assert (card["mean"], card["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert (card["input_size"], card["num_classes"], card["tag"]) == ([3, 48, 48], 0, "sslkit")
    for claim in ("license", "paper", "url", "hf_hub_id", "in1k", "origin"):
        assert claim not in text


def test_without_normalisation_the_card_says_mean_0_std_1(tmp_path):
    export_timm()(pretrained_with(timm_backbone(model="test_resnet").eval()), tmp_path)
    loaded = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True)
    data = timm.data.resolve_model_data_config(loaded)
    assert [list(data[key]) for key in ("mean", "std", "input_size")] == [[0.0] * 3, [1.0] * 3, [3, 32, 32]]


def test_the_backbone_itself_is_left_as_it_was(tmp_path):
    backbone = trained(timm_backbone(model="test_resnet"))
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    card = dict(backbone.pretrained_cfg)
    export_timm()(pretrained_with(backbone), tmp_path)
    assert dict(backbone.pretrained_cfg) == card
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_other_backbones_are_refused_in_one_line(tmp_path):
    with pytest.raises(SslkitError, match="Linear is no timm model") as caught:
        export_timm()(pretrained_with(nn.Linear(2, 2)), tmp_path)
    assert "\n" not in str(caught.value)
    other = timm_backbone(model="test_resnet")
    other.timm = {"model": "test_vit", "options": {}}
    with pytest.raises(SslkitError, match="does not take the weights"):
        export_timm()(pretrained_with(other), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_give_the_same_features_is_refused(tmp_path, monkeypatch):
    save = exporter.save_for_hf

    def damaged(model, *arguments, **options):
        with torch.no_grad():
            model.conv1[0].weight.mul_(1.001)
        save(model, *arguments, **options)

    monkeypatch.setattr(exporter, "save_for_hf", damaged)
    with pytest.raises(SslkitError, match="other features"):
        export_timm()(pretrained_with(trained(timm_backbone(model="test_resnet"))), tmp_path)
