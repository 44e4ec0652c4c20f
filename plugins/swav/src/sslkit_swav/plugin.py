"""What this plugin offers. Called by sslkit's discovery through the entry point `swav`; imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import hookimpl

if TYPE_CHECKING:
    from sslkit import Register

SSLKIT_API = 1


@hookimpl
def sslkit_register(register: Register) -> None:
    """Register the objective under the name `swav.<file>`."""
    register.objective(
        "swapped_prediction",
        "sslkit_swav.swapped_prediction:SwappedPrediction",
        summary="Every view predicts the cluster of another view of its image; clusters are of equal size.",
    )
