"""What this plugin offers. Called by sslkit's discovery through the entry point `moco`; imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import hookimpl

if TYPE_CHECKING:
    from sslkit import Register

SSLKIT_API = 1


@hookimpl
def sslkit_register(register: Register) -> None:
    """Register the methods under the names `moco.<file>`."""
    register.method(
        "v2",
        "sslkit_moco.v2:MoCoV2",
        summary="Every query must find its key among a long queue of earlier ones, made by a slow copy of the network.",
    )
    register.method(
        "v3",
        "sslkit_moco.v3:MoCoV3",
        summary="Predictions must find their keys among those of the batch, made by a slow copy; for ViTs, too.",
    )
