"""Prints while it is imported."""

import sys

from sslkit import hookimpl

SSLKIT_API = 1


@hookimpl
def sslkit_register(register):
    register.head("layers", "right_toys.layers:Layers", summary="A head.")


sys.stdout.write("hello\n")
