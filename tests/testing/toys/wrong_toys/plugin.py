"""Components that break one promise each; what they are called says how."""

from sslkit import hookimpl

SSLKIT_API = 1

NAMES = {
    "views": ("Three", "Bright", "Neighbours", "Alike", "Twins", "Squeezed", "Elongated", "Coloured", "Stuck", "Noisy",
              "Elastic", "Centred", "Taciturn"),
    "backbone": ("Narrow", "Forgetful", "Idle", "Counting", "Strided", "Widening"),
    "head": ("Narrow", "Idle", "Batched", "Counting"),
    "objective": ("Rowwise", "Detached", "Repelling", "Placed", "Halved", "Spread", "Counting", "Local", "Ranked"),
    "method": ("Still", "Idle", "Stirring", "Comparing", "Local", "Ranked", "Growing", "Counting", "Wrapped", "Mixing"),
    "optimizer": ("ascent", "steady", "undecayed", "restless", "counting"),
    "schedule": ("falling", "counting"),
    "data": ("Empty", "Arrays", "Beyond", "Shifted", "Repainted", "Stuck", "Changing", "Boundless"),
    "evaluation": ("nameless", "tensors", "lists", "dice", "training"),
    "exporter": ("absent", "elsewhere", "changing"),
    "callback": ("Misspelt", "Raising", "Meddling", "Forgetful"),
    "component": ("greedy", "ordered", "untyped", "unexplained", "unbuildable"),
}  # fmt: skip


@hookimpl
def sslkit_register(register):
    for kind, targets in NAMES.items():
        for target in targets:
            add = register.schedule if kind == "component" else getattr(register, kind)
            name = f"component_{target}" if kind == "component" else target.lower()
            add(name, f"wrong_toys.{kind}:{target}", summary="Wrong.")
    register.schedule("nowhere", "wrong_toys.nowhere:nowhere", summary="Its module is not there.")
    register.schedule("wordy", "wrong_toys.schedule:falling", summary="Two\nlines.")
