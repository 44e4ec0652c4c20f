"""One BatchNorm layer on rows that several ranks share, or on all of them in a single process."""

from __future__ import annotations

import torch
from timm.layers import BatchNormAct2d
from torch import nn

from sslkit.engine.batch_norm import across_ranks
from sslkit.engine.distributed import rank, world_size


def _without_shift(layer):
    layer.register_parameter("bias", None)
    return layer


LAYERS = {
    "1d": (lambda: nn.BatchNorm1d(5), (8, 5)),
    "1d of sequences": (lambda: nn.BatchNorm1d(5), (8, 5, 7)),
    "2d": (lambda: nn.BatchNorm2d(3), (8, 3, 6, 5)),
    "3d": (lambda: nn.BatchNorm3d(3), (4, 3, 2, 3, 4)),
    "timm's with an activation": (lambda: BatchNormAct2d(3), (8, 3, 6, 5)),
    "without scale and shift": (lambda: nn.BatchNorm2d(3, affine=False), (8, 3, 6, 5)),
    "with a scale but no shift": (lambda: _without_shift(nn.BatchNorm1d(5)), (8, 5)),
    "without running statistics": (lambda: nn.BatchNorm2d(3, track_running_stats=False), (8, 3, 6, 5)),
    "with an average of all batches": (lambda: nn.BatchNorm2d(3, momentum=None), (8, 3, 6, 5)),
    "with another momentum and epsilon": (lambda: nn.BatchNorm2d(3, momentum=0.3, eps=0.1), (8, 3, 6, 5)),
    "one row on each rank": (lambda: nn.BatchNorm1d(5), (4, 5)),
}


def samples(name, dtype=torch.float64, *, offset=0.0, spread=1.0):
    """Return all rows of two batches, and what their outputs' gradient is; the same numbers in both precisions."""
    shape = LAYERS[name][1]
    generator = torch.Generator().manual_seed(0)
    scale = torch.linspace(0.5, 2, shape[1], dtype=torch.float64).view(1, -1, *[1] * (len(shape) - 2))
    parts = torch.randn((2, 2, *shape), generator=generator, dtype=torch.float64)
    return [
        (((rows + 1) * scale * spread + offset).float().to(dtype), gradient.float().to(dtype))
        for rows, gradient in parts
    ]


def of_layer(name, dtype=torch.float64, *, train=True, channels_last=False, autocast=False, offset=0.0, spread=1.0):
    """Return what this rank's rows of two batches come to, and what that does to the layer.

    Returns:
        Outputs and gradients of the rows, of all batches; the gradients of scale and shift; all buffers.
    """
    layer = LAYERS[name][0]().to(torch.float32 if autocast else dtype)
    for number, parameter in enumerate(layer.parameters()):
        with torch.no_grad():
            parameter.copy_(torch.linspace(0.5, 1.5, len(parameter)) + number)
    if world_size() > 1:
        across_ranks(layer)
    layer.train(train)
    outputs, gradients = [], []
    for rows, gradient in samples(name, dtype, offset=offset, spread=spread):
        own = rows[rank() :: world_size()]
        if channels_last:
            own = own.contiguous(memory_format=torch.channels_last)
        own.requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            output = layer(own)
        assert output.dtype == dtype
        assert not channels_last or output.is_contiguous(memory_format=torch.channels_last)
        output.backward(gradient[rank() :: world_size()])
        outputs.append(output.detach())
        gradients.append(own.grad)
    return outputs, gradients, [parameter.grad for parameter in layer.parameters()], list(layer.buffers())


def layer_on_images(freeze):
    """Return the gradient of a scale where the rows themselves need none, or where nothing else does."""
    layer = LAYERS["2d"][0]().double()
    if world_size() > 1:
        across_ranks(layer)
    if freeze:
        layer.requires_grad_(False)
    (rows, gradient), _ = samples("2d")
    own = rows[rank() :: world_size()].requires_grad_(freeze)
    layer(own).backward(gradient[rank() :: world_size()])
    return own.grad if freeze else layer.weight.grad


def drift_in_half_precision():
    """Return the sum of each channel's gradient over this rank's rows in bfloat16, per square root of their number."""
    torch.manual_seed(rank())
    rows = (2 * torch.randn(16384, 8) + 5).bfloat16().requires_grad_()
    layer = torch.nn.BatchNorm1d(8)
    if world_size() > 1:
        across_ranks(layer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(rows)
    output.backward((torch.randn_like(output, dtype=torch.float32) + 0.3 * rows.detach().float()).bfloat16())
    return rows.grad.double().sum(dim=0) / len(rows) ** 0.5
