"""101 test images: no score depends on how they were cut into batches, on threads, or on the time of day."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sslkit_simclr import transform_probe

import sslkit.engine.features
from sslkit import (
    Arrays,
    FrozenModel,
    ImageFolder,
    Shapes,
    evaluate,
    feature_health,
    fine_tune,
    knn,
    linear,
    linear_augmented,
    logistic_regression,
    run,
    timm_backbone,
)
from sslkit.builtin.evaluations.factor_probe import factor_probe


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Files of 101 test images in seven classes, and 140 to train on."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for split, count in (("train", 140), ("test", 101)):
        for number in range(count):
            place = folder / split / f"class {number % 7}"
            place.mkdir(parents=True, exist_ok=True)
            noise = generator.integers(0, 80, (20, 24, 3)) + 25 * (number % 7)
            Image.fromarray(noise.astype(np.uint8)).save(place / f"{number}.png")
    return folder


def table(photographs):
    """The same images as arrays of one size."""
    folder = ImageFolder(photographs)

    def split(name):
        images, labels = zip(*(folder.split(name)[i] for i in range(len(folder.split(name)))), strict=True)
        return np.stack([np.asarray(image) for image in images]), np.asarray(labels)

    return Arrays.of(train=split("train"), test=split("test"))


EVALUATIONS = {"knn": knn(k=5), "linear": linear(epochs=10), "logistic": logistic_regression(l2_values=(1e-3, 1e-1))}


@pytest.mark.parametrize("of", ["files", "table"])
def test_batches_and_threads_change_no_score(photographs, of, monkeypatch):
    data = ImageFolder(photographs) if of == "files" else table(photographs)
    before, found = torch.get_num_threads(), []
    try:
        for batch, threads in ((32, 1), (100, 1), (1000, 1), (32, 2), (1000, 2)):
            monkeypatch.setattr(sslkit.engine.features, "BATCH", batch)
            monkeypatch.setattr(sslkit.engine.features, "CHUNK", batch)
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            model = FrozenModel(timm_backbone(model="test_resnet"), input_size=24, workers=0)
            found.append([result.outcome.metrics for result in evaluate(model, data, EVALUATIONS)])
    finally:
        torch.set_num_threads(before)
    for metrics in found:
        assert all(each["n"] == 101 for each in metrics)
        assert all((each["top1"] * 101) == pytest.approx(round(each["top1"] * 101)) for each in metrics)
        assert [each["top1"] for each in metrics] == [each["top1"] for each in found[0]]


def test_three_runs_agree_byte_for_byte_but_for_time(recipe_file, tmp_path):
    texts = []
    for number in range(3):
        folder = run(recipe_file(), into=tmp_path / str(number)).folder
        summary = json.loads((folder / "summary.json").read_text())
        timeless = {key: value for key, value in summary.items() if key not in ("seconds", "finished")}
        metrics = (folder / "evaluate" / "0-builtin.knn" / "metrics.json").read_bytes()
        with np.load(folder / "evaluate" / "0-builtin.knn" / "predictions.npz") as arrays:
            predictions = {name: arrays[name].tobytes() for name in arrays.files}
        texts.append((json.dumps(timeless), metrics, predictions))
    assert texts[0] == texts[1] == texts[2]


def measuring():
    """Every evaluation that measures frozen weights without options of the data's own."""
    short = {"epochs": 1, "batch_size": 16}
    return {
        **EVALUATIONS,
        "linear_augmented": linear_augmented(**short),
        "fine_tune": fine_tune(**short),
        "feature_health": feature_health(view_images=20, views_per_image=3),
        "factor_probe": factor_probe(epochs=1),
        "transform_probe": transform_probe(epochs=1),
    }


@pytest.mark.parametrize("name", measuring())
def test_every_tensor_and_buffer_hashes_the_same_before_and_after(name):
    torch.manual_seed(0)
    model = FrozenModel(timm_backbone(model="test_resnet"), input_size=16, workers=0)
    data = Shapes(image_size=16, num_train=60, num_validation=20, num_test=30)
    before, modes = model.digest(), [module.training for module in model.modules()]
    measuring()[name](model, data)
    assert model.digest() == before
    assert [module.training for module in model.modules()] == modes
    assert not any(parameter.requires_grad for parameter in model.parameters())
