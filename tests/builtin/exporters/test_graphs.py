"""ONNX and torch.export: other runtimes give the same features, normalisation included, for any number of images."""

import importlib.util
import sys

import pytest
import torch
from torch import nn

from sslkit import FrozenModel, Normalisation, SslkitError
from sslkit.builtin.exporters import portable
from sslkit.builtin.exporters.onnx import export_onnx
from sslkit.builtin.exporters.pt2 import export_pt2

NORMALISATION = Normalisation((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


class Transposed(nn.Module):
    """A backbone of someone's own, whose first convolution is not of images."""

    feature_dim = 5

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(3 * 8 * 8, 5)

    def forward(self, images):
        return self.project(images.mT.flatten(1))


class Deciding(Transposed):
    """Code that no graph can follow: what it does depends on the pixels."""

    def forward(self, images):
        return super().forward(images if images.sum().item() > 0 else -images)


CASES = [
    ("test_resnet", {"size": 48, "channels": 1}),
    ("test_vit", {"size": 64, "img_size": 64, "normalisation": NORMALISATION}),
    (Transposed, {"size": 8, "normalisation": NORMALISATION}),
]


def made(make_pretrained, model, options):
    return make_pretrained(model if isinstance(model, str) else model(), **options)


def require_same(pretrained, channels, run):
    for count in (1, 2, 3, 7):
        images = torch.rand(count, channels, pretrained.input_size, pretrained.input_size)
        torch.testing.assert_close(run(images), pretrained(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("model", "options"), CASES)
def test_torch_export_gives_the_same_features(tmp_path, make_pretrained, model, options):
    pretrained = made(make_pretrained, model, options)
    before = pretrained.digest()
    files = export_pt2()(pretrained, tmp_path)
    assert files == [tmp_path / "pt2" / "model.pt2", tmp_path / "pt2" / "README.md"]
    require_same(pretrained, options.get("channels", 3), torch.export.load(files[0]).module())
    assert pretrained.digest() == before


@pytest.mark.parametrize(("model", "options"), CASES)
def test_onnxruntime_gives_the_same_features(tmp_path, make_pretrained, model, options):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    pretrained = made(make_pretrained, model, options)
    files = export_onnx(opset=19)(pretrained, tmp_path)
    assert files == [tmp_path / "onnx" / "model.onnx", tmp_path / "onnx" / "README.md"]
    session = runtime.InferenceSession(str(files[0]), providers=["CPUExecutionProvider"])
    require_same(
        pretrained,
        options.get("channels", 3),
        lambda images: torch.from_numpy(session.run(["features"], {"images": images.numpy()})[0]),
    )
    graph = onnx.load(str(files[0]))
    assert [entry.version for entry in graph.opset_import if entry.domain == ""] == [19]
    assert "opset 19" in files[1].read_text()


@pytest.mark.parametrize("export", [export_onnx, export_pt2])
def test_code_that_cannot_be_followed_is_said_in_one_line(tmp_path, make_pretrained, export):
    pretrained = made(make_pretrained, Deciding, {"size": 8})
    with pytest.raises(SslkitError, match="cannot") as caught:
        export()(pretrained, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_program_that_gives_other_features_is_refused(tmp_path, make_pretrained, monkeypatch):
    pretrained = make_pretrained()
    save = torch.export.save

    def damaged(program, path):
        for name, tensor in program.state_dict.items():
            program.state_dict[name] = nn.Parameter(1.001 * tensor) if isinstance(tensor, nn.Parameter) else tensor
        save(program, path)

    monkeypatch.setattr(torch.export, "save", damaged)
    with pytest.raises(SslkitError, match="other features"):
        export_pt2()(pretrained, tmp_path)


@pytest.mark.parametrize("wrong", [torch.full((2, 3), float("nan")), torch.zeros(2, 4), torch.full((2, 3), 3e-5)])
def test_nan_other_shapes_and_small_differences_are_differences(tmp_path, wrong):
    with pytest.raises(SslkitError, match="other features"):
        portable.require_equal(torch.zeros(2, 3), wrong, tmp_path)


def test_missing_packages_show_when_the_recipe_is_built(monkeypatch):
    find = importlib.util.find_spec
    module = sys.modules["sslkit.builtin.exporters.onnx"]
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(SslkitError, match=r'needs onnxscript: pip install "sslkit\[onnx\]"'):
        export_onnx()


def test_the_channels_of_images():
    one = FrozenModel(nn.Sequential(nn.Conv2d(4, 2, 3), nn.Conv2d(2, 3, 3)), input_size=8)
    assert portable.num_channels(one) == 4
    assert portable.example_images(one, 3).shape == (3, 4, 8, 8)
    assert portable.num_channels(FrozenModel(Transposed(), normalisation=NORMALISATION, input_size=8)) == 3
