"""The ResNet of SimCLR: timm's, with the stem, widths, shortcuts and initialisation of the paper.

Enters: options. Leaves: a timm `ResNet` without classifier, whose parameters have timm's names. Called by the
engine's builder; the exporter and the backbone artifact read its attribute `timm`.
"""

from __future__ import annotations

import inspect
from math import sqrt
from typing import Annotated, Any, Literal

import timm
import torch
from annotated_types import Ge, Interval
from timm.models.resnet import ResNet
from torch import nn

from sslkit import DataError, did_you_mean, one_line

_SET_ELSEWHERE = {
    "self": "",
    "block": "model",
    "layers": "model",
    "in_chans": "in_channels",
    "zero_init_last": "zero_init_last",
    "channels": "width",
    "num_classes": "",
    "global_pool": "",
    "device": "",
    "dtype": "",
}
"""Arguments of timm's ResNet that are not options of `timm_options`, with the option that sets each."""


def simclr_resnet(
    *,
    model: str = "resnet50",
    stem: Literal["imagenet", "no_pool", "cifar"] = "imagenet",
    width: Annotated[int, Interval(ge=1, le=4)] = 1,
    in_channels: Annotated[int, Ge(1)] = 3,
    first_shortcut: Literal["convolution", "identity"] = "convolution",
    zero_init_last: bool = True,
    initialisation: Literal["paper", "timm"] = "paper",
    timm_options: dict[str, Any] | None = None,
) -> nn.Module:
    """Return a ResNet that maps images [N, C, h, w] to features h [N, D] by global average pooling.

    Batch normalisation has momentum 0.1 and eps 1e-5, and strides sit on the 3x3 convolution of a bottleneck, as in
    the paper's code and in timm. One difference stays: the max-pool of the ImageNet stem pads both sides by one
    pixel, where the paper's code pads the far side only.

    The attribute `feature_dim` is D. The attribute `timm` is `{"model": ..., "options": {...}}` when
    `timm.create_model(model, num_classes=0, **options)` is the same network, so that the weights load into it
    strictly, else None: the other stems, widths above 1 and an added first shortcut are not in timm.

    Source: SimCLR, sections 2.3 and 6, appendix B.9; `resnet.py` of the paper's code.

    Args:
        model: Name of a network of timm's ResNet family, such as `resnet18` or `resnet50`.
        stem: `imagenet` is the model's own: 7x7 with stride 2, then max-pool. `no_pool` is the same without the
            max-pool, for images of some 64 pixels or little computing. `cifar`, for images of 32 pixels, is 3x3
            with stride 1 and no max-pool.
        width: Multiplies the channels of all layers, stem included: the paper's 1x, 2x and 4x.
            (timm's `wide_resnet50_2` widens the 3x3 convolutions only.)
        in_channels: Channels of the images.
        first_shortcut: Shortcut of the very first block where its widths would allow the identity (ResNet-18 and
            34). The paper's code has a 1x1 `convolution` there; torchvision and timm have the `identity`.
        zero_init_last: Start the last scale of each residual branch at 0, so that a block starts as its shortcut.
        initialisation: Of convolutions. `paper`: truncated normal, variance 1 / fan-in. `timm`: normal,
            variance 2 / fan-out.
        timm_options: More arguments of timm's ResNet, such as `drop_path_rate`.

    Raises:
        DataError: If timm has no such model or option, or the model's stem cannot be widened.
    """
    options = dict(timm_options or {})
    _check(model, options)
    fixed: dict[str, Any] = {"in_chans": in_channels} if in_channels != 3 else {}
    network = _create(model, zero_init_last, options | fixed)
    is_timm = stem == "imagenet" and width == 1
    if width > 1:
        _check_plain_stem(model, network)
        stages = [getattr(network, name) for name in ("layer1", "layer2", "layer3", "layer4")]
        widths = [info["num_chs"] for info in network.feature_info[1:]]
        channels = tuple(width * out // stage[0].expansion for out, stage in zip(widths, stages, strict=True))
        network = _create(model, zero_init_last, options | fixed | {"channels": channels})
        _widen_stem(network, width)
    if stem == "no_pool":
        network.maxpool = nn.Identity()
    if stem == "cifar":
        _use_cifar_stem(network, in_channels)
    if first_shortcut == "convolution" and network.layer1[0].downsample is None:
        num_channels = network.feature_info[1]["num_chs"]
        network.layer1[0].downsample = _shortcut(num_channels, num_channels)
        is_timm = False
    if initialisation == "paper":
        _initialise(network)
    else:
        network.init_weights(zero_init_last=zero_init_last)
    network.feature_dim = network.num_features
    network.timm = {"model": model, "options": fixed | options} if is_timm else None
    backbone: nn.Module = network
    return backbone


def _check(model: str, options: dict[str, Any]) -> None:
    names = timm.list_models(module="resnet")
    if model not in names:
        raise DataError(
            f'simclr.resnet: model "{one_line(model)}" is not in timm\'s ResNet family'
            f'{did_you_mean(model, names)}; other timm models: name = "builtin.timm"'
        )
    allowed = [name for name in inspect.signature(ResNet.__init__).parameters if name not in _SET_ELSEWHERE]
    for name in options:
        if name in allowed:
            continue
        if name in _SET_ELSEWHERE:
            owner = _SET_ELSEWHERE[name]
            advice = f"; set {owner} of simclr.resnet instead" if owner else "; simclr.resnet sets it itself"
        else:
            advice = did_you_mean(name, allowed) or f"; it has {', '.join(allowed)}"
        raise DataError(f'simclr.resnet: timm_options: no option "{one_line(name)}"{advice}')


def _create(model: str, zero_init_last: bool, options: dict[str, Any]) -> Any:
    try:
        return timm.create_model(model, num_classes=0, zero_init_last=zero_init_last, **options)
    except (TypeError, ValueError, AssertionError, KeyError, RuntimeError) as error:
        reason = one_line(error) or type(error).__name__
        raise DataError(f"simclr.resnet: timm cannot build {model} with {options}: {reason}") from error


def _check_plain_stem(model: str, network: Any) -> None:
    parts = (network.conv1, network.bn1, network.maxpool)
    if not all(map(isinstance, parts, (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d))):
        raise DataError(
            f"simclr.resnet: {model} has a stem of several convolutions and cannot be widened; "
            "set width = 1 or a plain model such as resnet50"
        )


def _widen_stem(network: Any, width: int) -> None:
    """Multiply the channels between stem and first block, which timm fixes at 64."""
    old = network.conv1
    narrow = old.out_channels
    network.conv1 = _resized(old, old.in_channels, width * narrow)
    network.bn1 = nn.BatchNorm2d(width * narrow)
    network.feature_info[0]["num_chs"] = width * narrow
    first = network.layer1[0]
    first.conv1 = _resized(first.conv1, width * narrow, first.conv1.out_channels)
    out_channels = network.feature_info[1]["num_chs"]
    # timm compared the wide block with the narrow stem, so what it decided about a shortcut does not hold.
    needs_shortcut = width * narrow != out_channels
    first.downsample = _shortcut(width * narrow, out_channels) if needs_shortcut else None


def _use_cifar_stem(network: Any, in_channels: int) -> None:
    out_channels = network.bn1.num_features
    network.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()
    for info, less in zip(network.feature_info, (2, 4, 4, 4, 4), strict=True):
        info["reduction"] //= less


def _resized(old: nn.Conv2d, in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size=old.kernel_size,  # type: ignore[arg-type]
        stride=old.stride,  # type: ignore[arg-type]
        padding=old.padding,  # type: ignore[arg-type]
        groups=old.groups,
        bias=False,
    )


def _shortcut(in_channels: int, out_channels: int) -> nn.Module:
    # A plain Sequential of convolution and normalisation has the parameter names of timm's own shortcuts.
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))


@torch.no_grad()
def _initialise(network: nn.Module) -> None:
    """Draw convolutions from a normal truncated at two deviations, scaled so that the variance is 1 / fan-in.

    Source: `resnet.conv2d_fixed_padding` of the paper's code with TensorFlow's `variance_scaling_initializer`,
    whose constant 0.8796 is the standard deviation that truncation leaves of a unit normal.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
            std = 1 / (0.87962566103423978 * sqrt(module.weight[0].numel()))
            values = module.weight.view(-1).normal_()
            # Redrawing what lies outside is ten times as fast as torch's trunc_normal_, 1 s instead of 13 in all.
            outside = (values.abs() > 2).nonzero().view(-1)
            while len(outside):
                values[outside] = torch.randn(len(outside), device=values.device)
                outside = outside[values[outside].abs() > 2]
            values.mul_(std)
