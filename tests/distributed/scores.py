"""Evaluations of untrained weights, and a short training, on data whose images several ranks share."""

from __future__ import annotations

import numpy as np
import torch
from double import Network, Shifts, head_of
from sslkit_simclr import NTXent

from sslkit import FrozenModel, ImageFolder, JointEmbedding, Shapes, embed_folder, evaluate, knn, linear
from sslkit.builtin.optimizers.sgd import sgd
from sslkit.engine.assemble import assemble
from sslkit.engine.bad_images import BadImages
from sslkit.engine.distributed import rank
from sslkit.engine.pretrain import train
from sslkit.registry.hookspecs import callback_manager


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
    return scores(ImageFolder(folder, on_bad_image="replace", max_bad_fraction=0.5), model)


def scores(data, model):
    results = evaluate(model, data, [knn(k=3), linear(epochs=5, batch_size=8)], features=["h", "z"])
    outcomes = [(r.outcome.headline, r.outcome.metrics, r.outcome.predictions) for r in results]
    return outcomes, model.features(data, "test").values, model.features(data, "test").labels


def embedded(folder):
    """Return paths, features and bad images of a folder without labels."""
    return tuple(embed_folder(model_of(), folder))


class FileShifts(Shifts):
    """The same views of images that are read one by one."""

    whole_images = False

    def prepare(self, image, draws):
        return (torch.from_numpy(np.array(image)).permute(2, 0, 1).unsqueeze(0),)


def trained_on(folder, notes):
    """Pretrain for two epochs on image files, some of them broken; return the weights."""
    torch.manual_seed(0)
    method = JointEmbedding(Network(norm=True), head_of(), NTXent(temperature=0.5))
    data = ImageFolder(folder, on_bad_image="replace", max_bad_fraction=0.5)
    pretraining = assemble(
        method, data, FileShifts(), sgd, epochs=2, batch_size=8, learning_rate=0.01, workers=0
    )  # fmt: skip
    if rank() == 0:
        pretraining.bad_images.keep_in(notes)
    train(pretraining, callback_manager([]))
    return dict(method.state_dict())
