"""The timm exporter: what timm loads from the folder is the backbone, and the card tells no tales."""

import json

import pytest
import timm
import torch
from torch import nn

from sslkit import FrozenModel, Normalisation, SslkitError
from sslkit.builtin.exporters import timm_folder
from sslkit.builtin.exporters.huggingface_folder import export_huggingface_folder
from sslkit.builtin.exporters.timm import export_timm

FILES = ["README.md", "config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("model", "options", "channels", "size"),
    [
        ("test_resnet", {}, 3, 32),
        ("test_resnet", {"act_layer": "silu", "global_pool": "max"}, 1, 32),
        ("test_vit", {"img_size": 64}, 3, 64),
    ],
)
def test_timm_loads_the_folder_and_gives_the_same_features(tmp_path, make_pretrained, model, options, channels, size):
    pretrained = make_pretrained(model, channels=channels, size=size, **options)
    for export, name in ((export_timm, "timm"), (export_huggingface_folder, "huggingface_folder")):
        files = export()(pretrained, tmp_path)
        assert sorted(path.relative_to(tmp_path / name).as_posix() for path in files) == FILES
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == FILES
        loaded = timm.create_model(f"local-dir:{tmp_path / name}", pretrained=True).eval()
        images = torch.rand(3, channels, size, size)
        torch.testing.assert_close(loaded(images), pretrained(images), rtol=0, atol=1e-5)


def test_the_configuration_says_what_is_known_and_nothing_else(tmp_path, make_pretrained):
    normalisation = Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    export_timm()(make_pretrained("resnet18", size=48, normalisation=normalisation), tmp_path)
    text = (tmp_path / "timm" / "config.json").read_text()
    card = json.loads(text)["pretrained_cfg"]
    assert (card["mean"], card["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert (card["input_size"], card["num_classes"], card["tag"]) == ([3, 48, 48], 0, "sslkit")
    assert round(48 / card["crop_pct"]) == 55  # 7/8 of the shorter side, as evaluations keep
    for claim in ("license", "paper", "url", "hf_hub_id", "in1k", "origin"):
        assert claim not in text


def test_without_normalisation_the_configuration_says_mean_0_std_1(tmp_path, make_pretrained):
    export_timm()(make_pretrained(), tmp_path)
    loaded = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True)
    data = timm.data.resolve_model_data_config(loaded)
    assert [list(data[key]) for key in ("mean", "std", "input_size")] == [[0.0] * 3, [1.0] * 3, [3, 32, 32]]
    assert data["crop_pct"] == 1  # such small images are not cropped


def test_the_backbone_itself_is_left_as_it_was(tmp_path, make_pretrained):
    pretrained = make_pretrained()
    before, card = pretrained.digest(), dict(pretrained.backbone.pretrained_cfg)
    export_timm()(pretrained, tmp_path)
    assert dict(pretrained.backbone.pretrained_cfg) == card
    assert pretrained.digest() == before


def test_other_backbones_are_refused_in_one_line(tmp_path, make_pretrained):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(SslkitError, match=r"Sequential is no network that timm knows.*builtin\.onnx") as caught:
        export_timm()(FrozenModel(flat, input_size=2), tmp_path)
    assert "\n" not in str(caught.value)
    other = make_pretrained()
    other.backbone.timm = {"model": "test_vit", "options": {}}
    with pytest.raises(SslkitError, match="does not take the weights"):
        export_timm()(other, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_give_the_same_features_is_refused(tmp_path, make_pretrained, monkeypatch):
    save = timm_folder.save_for_hf

    def damaged(model, *arguments, **options):
        with torch.no_grad():
            model.conv1[0].weight.mul_(1.001)
        save(model, *arguments, **options)

    monkeypatch.setattr(timm_folder, "save_for_hf", damaged)
    with pytest.raises(SslkitError, match="other features"):
        export_timm()(make_pretrained(), tmp_path)
