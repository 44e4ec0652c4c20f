"""Stopped in the middle of an epoch, then the images changed: refused with what differs; moved or copied: goes on."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from sslkit import RunError, hookimpl, run
from sslkit.engine.stops import Stopped


class StopAt:
    def __init__(self, step):
        self.step = step

    @hookimpl
    def sslkit_step_end(self, state):
        if state.step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def draw(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path):
    """70 images of three classes: four steps of 16 an epoch."""
    for number in range(70):
        name = ("cat", "hund", "owl")[number % 3]
        draw(tmp_path / "data" / "photos" / name / f"{number}.png", number)
    return tmp_path / "data" / "photos"


@pytest.fixture
def recipe(recipe_file):
    """The toy recipe on a folder of photographs, without evaluations."""
    path = recipe_file()
    text = path.read_text().partition("[[evaluate]]")[0]
    shapes = text[text.index("[pretrain.data]") : text.index("[pretrain.views]")]
    path.write_text(text.replace(shapes, '[pretrain.data]\nname = "builtin.image_folder"\nfolder = "photos"\n'))
    return path


@pytest.fixture
def stopped(recipe, photos, tmp_path):
    """The folder of a run that was stopped after 6 of 8 steps."""
    with pytest.raises(Stopped):
        run(recipe, into=tmp_path / "run", data_root=photos.parent, workers=0, watchers=[StopAt(6)])
    return tmp_path / "run"


def add(photos):
    for number in range(5):
        draw(photos / "cat" / f"new{number}.png", number)


def delete(photos):
    for path in sorted(photos.rglob("*.png"))[:5]:
        path.unlink()


def rename(photos):
    (photos / "hund").rename(photos / "dog")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (add, "5 images more (75, were 70): class cat has 29, had 24"),
        (delete, "5 images fewer (65, were 70): class cat has 19, had 24"),
        (rename, "class hund is now called dog"),
    ],
)
def test_row_07_changed_images_are_refused_with_what_differs(recipe, photos, stopped, change, words):
    change(photos)
    before = {path: path.read_bytes() for path in (stopped / "checkpoints").rglob("*") if path.is_file()}
    for _ in range(2):  # the refusal itself forgets nothing
        with pytest.raises(RunError) as caught:
            run(recipe, into=stopped, data_root=photos.parent, workers=0)
        assert str(caught.value) == (
            f"{stopped / 'checkpoints'}: the images on which this run began are not these: {words}; bring them back as "
            "they were, or start a new run in another folder"
        )
    assert before == {path: path.read_bytes() for path in (stopped / "checkpoints").rglob("*") if path.is_file()}


def test_row_07_new_dates_and_another_place_go_on_bit_for_bit(recipe, photos, stopped, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(photos, elsewhere / "photos", copy_function=shutil.copyfile)
    for path in elsewhere.rglob("*.png"):
        os.utime(path, (1, 1))
    shutil.rmtree(photos)
    parts = weights(run(recipe, into=stopped, data_root=elsewhere, workers=0).folder)
    whole = weights(run(recipe, into=tmp_path / "whole", data_root=elsewhere, workers=0).folder)
    assert parts.keys() == whole.keys()
    assert all(torch.equal(parts[name], whole[name]) for name in whole)


def weights(folder):
    return load_file(Path(folder) / "backbone.safetensors") | load_file(Path(folder) / "head.safetensors")
