"""The probe of factors: it finds what is planted, nothing else, and says what is missing."""

import numpy as np
import pytest
import torch

from sslkit import DataError, FrozenModel, Shapes
from sslkit.builtin.evaluations.factor_probe import factor_probe


@pytest.fixture
def planted(make_data):
    """Data with two factors of which features know the first."""

    def factors(name):
        count, seed = {"train": (400, 0), "test": (101, 1)}[name]
        numbers = np.random.default_rng(seed)
        return {"known": numbers.integers(3, size=count), "unknown": numbers.integers(2, size=count)}

    splits = {}
    for name, seed in (("train", 2), ("test", 3)):
        known = torch.from_numpy(factors(name)["known"])
        noise = torch.randn(len(known), 4, generator=torch.Generator().manual_seed(seed))
        splits[name] = (torch.cat([noise, known[:, None] + 0.1 * noise[:, :1]], dim=1), known * 0 - 1)
    data = make_data(None, **splits)
    data.factors = factors
    return data


def test_it_finds_what_the_features_know(planted, make_pretrained):
    outcome = factor_probe(hidden_dim=32, epochs=15, batch_size=32, learning_rate=0.01)(make_pretrained(), planted)
    assert outcome.metrics["known"] > 0.95
    assert outcome.metrics["chance_known"] < 0.45
    assert abs(outcome.metrics["unknown"] - outcome.metrics["chance_unknown"]) < 0.2
    assert outcome.metrics["n"] == 101
    np.testing.assert_array_equal(outcome.predictions["label_known"], planted.factors("test")["known"])


def test_only_the_factors_asked_for(planted, make_pretrained):
    outcome = factor_probe(factors=("unknown",), hidden_dim=4, epochs=1)(make_pretrained(), planted)
    assert set(outcome.predictions) == {"predicted_unknown", "label_unknown"}
    assert outcome.metrics["mean_accuracy"] == outcome.metrics["unknown"]


def test_what_is_missing_is_said(planted, make_pretrained, make_data):
    with pytest.raises(DataError, match='no factor "knwon"; did you mean "known"'):
        factor_probe(factors=("knwon",))(make_pretrained(), planted)
    short = planted.factors
    planted.factors = lambda name: {key: values[:-1] for key, values in short(name).items()}
    with pytest.raises(DataError, match='400 images of the split "train".*factors of 399'):
        factor_probe()(make_pretrained(), planted)
    without = make_data(2, **planted.splits)
    with pytest.raises(DataError, match=r"know no factors.*builtin\.shapes does"):
        factor_probe()(make_pretrained(), without)


def test_factors_that_are_not_known_show_before_a_run(planted, make_data):
    factor_probe(factors=("known",)).check(None, "h", planted)
    with pytest.raises(DataError, match="know no factors"):
        factor_probe().check(None, "h", make_data(2, **planted.splits))
    known = planted.factors
    planted.factors = lambda name: known(name) if name == "train" else {"unknown": known(name)["unknown"]}
    with pytest.raises(DataError, match='no factor "known"'):
        factor_probe(factors=("known",)).check(None, "h", planted)


class Polarity(torch.nn.Module):
    """Features from which one factor of the shapes can be told: how bright the image is, and how it varies."""

    feature_dim = 2

    def forward(self, images):
        grey = images.mean(dim=1).flatten(1)
        return torch.stack([grey.mean(dim=1), ((grey - grey.mean(dim=1, keepdim=True)) ** 3).mean(dim=1)], dim=1)


def test_the_shapes_know_their_own_factors():
    data = Shapes(image_size=16, num_train=400, num_test=200)
    model = FrozenModel(Polarity(), input_size=16)
    outcome = factor_probe(hidden_dim=32, epochs=15, batch_size=32, learning_rate=0.01)(model, data)
    assert set(data.factors("test")) <= set(outcome.metrics)
    assert outcome.metrics["polarity"] > outcome.metrics["chance_polarity"] + 0.1
