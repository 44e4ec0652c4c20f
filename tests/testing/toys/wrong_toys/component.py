"""Signatures that a recipe cannot be checked against."""


def greedy(**options):
    return lambda progress: 1.0


def ordered(warmup=0):
    return lambda progress: 1.0


def untyped(*, warmup=0):
    """Args:
    warmup: Without a type.
    """
    return lambda progress: 1.0


def unexplained(*, warmup: int = 0):
    return lambda progress: 1.0


def unbuildable(*, warmup: int):
    """Args:
    warmup: Required, and nobody says it.
    """
    return lambda progress: 1.0
