"""Feature health of networks whose features are known: in good health, all alike, or of few directions."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

from sslkit import (
    AbsentError,
    DataError,
    FrozenModel,
    NonFiniteError,
    Shapes,
    evaluate,
    feature_health,
    lidar,
    rankme,
    timm_backbone,
)
from sslkit.builtin.evaluations import feature_health as module
from sslkit.builtin.evaluations.feature_health import collapse, evenly_spaced
from sslkit.builtin.evaluations.sphere import deviations, uniformity


class Images:
    num_classes = class_names = None

    def __init__(self, images):
        self.images = images
        self.labels = torch.full((len(images),), -1)

    def split(self, name):
        if name != "test":
            raise AbsentError(f"no split {name}")
        return self

    def table(self, name):
        return self.images

    def __len__(self):
        return len(self.images)


def noise(num=80, side=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Images(torch.randint(0, 256, (num, 3, side, side), dtype=torch.uint8, generator=generator))


def colours(num=80, side=6, seed=0):
    images = noise(num, 1, seed).images
    return Images(images.expand(-1, -1, side, side).contiguous())


class Flat(nn.Module):
    feature_dim = 108

    def forward(self, images):
        return images.flatten(1)


class Constant(Flat):
    def forward(self, images):
        return torch.ones(len(images), 108) + 1e-6 * images.flatten(1)


class Few(nn.Module):
    """Three directions of 64, whatever the image."""

    feature_dim = 64

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 64)
        nn.init.orthogonal_(self.layer.weight, generator=torch.Generator().manual_seed(0))
        nn.init.zeros_(self.layer.bias)

    def forward(self, images):
        return self.layer(images.mean(dim=(2, 3)) - 0.5)


def measured(backbone, data, *, head=None, measure="h", seed=0, **options):
    model = FrozenModel(backbone, head, input_size=6, seed=seed, workers=0).measuring(measure)
    return feature_health(**{"view_images": 20, "views_per_image": 4} | options)(model, data)


def test_numbers_are_those_of_the_split_s_features():
    data = noise()
    values = data.images.flatten(1).float() / 255
    outcome = measured(Flat(), data)
    assert outcome.headline == "rankme"
    metrics = outcome.metrics
    assert metrics["rankme"] == pytest.approx(rankme(values), rel=1e-6)
    assert metrics["uniformity"] == pytest.approx(uniformity(values), rel=1e-6)
    assert metrics["deviation_mean"] == pytest.approx(float(deviations(values).mean()), rel=1e-6)
    assert metrics["deviation_min"] == pytest.approx(float(deviations(values).min()), rel=1e-6)
    assert (metrics["n"], metrics["dimensions"], metrics["dead_fraction"], metrics["collapsed"]) == (80, 108, 0, 0)
    assert (metrics["alpha_req_first"], metrics["alpha_req_last"]) == (10, 79)
    assert 5 < metrics["lidar"] < 20
    assert metrics["alignment"] > 0.05


def test_views_are_compared_with_views_of_their_own_image():
    # A crop of an image of one colour is that image: own views agree, those of any two images do not.
    outcome = measured(Flat(), colours(), crop_area=(0.1, 0.5))
    assert outcome.metrics["alignment"] == pytest.approx(0.0, abs=1e-6)
    assert outcome.metrics["lidar"] == pytest.approx(3.0, abs=0.3)
    assert lidar(torch.rand(20, 4, 108, generator=torch.Generator().manual_seed(0))) > 10


@pytest.mark.parametrize(("measure", "dimensions"), [("h", 64), ("z", 5), ("layer", 64)])
def test_any_layer_can_be_measured(measure, dimensions):
    outcome = measured(Few(), noise(), head=nn.Linear(64, 5), measure=measure)
    assert outcome.metrics["dimensions"] == dimensions
    assert 1 < outcome.metrics["lidar"] < 4


def test_complete_collapse_looks_so_in_every_number(caplog):
    metrics = measured(Constant(), noise()).metrics
    assert metrics["collapsed"] == 1
    assert metrics["rankme"] == pytest.approx(1, abs=0.01)
    assert metrics["effective_dimensions"] == metrics["lidar"] == 0
    assert metrics["uniformity"] == pytest.approx(0, abs=1e-6)
    assert metrics["deviation_mean"] < 1e-5
    assert metrics["dead_fraction"] == 1
    assert "alpha_req" not in metrics
    assert "complete collapse" in caplog.text


def test_dimensional_collapse_is_another(caplog):
    metrics = measured(Few(), noise()).metrics
    assert metrics["collapsed"] == 1
    assert metrics["rankme"] == pytest.approx(3, abs=0.1)
    assert metrics["effective_dimensions"] <= 3
    assert metrics["alpha_req"] > 5
    assert metrics["deviation_mean"] > 0.5
    assert "dimensional collapse" in caplog.text


def test_a_random_backbone_is_named_and_alarms_nobody(caplog):
    caplog.set_level("INFO", "sslkit")
    model = FrozenModel(Few(), input_size=6, workers=0)
    model.is_trained = False
    feature_health(view_images=20, views_per_image=4)(model.measuring("h"), noise())
    (record,) = [record for record in caplog.records if "feature health" in record.getMessage()]
    assert record.levelname == "INFO"
    assert "of h of the random backbone" in record.getMessage()


def test_the_verdict():
    assert collapse(0.01, 40, 64).startswith("complete")
    assert collapse(0.3, 4.9, 64).startswith("dimensional")
    assert collapse(0.3, 5.1, 64) is None
    assert collapse(0.3, 2.1, 8) is None
    assert collapse(0.3, 1.9, 8).startswith("dimensional")


def test_it_repeats_and_draws_from_nobody_s_generator(monkeypatch):
    torch.manual_seed(0)
    first = measured(Flat(), noise(), seed=3).metrics
    drawn = torch.rand(2)
    monkeypatch.setattr(module, "_AT_ONCE", 12)
    second = measured(Flat(), noise(), seed=3).metrics
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(2))
    assert first == second
    assert measured(Flat(), noise(), seed=4).metrics["lidar"] != first["lidar"]


def test_the_engine_gives_it_features_of_data_without_labels():
    model = FrozenModel(Flat(), input_size=6, workers=0)
    (result,) = evaluate(model, noise(), [feature_health(view_images=20, views_per_image=2)])
    assert (result.row()["metric"], result.row()["n"]) == ("rankme", 80)


def test_images_are_evenly_spaced():
    assert evenly_spaced(10, 5).tolist() == [0, 2, 4, 7, 9]
    assert evenly_spaced(3, 100).tolist() == [0, 1, 2]
    assert np.unique(np.diff(evenly_spaced(10_001, 1001))).tolist() == [10]


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(DataError, match="give it two"):
        measured(Flat(), noise(1))
    with pytest.raises(DataError, match="no split validation"):
        measured(Flat(), noise(), split="validation")
    with pytest.raises(DataError, match="area"):
        feature_health(crop_area=(0.9, 0.2))

    class Broken(Flat):
        def forward(self, images):
            return super().forward(images).log().nan_to_num(neginf=torch.inf)

    with pytest.raises(NonFiniteError, match='split "test" are not finite'):
        measured(Broken(), noise())


def test_a_split_that_is_not_there_shows_before_a_run():
    feature_health().check(Flat(), "h", noise())
    with pytest.raises(AbsentError, match="no split validation"):
        feature_health(split="validation").check(Flat(), "h", noise())
    with pytest.raises(DataError, match="give it two"):
        feature_health().check(Flat(), "h", noise(1))


@pytest.mark.parametrize(("share", "is_whole"), [(1.0, True), (0.8, False)])
def test_views_are_of_what_evaluations_see(share, is_whole):
    seen = []

    class Corner(nn.Module):
        feature_dim = 3

        def forward(self, images):
            seen.append(images[:, :, 0, 0])
            return images[:, :, 0, 0] + images.mean(dim=(2, 3))

    data = noise(8, side=40)
    data.images[..., 3:-3, 3:-3] = 0
    data.images[..., 0, :] = 255
    model = FrozenModel(Corner(), input_size=40, workers=0).cropping(share)
    feature_health(view_images=8, views_per_image=2, crop_area=(1.0, 1.0))(model, data)
    assert [bool((corners > 0.9).all()) for corners in seen] == [is_whole] * len(seen)


def test_a_healthy_network_is_not_warned_of(caplog):
    caplog.set_level(logging.INFO, "sslkit")
    measured(Flat(), noise())
    (record,) = [record for record in caplog.records if "feature health" in record.getMessage()]
    assert record.levelno == logging.INFO
    assert "80 test images: no collapse (RankMe" in record.getMessage()


def test_the_row_says_which_split_was_looked_at():
    data = Shapes(image_size=16, num_train=40, num_validation=20, num_test=30)
    model = FrozenModel(timm_backbone(model="test_resnet"), input_size=16, workers=0)
    (result,) = evaluate(model, data, [feature_health(split="train", view_images=4, views_per_image=2)])
    assert (result.row()["split"], result.row()["n"]) == ("train", 40)
    assert result.data_fingerprint == data.split("train").fingerprint()
