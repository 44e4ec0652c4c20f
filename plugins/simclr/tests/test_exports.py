"""The paper's own ResNets leave sslkit: as a graph all of them, as a timm model those that timm has."""

import pytest
import torch
from sslkit_simclr import simclr_resnet

from sslkit import FrozenModel, Registry, SslkitError


def exporter(name):
    return Registry.discover().get("exporter", name).load()()


def test_the_cifar_stem_is_exported_as_a_program(tmp_path):
    torch.manual_seed(0)
    model = FrozenModel(simclr_resnet(model="test_resnet", stem="cifar"), input_size=32)
    program, _ = exporter("builtin.pt2")(model, tmp_path)
    images = torch.rand(5, 3, 32, 32)
    torch.testing.assert_close(torch.export.load(program).module()(images), model(images), rtol=0, atol=1e-5)
    with pytest.raises(SslkitError, match=r"no network that timm knows.*builtin\.pt2"):
        exporter("builtin.timm")(model, tmp_path)


def test_a_resnet_of_timms_is_exported_to_timm(tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    backbone = simclr_resnet(model="test_resnet", first_shortcut="identity")
    model = FrozenModel(backbone, input_size=64)
    exporter("builtin.timm")(model, tmp_path)
    loaded = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(loaded(images), model(images), rtol=0, atol=1e-5)
