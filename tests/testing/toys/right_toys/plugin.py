"""One component of each kind that keeps all promises."""

from sslkit import hookimpl

SSLKIT_API = 1

NAMES = {
    "views": "shades:Shades",
    "backbone": "network:Network",
    "head": "layers:Layers",
    "objective": "remembering:Remembering",
    "method": "following:Following",
    "optimizer": "descent:descent",
    "schedule": "ramp:ramp",
    "data": "squares:Squares",
    "evaluation": "centroids:centroids",
    "exporter": "names:names",
    "callback": "counter:Counter",
}


@hookimpl
def sslkit_register(register):
    for kind, target in NAMES.items():
        name = target.partition(":")[0]
        getattr(register, kind)(name, f"right_toys.{target}", summary=f"A {kind} as it should be.")
