"""What this plugin offers. Called by sslkit's discovery through the entry point `dino`; imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import hookimpl

if TYPE_CHECKING:
    from sslkit import Register

SSLKIT_API = 1


@hookimpl
def sslkit_register(register: Register) -> None:
    """Register the components of DINO under the names `dino.<file>`."""
    register.head(
        "prototype_head",
        "sslkit_dino.prototype_head:PrototypeHead",
        summary="A perceptron, a bottleneck on the unit sphere, and similarities with many prototypes.",
    )
    register.method(
        "self_distillation",
        "sslkit_dino.self_distillation:SelfDistillation",
        summary="A student says of every crop what its moving average says of the large ones.",
    )
