"""What this plugin offers. Called by sslkit's discovery through the entry point `vicreg`; imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import hookimpl

if TYPE_CHECKING:
    from sslkit import Register

SSLKIT_API = 1


@hookimpl
def sslkit_register(register: Register) -> None:
    """Register the objectives under the names `vicreg.<file>`."""
    register.objective(
        "vicreg",
        "sslkit_vicreg.vicreg:VICReg",
        summary="Views alike, every dimension spread, no two dimensions correlated; no negatives.",
    )
    register.objective(
        "barlow_twins",
        "sslkit_vicreg.barlow_twins:BarlowTwins",
        summary="The cross-correlation of two views' dimensions is to be the identity; no negatives.",
    )
