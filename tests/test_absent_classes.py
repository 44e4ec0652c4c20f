"""Classes that a split lacks: the scores of the others are clean, and the log names what is absent."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit import FrozenModel, ImageFolder, evaluate, knn, linear

COLOURS = {"aqua": (20, 160, 170), "blue": (30, 40, 200), "coral": (240, 120, 80), "red": (200, 20, 20)}
PER_CLASS = 6


class MeanColour(torch.nn.Module):
    feature_dim = 3

    def forward(self, images):
        return images.mean((-2, -1))


def draw(root, split, classes):
    noise = np.random.default_rng(len(split))
    for name in classes:
        folder = root / split / name
        folder.mkdir(parents=True)
        for number in range(PER_CLASS):
            pixels = np.array(COLOURS[name]) + noise.normal(0, 8, (12, 12, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")


def scores(root):
    model = FrozenModel(MeanColour(), input_size=12, workers=0)
    results = evaluate(model, ImageFolder(root, labels="folders"), [knn(k=3), linear(epochs=300, batch_size=6)])
    return [(result.outcome.metrics["top1"], result.outcome.predictions["label"]) for result in results]


@pytest.mark.parametrize("absent", ["no folder", "an empty folder"])
def test_a_test_split_without_a_class(tmp_path, caplog, absent):
    draw(tmp_path, "train", COLOURS)
    draw(tmp_path, "test", ["blue", "coral", "red"])
    if absent == "an empty folder":
        (tmp_path / "test/aqua").mkdir()
    with caplog.at_level(logging.INFO, logger="sslkit"):
        for top1, labels in scores(tmp_path):
            assert top1 == 1.0
            assert labels.tolist() == [1] * PER_CLASS + [2] * PER_CLASS + [3] * PER_CLASS
    assert [record.message for record in caplog.records] == [f"{tmp_path / 'test'}: no images of class aqua"]


def test_a_train_split_with_an_empty_class(tmp_path, caplog):
    draw(tmp_path, "train", ["aqua", "coral", "red"])
    (tmp_path / "train/blue").mkdir()
    draw(tmp_path, "test", COLOURS)
    with caplog.at_level(logging.INFO, logger="sslkit"):
        for top1, labels in scores(tmp_path):
            assert top1 == 1.0
            assert sorted(set(labels.tolist())) == [0, 1, 2]
            assert len(labels) == 3 * PER_CLASS
    said = " ".join(record.message for record in caplog.records)
    assert "without images, so no class: blue" in said
    assert f"{PER_CLASS} images of blue left out" in said
