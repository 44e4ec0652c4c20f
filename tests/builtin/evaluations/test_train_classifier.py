"""The training of a classifier, with and without the network under it, against a plain loop in torch."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sslkit import CropRule, FrozenModel, Normalisation, Shapes, crop_boxes, sample_keys, uniforms
from sslkit.builtin.evaluations.linear_augmented import _Frozen
from sslkit.builtin.evaluations.train_classifier import fitting_batch, steps_of, train_classifier
from sslkit.builtin.evaluations.training_images import TrainingImages

SEED, BATCH, STEPS = 5, 24, 11  # of 60 images: the batches of five epochs, and one more
NORMALISATION = Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def literal(network, data, *, trains_network, learning_rate, weight_decay):
    """Return weight and bias after the last step, from crops cut one by one, autograd and torch's own SGD."""
    pixels, labels = data.table("train"), torch.from_numpy(data.split("train").labels)
    head = nn.Linear(network.feature_dim, 10)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    network.train(trains_network).requires_grad_(trains_network)
    parameters = [*head.parameters(), *(network.parameters() if trains_network else ())]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (NORMALISATION.mean, NORMALISATION.std))
    everything = np.arange(len(pixels))
    for step in range(STEPS):
        epoch, place = divmod(step, len(pixels) // BATCH)
        order = sample_keys(~SEED, epoch, everything).argsort(kind="stable")
        chosen = order[place * BATCH : (place + 1) * BATCH]
        crops = []
        for index, draws in zip(chosen, uniforms(sample_keys(SEED, epoch, chosen), 1, 23)[:, 0], strict=True):
            boxes = crop_boxes(draws[None], 16, 16, CropRule((0.08, 1.0), (3 / 4, 4 / 3), 0.1))
            top, left, height, width = (int(edge[0]) for edge in boxes)
            piece = pixels[index, :, top : top + height, left : left + width].float()[None] / 255
            crop = F.interpolate(piece, (16, 16), mode="bicubic", antialias=True)[0].clamp(0, 1)
            crops.append(((crop.flip(-1) if draws[22] < 0.5 else crop) - mean) / std)
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = (
            learning_rate * (1 + math.cos(math.pi * step / STEPS)) / 2
        )
        optimizer.zero_grad()
        F.cross_entropy(head(network(torch.stack(crops))), labels[torch.from_numpy(chosen)]).backward()
        optimizer.step()
    return head


@pytest.mark.parametrize("trains_network", [False, True])
def test_equals_a_plain_loop(tiny_network, trains_network):
    data = Shapes(image_size=16, num_train=60, num_test=10)
    given = {"learning_rate": 0.3, "weight_decay": 1e-3}
    expected = tiny_network()
    head = literal(expected, data, trains_network=trains_network, **given)
    network = tiny_network()
    model = FrozenModel(tiny_network(), normalisation=NORMALISATION, input_size=16, seed=SEED, workers=0)
    found = train_classifier(
        "title",
        network if trains_network else _Frozen(model.embed, 8),
        10,
        TrainingImages.whole(data, "train"),
        model,
        steps=STEPS,
        batch_size=BATCH,
        normalisation=NORMALISATION if trains_network else None,  # `embed` applies it itself
        precision="float32",
        **given,
    )
    assert float(head.weight.detach().norm()) > 0.3
    torch.testing.assert_close(found.head.layer.weight, head.weight.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.head.layer.bias, head.bias.detach(), rtol=1e-4, atol=1e-5)
    for (name, ours), theirs in zip(network.state_dict().items(), expected.state_dict().values(), strict=True):
        if trains_network:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=name)
        else:
            assert torch.equal(ours, theirs)


def test_a_pass_that_is_not_whole_is_made_up_for():
    assert steps_of(60, 12_811, 4096) == 188  # floor(12 811 / 4096) = 3 steps an epoch would be 180
    assert steps_of(10, 512, 512) == 10
    assert steps_of(1, 100, 90) == 1


def test_a_batch_is_at_most_all_images():
    assert fitting_batch(4096, 60) == 60
    assert fitting_batch(32, 60) == 32
