"""Evaluations that train, on images that several ranks share; and a supervised pretraining."""

from __future__ import annotations

import torch
from double import Network, head_of

from sslkit import (
    Classifier,
    CropFlip,
    CrossEntropy,
    FrozenModel,
    JointEmbedding,
    Shapes,
    fine_tune,
    linear_augmented,
    pretrain,
    sgd,
)
from sslkit.builtin.evaluations import fine_tune as fine_tune_module
from sslkit.builtin.evaluations import linear_augmented as linear_module

EVALUATIONS = {
    "frozen h": (linear_augmented, "h", {"epochs": 4, "learning_rate": 30.0}),
    "frozen z": (linear_augmented, "z", {"epochs": 4, "batch_size": 16, "learning_rate": 30.0}),
    "whole": (fine_tune, "h", {"steps": 5, "batch_size": 16, "learning_rates": (5.0,)}),
    "grid": (fine_tune, "h", {"steps": 3, "batch_size": 17, "learning_rates": (1e38, 3.0, 5.0), "labels": 0.5}),
    "last block": (fine_tune, "h", {"steps": 5, "batch_size": 16, "learning_rates": (5.0,), "from_block": "layers.3"}),
}


def outcome_of(name):
    """Return metrics, predictions, the trained classifiers, and whether the weights and generators are as before."""
    factory, measure, options = EVALUATIONS[name]
    data = Shapes(image_size=16, num_train=60, num_validation=20, num_test=23)
    torch.manual_seed(0)
    model = FrozenModel(Network(norm=True), head_of(), input_size=16, workers=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    types = [type(module) for module in model.modules()]
    state = torch.get_rng_state()
    classifiers = []
    module = linear_module if factory is linear_augmented else fine_tune_module
    original = module.train_classifier

    def noting(*arguments, **named):
        trained = original(*arguments, **named)
        classifiers.append(trained.head.layer.weight)
        return trained

    module.train_classifier = noting
    try:
        outcome = factory(**options)(model.measuring(measure), data)
    finally:
        module.train_classifier = original
    untouched = all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    untouched &= torch.equal(torch.get_rng_state(), state) and types == [type(module) for module in model.modules()]
    return outcome.metrics, outcome.predictions, classifiers, untouched


def supervised():
    """Return the classifier's weights after a pretraining with labels, of two views an image."""
    torch.manual_seed(0)
    method = JointEmbedding(Network(norm=True), Classifier(8, 10), CrossEntropy(label_smoothing=0.1))
    data = Shapes(image_size=16, num_train=64, num_test=10)
    views = CropFlip(image_size=16, crop_on="device", num_views=2)
    model = pretrain(method, data, views, sgd, epochs=2, batch_size=16, learning_rate=0.3, workers=0)
    return model.head.layer.weight
