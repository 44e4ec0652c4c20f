"""Evaluations of untrained weights, on data whose images several ranks share."""

from __future__ import annotations

import logging

import torch
from double import Network, head_of

from sslkit import FrozenModel, ImageFolder, Shapes, embed_folder, evaluate, knn, linear
from sslkit.engine.bad_images import BadImages
from sslkit.engine.distributed import rank


def model_of():
    torch.manual_seed(0)
    return FrozenModel(Network(norm=True), head_of(), input_size=16, workers=0)


def of_table(num_train, num_test):
    """Return headline, metrics and predictions of each evaluation, and the features of the test images."""
    return scores(Shapes(image_size=16, num_train=num_train, num_validation=3, num_test=num_test), model_of())


def of_files(folder, notes):
    """Return the same for a folder of image files; the first rank keeps a list of bad ones in another folder."""
    model = model_of()
    model.bad_images = BadImages()
    if rank() == 0:
        model.bad_images.keep_in(notes)
    logging.getLogger("sslkit").setLevel(logging.ERROR)
    return scores(ImageFolder(folder, on_bad_image="replace", max_bad_fraction=0.5), model)


def scores(data, model):
    results = evaluate(model, data, [knn(k=3), linear(epochs=5, batch_size=8)], features=["h", "z"])
    outcomes = [(r.outcome.headline, r.outcome.metrics, r.outcome.predictions) for r in results]
    return outcomes, model.features(data, "test").values, model.features(data, "test").labels


def embedded(folder):
    """Return paths, features and bad images of a folder without labels."""
    return tuple(embed_folder(model_of(), folder))
