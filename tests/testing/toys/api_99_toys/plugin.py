"""Speaks a contract that nobody knows."""

from sslkit import hookimpl

SSLKIT_API = 99


@hookimpl
def sslkit_register(register):
    register.head("layers", "right_toys.layers:Layers", summary="A head.")
