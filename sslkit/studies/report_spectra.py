"""The eigenvalues of a linear projection head, on a linear and on a logarithmic axis: figure B.3 of SimCLR's paper.

Enters: what an evaluation has stored. Leaves: HTML. Called by the report's page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sslkit.studies.charts import line_chart
from sslkit.studies.curves import Curve

KEY: Final = "squared_eigenvalues"
"""What `simclr.head_spectrum` calls them among its predictions."""

_LEAST: Final = 1e-12  # of the largest: what is smaller has no place on a logarithmic axis, and no meaning


def spectrum_of(predictions: Mapping[str, NDArray[Any]]) -> str:
    """Return the two charts; empty if no eigenvalues are stored.

    Args:
        predictions: As the evaluation stored them.
    """
    values = predictions.get(KEY)
    if values is None or values.ndim != 1 or len(values) < 2 or values.dtype.kind != "f":
        return ""
    ranked = np.sort(values.astype(np.float64))[::-1]
    ranks = np.arange(1.0, len(ranked) + 1)
    linear = Curve.of(ranks, ranked)
    log = Curve.of(ranks, np.maximum(ranked, _LEAST * ranked[0]))
    charts = (
        line_chart("Linear axis", {"squared eigenvalues": linear}),
        line_chart("Logarithmic axis", {"squared eigenvalues": log}, ratios=True),
    )
    return f'<div class="charts">{"".join(charts)}</div>'
