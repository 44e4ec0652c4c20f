"""The method: the loss against its words, what is hidden, and by what it is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sslkit_mae import MaskedAutoencoder, ViT
from torch import nn

from sslkit import Batch, Progress

SIDE, PATCH = 12, 4


def method(**options):
    torch.manual_seed(0)
    backbone = ViT(image_size=SIDE, patch_size=PATCH, dim=8, depth=1, num_heads=2)
    return MaskedAutoencoder(backbone, **{"decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2, **options}).double()


def batch(num=3, views=1, step=0):
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(num, 3, SIDE, SIDE, generator=generator, dtype=torch.float64) for _ in range(views)]
    return Batch(images, torch.arange(num) + 10, torch.full((num,), -1), Progress(step, 9, 3.0))


def hidden_patches(batch, ratio=0.75):
    """Return which patches are hidden, image by image, from the batch's numbers: those with the largest."""
    num_seen = int(9 * (1 - ratio))
    return [sorted(range(9), key=row.__getitem__)[num_seen:] for row in batch.uniforms(9).tolist()]


def literal_targets(image, normalise):
    """Return the pixels of each patch, [9, 48], told relative to their own mean and deviation or not."""
    patches = []
    for top in range(0, SIDE, PATCH):
        for left in range(0, SIDE, PATCH):
            pixels = [
                float(image[channel, top + y, left + x])
                for y in range(PATCH)
                for x in range(PATCH)
                for channel in range(3)
            ]
            if normalise:
                mean = sum(pixels) / len(pixels)
                variance = sum((value - mean) ** 2 for value in pixels) / (len(pixels) - 1)
                pixels = [(value - mean) / (variance + 1e-6) ** 0.5 for value in pixels]
            patches.append(pixels)
    return np.array(patches)


@pytest.mark.parametrize("normalise", [True, False])
def test_the_loss_is_the_squared_error_of_the_hidden_patches(normalise):
    model, given = method(normalise_targets=normalise), batch()
    told = {}
    model.decoder.register_forward_hook(lambda module, inputs, output: told.update(pixels=output, places=inputs[2]))
    loss = float(model.loss(model.embed(given), given).detach())
    errors = []
    for number, hidden in enumerate(hidden_patches(given)):
        assert told["places"][number].tolist() == hidden
        targets = literal_targets(given.views[0][number], normalise)[hidden]
        errors.append(np.mean((told["pixels"][number].detach().numpy() - targets.astype(np.float32)) ** 2))
    assert loss == pytest.approx(np.mean(errors), rel=1e-5)
    assert len(hidden) == 7


def test_what_is_hidden_cannot_be_known():
    model, given = method(), batch(num=1)
    told = []
    model.decoder.register_forward_hook(lambda module, inputs, output: told.append(output))
    model.embed(given)
    (hidden,) = hidden_patches(given)
    for place in hidden:
        top, left = (PATCH * part for part in divmod(place, 3))
        given.views[0][:, :, top : top + PATCH, left : left + PATCH] = 5.0
    model.embed(given)
    assert torch.equal(told[0], told[1])


def test_masks_change_from_step_to_step_and_view_to_view():
    model = method()
    masks = []
    model.decoder.register_forward_hook(lambda module, inputs, output: masks.append(inputs[2]))
    model.embed(batch(views=2))
    model.embed(batch(views=2, step=1))
    assert len({str(mask.sort(dim=1).values.tolist()) for mask in masks}) == 4


def test_every_view_is_an_image():
    model, given = method(), batch(views=2)
    errors = model.embed(given)
    assert [error.shape for error in errors] == [(3,), (3,)]
    torch.testing.assert_close(model.loss(errors, given), (errors[0].mean() + errors[1].mean()) / 2)


def test_it_learns_to_draw_what_it_does_not_see():
    torch.manual_seed(0)
    model = method(normalise_targets=False).float()
    ramp = torch.linspace(0, 1, SIDE).expand(16, 3, SIDE, SIDE)  # the same everywhere: to be known from any patch
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for step in range(120):
        given = Batch([ramp], torch.arange(16), torch.full((16,), -1), Progress(step, 120, 1.0))
        loss = model.loss(model.embed(given), given)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.02 * losses[0]


def test_other_backbones_and_impossible_masks_are_refused():
    with pytest.raises(TypeError, match='needs the backbone "mae.vit", not Linear'):
        MaskedAutoencoder(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="mask_ratio = 0.99 shows 0 of 9 patches"):
        method(mask_ratio=0.99)
    with pytest.raises(ValueError, match="decoder_dim = 8 must be a multiple of decoder_heads = 3"):
        method(decoder_heads=3)
