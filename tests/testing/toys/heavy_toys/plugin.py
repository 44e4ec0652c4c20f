"""Imports torch to say what it offers."""

import torch  # noqa: F401

from sslkit import hookimpl

SSLKIT_API = 1


@hookimpl
def sslkit_register(register):
    register.head("layers", "right_toys.layers:Layers", summary="A head.")
