"""What this plugin offers. Called by sslkit's discovery through the entry point `supcon`; imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import hookimpl

if TYPE_CHECKING:
    from sslkit import Register

SSLKIT_API = 1


@hookimpl
def sslkit_register(register: Register) -> None:
    """Register the objectives under the names `supcon.<file>`."""
    register.objective(
        "sup_con",
        "sslkit_supcon.sup_con:SupCon",
        summary="Contrast with labels: all views of all images of a class belong together.",
    )
    register.objective(
        "dcl",
        "sslkit_supcon.dcl:DCL",
        summary="Decoupled contrast: no positive among the candidates; with or without weights on positives (DCLW).",
    )
