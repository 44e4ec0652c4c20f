"""The probe of transforms: what a backbone sees by construction it names, what a head drops it does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sslkit_simclr import transform_probe
from torch import nn

from sslkit import Arrays, DataError, FrozenModel, Work

TARGETS = ("colour", "rotation", "noise", "sobel")
SIZE = 16


class Seeing(nn.Module):
    """Colourfulness, brightness of the four sides, roughness: each tells one transform."""

    feature_dim = 6

    def forward(self, images):
        grey = images.mean(dim=1)
        colour = (images.amax(dim=1) - images.amin(dim=1)).mean(dim=(1, 2))
        sides = [
            grey[:, :4].mean((1, 2)),
            grey[:, -4:].mean((1, 2)),
            grey[:, :, :4].mean((1, 2)),
            grey[:, :, -4:].mean((1, 2)),
        ]
        rough = grey.diff(dim=2).abs().mean(dim=(1, 2))
        return torch.stack([colour, *sides, rough], dim=1)


class Constant(nn.Module):
    """A head that loses everything."""

    out_dim = 2

    def forward(self, features):
        return features[:, :2] * 0 + 1


def photographs(count, channels=3, seed=0):
    """Smooth images, brightest at the top, darkest at the left, never grey."""
    random = np.random.default_rng(seed)
    down = np.linspace(1, 0.4, SIZE)[:, None] * np.linspace(0.5, 1, SIZE)[None]
    tint = np.sort(random.uniform(0.3, 0.9, (count, channels, 1, 1)), axis=1) + np.linspace(0, 0.1, channels).reshape(
        -1, 1, 1
    )
    return (255 * down * tint).astype(np.uint8)


def make_data(train=300, test=101, channels=3):
    """Return data without labels."""
    return Arrays.of(train=photographs(train, channels), test=photographs(test, channels, 1), layout="NCHW")


def quick(**options):
    return transform_probe(**{"hidden_dim": 32, "epochs": 20, "batch_size": 32, "learning_rate": 0.01, **options})


def test_h_names_what_the_backbone_sees_and_z_what_the_head_leaves():
    data, model = make_data(), FrozenModel(Seeing(), Constant(), input_size=SIZE)
    state = torch.random.get_rng_state()
    h, z = (quick()(model.measuring(measure), data) for measure in ("h", "z"))
    assert h.headline == "mean_accuracy"
    for target in TARGETS:
        assert h.metrics[target] > 0.95, target
        assert z.metrics[target] == z.metrics[f"chance_{target}"] == h.metrics[f"chance_{target}"]
        assert len(h.predictions[f"predicted_{target}"]) == len(h.predictions[f"label_{target}"]) == 101
    assert h.metrics["n"] == 101
    assert torch.equal(torch.random.get_rng_state(), state)


def test_transforms_are_as_likely_as_in_the_paper():
    outcome = quick(epochs=1)(FrozenModel(Seeing(), input_size=SIZE), make_data(test=2000))
    shares = {t: np.bincount(outcome.predictions[f"label_{t}"]) / 2000 for t in TARGETS}
    for target, expected in zip(TARGETS, ([0.8, 0.2], [0.25] * 4, [0.5] * 2, [0.5] * 2), strict=True):
        np.testing.assert_allclose(shares[target], expected, atol=0.04)
    for one in TARGETS:  # independent of each other
        for two in TARGETS[TARGETS.index(one) + 1 :]:
            labels = [outcome.predictions[f"label_{target}"] for target in (one, two)]
            assert abs(np.corrcoef(*labels)[0, 1]) < 0.08


def test_what_happens_to_an_image_depends_on_seed_target_and_place_only():
    data, model = make_data(), FrozenModel(Seeing(), input_size=SIZE)
    whole = quick()(model, data)
    alone = quick(targets=("noise",))(model, data)
    for name in ("label_noise", "predicted_noise"):
        np.testing.assert_array_equal(alone.predictions[name], whole.predictions[name])
    assert set(alone.predictions) == {"label_noise", "predicted_noise"}
    fewer = quick(epochs=1)(model, make_data(test=50))
    other = quick(epochs=1)(FrozenModel(Seeing(), input_size=SIZE, seed=1), data)
    for target in TARGETS:
        np.testing.assert_array_equal(fewer.predictions[f"label_{target}"], whole.predictions[f"label_{target}"][:50])
        assert (other.predictions[f"label_{target}"] != whole.predictions[f"label_{target}"]).any()


def test_the_pixels_are_those_of_the_operations():
    seen = []

    class Recording(Seeing):
        def forward(self, images):
            seen.append(images.clone())
            return super().forward(images)

    data = make_data(train=20, test=40)
    outcome = quick(epochs=1)(FrozenModel(Recording(), input_size=SIZE), data)
    original = torch.from_numpy(photographs(40, seed=1)).float() / 255
    changed = dict(zip(TARGETS, seen[-4:], strict=True))
    label = {target: torch.from_numpy(outcome.predictions[f"label_{target}"]) for target in TARGETS}
    for target in ("colour", "noise", "sobel"):
        same = (changed[target] == original).flatten(1).all(dim=1)
        assert torch.equal(same, label[target] == 0)
    grey = changed["colour"][label["colour"] == 1]
    assert torch.allclose(grey[:, :1].expand_as(grey), grey, atol=1e-6)
    noise = (changed["noise"] - original)[label["noise"] == 1]
    assert noise.std().item() == pytest.approx(0.1, abs=0.01)
    for image, turned, quarters in zip(original, changed["rotation"], label["rotation"].tolist(), strict=True):
        assert torch.equal(turned, image.rot90(quarters, (1, 2)))


def test_a_limit_leaves_out_training_images_and_no_test_image():
    counted = []

    class Counting(Seeing):
        def forward(self, images):
            counted.append(len(images))
            return super().forward(images)

    outcome = quick(targets=("rotation",), epochs=1, max_train_images=70)(
        FrozenModel(Counting(), input_size=SIZE), make_data()
    )
    assert sum(counted) == 70 + 101
    assert outcome.metrics["n"] == 101


def test_images_without_colour():
    data, model = make_data(channels=1), FrozenModel(Seeing(), input_size=SIZE)
    with pytest.raises(DataError, match="1 channels, and colour needs 3; leave it out: targets = "):
        quick()(model, data)
    with pytest.raises(DataError, match="1 channels, and colour needs 3"):
        quick().check(model.backbone, "h", data)
    quick().check(model.backbone, "h", make_data())
    quick(targets=("rotation",)).check(model.backbone, "h", data)
    outcome = quick(targets=("rotation", "noise", "sobel"))(model, data)
    assert outcome.metrics["rotation"] > 0.9


def test_it_says_how_many_images_it_embeds():
    probe = transform_probe(targets=("rotation", "noise"), max_train_images=30)
    assert probe.work({"train": 50, "test": 20}) == Work(embedded=2 * (30 + 20))
