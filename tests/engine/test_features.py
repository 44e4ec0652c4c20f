from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_plugin
from PIL import ExifTags, Image
from torch import nn

from sslkit import BadImageError, DataError, FrozenModel, Normalisation, RunError, Shapes, embed_folder
from sslkit.builtin.backbones.timm import timm_backbone
from sslkit.engine.centre_crop import fit_image, fit_tensors


@pytest.fixture
def data():
    return Shapes(image_size=16, num_train=30, num_validation=10, num_test=41)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return FrozenModel(toy_plugin.Pooled(), toy_plugin.LinearHead(8), input_size=16, workers=0)


class Pictures:
    """Data without a table: PIL images of several sizes, one of them broken."""

    num_classes = 2
    class_names = ("a", "b")

    def __init__(self, on_bad_image="raise", broken=True):
        self.on_bad_image = on_bad_image
        self.broken = broken

    def split(self, name):
        return self

    def __len__(self):
        return 21

    def __getitem__(self, index):
        if index == 5 and self.broken:
            raise BadImageError("5.jpg", "is cut short")
        rng = np.random.default_rng(index)
        pixels = rng.integers(0, 256, (20 + index, 40, 3), dtype=np.uint8)
        return Image.fromarray(pixels), index % 2


def test_features_are_those_of_the_modules_in_eval_mode(model, data):
    model.measuring("z")
    images = data.table("test")
    h, labels = model.features(data, "test")
    with torch.no_grad():
        expected = model.backbone.eval()(images.float() / 255)
        expected_z = model.head(expected)
    assert torch.equal(h, expected)
    assert torch.equal(model.measuring("z").features(data, "test").values, expected_z)
    assert labels.tolist() == list(data.split("test").labels)
    assert len(h) == 41


def test_frozen_stays_frozen(model, data):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    model.features(data, "train")
    assert not model.backbone.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("size", [1, 7, 41])
def test_batches_of_any_size_give_the_same_features(model, data, size):
    images = data.table("test")
    whole = model.measure_all(images, {"h"})["h"]
    parts = torch.cat([model.measure_all(part, {"h"})["h"] for part in images.split(size)])
    assert torch.allclose(whole, parts, atol=1e-5)


def test_every_layer_is_extracted_in_one_pass(model, data):
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    measured = [model.measuring(name, data) for name in ("h", "z", "conv", "pixels")]
    shapes = [tuple(m.features(data, "test").values.shape) for m in measured]
    assert shapes == [(41, 8), (41, 4), (41, 8), (41, 3 * 16 * 16)]
    assert len(calls) == 1


def test_what_cannot_be_measured_is_told(model):
    with pytest.raises(RunError, match='"norms".*did you mean "norm"'):
        model.measuring("norms")
    with pytest.raises(RunError, match="no projection head"):
        FrozenModel(model.backbone, input_size=16).measuring("z")


def test_layers_of_the_head_are_measured_as_they_leave_them(data):
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=True), nn.Linear(6, 4))
    model = FrozenModel(toy_plugin.Pooled(), head, input_size=16, workers=0)
    names = ("head.1", "head.2", "h", "conv", "z")
    found = {name: model.measuring(name, data) for name in names}
    values = {name: measured.features(data, "test").values for name, measured in found.items()}
    normed = head[1](head[0](values["h"]))
    assert torch.allclose(values["head.1"], normed, atol=1e-6)
    assert (values["head.1"] < 0).any()  # not what the ReLU, which writes over it, has made of it
    assert torch.allclose(values["head.2"], normed.relu(), atol=1e-6)
    assert torch.allclose(values["z"], head[3](normed.relu()), atol=1e-6)
    images = data.table("test").float() / 255
    assert torch.allclose(found["head.2"].embed(images), values["head.2"], atol=1e-5)


def test_layers_of_the_head_that_are_not_there(model):
    with pytest.raises(RunError, match='"head.nonsense": the head has no such layer'):
        model.measuring("head.nonsense")
    with pytest.raises(RunError, match='"head.layer": these weights have no projection head'):
        FrozenModel(model.backbone, input_size=16).measuring("head.layer")


def test_normalisation_is_applied(data):
    backbone = nn.Flatten()
    normalised = FrozenModel(backbone, input_size=16, normalisation=Normalisation((0.5, 0.4, 0.3), (0.1, 0.2, 0.3)))
    plain = FrozenModel(backbone, input_size=16)
    images = torch.rand(2, 3, 16, 16)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.1, 0.2, 0.3])
    expected = (plain(images).view(2, 3, -1) - mean.view(3, 1)) / std.view(3, 1)
    assert torch.allclose(normalised(images), expected.flatten(1))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_test_image_stops_or_is_left_out_and_counted(workers, caplog):
    model = FrozenModel(toy_plugin.Pooled(), input_size=16, workers=workers)
    with pytest.raises(DataError, match=r'5\.jpg.*on_bad_image = "replace"'):
        model.features(Pictures(), "test")
    values, labels = model.features(Pictures("replace"), "test")
    assert len(values) == len(labels) == 20
    assert "1 of 21 images cannot be read and are left out" in caplog.text
    assert "5.jpg: is cut short" in caplog.text
    assert labels.tolist() == [index % 2 for index in range(21) if index != 5]


class Slow:
    """Data of small tensors, of which the first takes its time."""

    num_classes = class_names = None

    def split(self, name):
        return self

    def __len__(self):
        return 400

    def __getitem__(self, index):
        if index == 0:
            time.sleep(1)
        return torch.full((3, 4, 4), index % 256, dtype=torch.uint8), index


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files there")
def test_what_workers_have_ready_takes_few_file_descriptors():
    model = FrozenModel(nn.Flatten(), input_size=4, workers=2)
    files = Path("/proc/self/fd")
    before, found = len(list(files.iterdir())), []
    model.backbone.register_forward_hook(lambda *_: found.append(len(list(files.iterdir()))))
    values, labels = model.features(Slow(), "test")
    assert max(found) - before < 100
    assert labels.tolist() == list(range(400))
    assert torch.allclose(values[:, 0], torch.arange(400) % 256 / 255)


def test_too_many_broken_test_images_stop(model):
    data = Pictures("replace")
    data.max_bad_fraction = 0.04
    with pytest.raises(
        DataError, match=r"test split: 1 of 21 images cannot be read, more than max_bad_fraction = 0.04"
    ):
        model.features(data, "test")


def test_photographs_stored_rotated_have_the_features_of_the_upright_ones(tmp_path):
    size = (90, 60)
    colours = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    for number, few in enumerate(colours):
        upright = Image.fromarray(few).resize(size, Image.Resampling.BICUBIC)
        for folder, orientation in [("upright", 1), *((f"stored{tag}", tag) for tag in turns)]:
            exif = Image.Exif()
            exif[ExifTags.Base.Orientation] = orientation
            stored = upright.transpose(turns[orientation]) if orientation in turns else upright
            (tmp_path / folder).mkdir(exist_ok=True)
            stored.save(tmp_path / folder / f"{number}.jpg", quality=95, exif=exif)
    torch.manual_seed(0)
    model = FrozenModel(timm_backbone(model="test_resnet"), input_size=32, workers=0)
    expected = torch.from_numpy(embed_folder(model, tmp_path / "upright").h)
    centred = torch.nn.functional.normalize(expected - expected.mean(0))
    for tag in turns:
        stored = torch.from_numpy(embed_folder(model, tmp_path / f"stored{tag}").h)
        assert torch.cosine_similarity(stored, expected).min() > 0.99
        # Features of random weights are all alike: without their mean they tell images and their turns apart.
        assert torch.cosine_similarity(stored - expected.mean(0), centred).min() > 0.99


def test_images_are_fitted_by_the_papers_rule():
    large = Image.new("RGB", (500, 375))
    assert fit_image(large, 224).shape == (3, 224, 224)
    pixels = np.zeros((375, 500, 3), dtype=np.uint8)
    pixels[:, :, 0] = np.linspace(0, 255, 500)
    fitted = fit_image(Image.fromarray(pixels), 224)
    # 500 x 375 -> 341 x 256, of which the central 224 columns are kept.
    left, right = 255 * (341 - 224) / 2 / 341, 255 * (341 + 224) / 2 / 341
    assert abs(float(fitted[0, 112, 0]) - left) < 2
    assert abs(float(fitted[0, 112, -1]) - right) < 2


def test_small_images_are_untouched_and_tensors_fit_like_pictures():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(fit_image(Image.fromarray(pixels), 32).numpy().transpose(1, 2, 0), pixels)
    smooth = np.array(Image.fromarray(pixels).resize((90, 60), Image.Resampling.BICUBIC))
    as_tensor = fit_tensors(torch.from_numpy(smooth).permute(2, 0, 1)[None], 48)[0]
    as_picture = fit_image(Image.fromarray(smooth), 48)
    assert as_tensor.shape == as_picture.shape == (3, 48, 48)
    difference = (as_tensor.float() - as_picture.float()).abs()
    assert difference.max() <= 3  # Pillow rounds to 8 bits between its two passes
    assert difference.mean() < 0.5


def test_a_folder_is_embedded_in_order_and_broken_files_are_named(model, tmp_path):
    for name in ("b/2.png", "a.png", "b/10.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (30, 20), (len(name) * 20, 0, 0)).save(tmp_path / name)
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    embedding = embed_folder(model, tmp_path)
    assert embedding.paths == ["a.png", "b/10.jpg", "b/2.png"]
    assert embedding.h.shape == (3, 8)
    assert embedding.z.shape == (3, 4)
    assert len(embedding.bad) == 1
    assert "broken.jpg" in embedding.bad[0]
    assert np.allclose(embedding.h[0], model(fit_image(Image.open(tmp_path / "a.png"), 16)[None] / 255)[0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no .*image"):
        embed_folder(model, tmp_path / "empty")


def test_a_plain_data_set_is_taken_whole(model, data):
    plain = [data.split("test")[number] for number in range(7)]
    found, expected = model.features(plain), model.features(data, "test")
    assert torch.equal(found.values, expected.values[:7])
    assert torch.equal(found.labels, expected.labels[:7])
    assert model.features(plain).values is found.values
