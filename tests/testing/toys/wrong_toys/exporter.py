"""Of the kind exporter, each wrong in one thing."""

import tempfile
from pathlib import Path

import torch
from right_toys.names import names


def absent():
    return lambda pretrained, folder: [folder / "model.bin"]


def elsewhere():
    def export(pretrained, folder):
        return names()(pretrained, Path(tempfile.gettempdir()))

    return export


def changing():
    def export(pretrained, folder):
        with torch.no_grad():
            for parameter in pretrained.backbone.parameters():
                parameter.mul_(2)
        return names()(pretrained, folder)

    return export
