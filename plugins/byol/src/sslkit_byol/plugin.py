"""What this plugin offers. Called by sslkit's discovery through the entry point `byol`; imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import hookimpl

if TYPE_CHECKING:
    from sslkit import Register

SSLKIT_API = 1


@hookimpl
def sslkit_register(register: Register) -> None:
    """Register the methods under the names `byol.<file>`."""
    register.method(
        "byol",
        "sslkit_byol.byol:BYOL",
        summary="The network predicts what a slow copy of it makes of the other view; no negatives.",
    )
    register.method(
        "simsiam",
        "sslkit_byol.simsiam:SimSiam",
        summary="The network predicts what it makes of the other view, behind a stop-gradient; no negatives.",
    )
