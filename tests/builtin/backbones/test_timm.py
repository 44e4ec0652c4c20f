"""timm backbones: pooled features of the declared width, weights that timm takes back, mistakes in one line."""

import pytest
import timm
import torch

from sslkit import PluginError
from sslkit.builtin.backbones.timm import timm_backbone

# One small member of each kind of last layer: plain pooling, class token, a width before the last layers that
# differs (MobileNetV3), and a pooling that doubles it.
CASES = [
    ("test_resnet", {}, 3, 32),
    ("test_vit", {"img_size": 64}, 3, 64),
    ("test_vit", {"img_size": 32, "global_pool": "avg"}, 1, 32),
    ("mobilenetv3_small_050", {}, 3, 32),
    ("test_efficientnet", {"global_pool": "catavgmax"}, 4, 32),
]


@pytest.mark.parametrize(("model", "options", "channels", "size"), CASES)
def test_features_are_pooled_and_as_wide_as_declared(model, options, channels, size):
    backbone = timm_backbone(model=model, timm_options=options, in_channels=channels)
    assert backbone.training
    features = backbone(torch.rand(2, channels, size, size))
    assert features.shape == (2, backbone.feature_dim)


@pytest.mark.parametrize(("model", "options", "channels", "size"), CASES)
def test_timm_recreates_it_from_the_attribute_and_takes_its_weights(model, options, channels, size):
    backbone = timm_backbone(model=model, timm_options=options, in_channels=channels).eval()
    again = timm.create_model(backbone.timm["model"], num_classes=0, **backbone.timm["options"]).eval()
    again.load_state_dict(backbone.state_dict(), strict=True)
    images = torch.rand(2, channels, size, size)
    assert torch.equal(again(images), backbone(images))


def test_finding_the_width_draws_nothing_and_changes_nothing():
    torch.manual_seed(0)
    plain = timm.create_model("test_resnet", num_classes=0)
    after_plain = torch.rand(1)
    torch.manual_seed(0)
    backbone = timm_backbone(model="test_resnet")
    assert torch.equal(torch.rand(1), after_plain)
    for (name, ours), theirs in zip(backbone.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_the_options_it_reports_build_it_again():
    backbone = timm_backbone(model="test_resnet", in_channels=1)
    again = timm_backbone(model=backbone.timm["model"], timm_options=backbone.timm["options"])
    assert again.timm == backbone.timm
    assert again(torch.rand(2, 1, 32, 32)).shape == (2, backbone.feature_dim)


def test_it_builds_on_the_meta_device():
    with torch.device("meta"):
        backbone = timm_backbone(model="test_resnet")
    assert backbone.feature_dim == 96
    assert all(parameter.is_meta for parameter in backbone.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "resnet81"}, r"no model 'resnet81'; did you mean \"resnet18\""),
        ({"model": "resnet18.a1_in1k"}, "leave the tag"),
        ({"model": "hf-hub:somebody/model"}, "no model"),
        ({"model": "test_resnet", "timm_options": {"drop_path_rat": 0.1}}, r"did you mean \"drop_path_rate\""),
        ({"model": "vovnet39a", "timm_options": {"drop_path_rat": 0.1}}, r"did you mean \"drop_path_rate\""),
        ({"model": "test_resnet", "timm_options": {"pretrained": True}}, "recipe's key `weights`"),
        ({"model": "test_resnet", "timm_options": {"checkpoint_path": "x.pth"}}, "recipe's key `weights`"),
        ({"model": "test_resnet", "timm_options": {"num_classes": 10}}, "no classifier"),
        ({"model": "test_resnet", "in_channels": 1, "timm_options": {"in_chans": 4}}, "leave one of them out"),
        ({"model": "test_resnet", "timm_options": {"global_pool": ""}}, "does not pool"),
        ({"model": "test_resnet", "timm_options": {"act_layer": "no such thing"}}, "cannot build test_resnet"),
        ({"model": "test_resnet", "timm_options": {"drop_rate": "much"}}, "cannot build test_resnet"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    with pytest.raises(PluginError, match=message) as caught:
        timm_backbone(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_one_model_of_every_family_is_pooled():
    from timm.models._registry import _model_to_module

    families = {}
    for name in timm.list_models():
        families.setdefault(_model_to_module[name], []).append(name)
    refused = []
    for names in families.values():
        try:
            with torch.device("meta"):
                assert timm_backbone(model=min(names, key=len)).feature_dim > 0
        except PluginError as error:
            refused.append(str(error))
    # Some constructors read numbers, which the meta device has not; the features are pooled in all others.
    assert all("meta" in message for message in refused), refused
    assert len(refused) < len(families) / 2
