"""Maps of the features of some test images: principal components, and t-SNE where it is installed.

Enters: a sample of features with labels. Leaves: HTML. Called by the report's page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sslkit.page import escape
from sslkit.studies.maps import Classes, scatter
from sslkit.studies.projection import MOST_POINTS, has_tsne, principal_components, tsne
from sslkit.studies.run_files import RunFiles, namer

_TITLES: Final[Mapping[str, str]] = {
    "h": "h, the features",
    "z": "z, after the projection head",
    "h_random": "h of a random backbone",
}
_LEAST: Final = 4  # images of a map
_MOST: Final = 2_000


def maps_of(files: RunFiles) -> Iterator[str]:
    """Yield the section: a map of each kind of features, side by side, with one legend."""
    sample = files.sample
    kinds = {name: sample[name][:_MOST] for name in _TITLES if name in sample and _is_mappable(sample[name])}
    if not kinds:
        return
    count = min(map(len, kinds.values()))
    finite = np.all([np.isfinite(values[:count].astype(np.float32)).all(axis=1) for values in kinds.values()], axis=0)
    if finite.sum() < _LEAST:
        files.notes.append("evaluate/features_sample.npz: the features are not finite, so there is no map")
        return
    kinds = {name: values[:count][finite] for name, values in kinds.items()}
    labels = _labels(sample.get("label"), count)[finite]
    classes = Classes.of(labels, namer(sample.get("class_names")))
    yield "<h2>Maps of the features</h2>"
    dropped = f"; {int((~finite).sum()):,} with values that are not finite are left out" if not finite.all() else ""
    yield (
        f'<p class="quiet">{int(finite.sum()):,} test images{_drawn(sample, classes)}, near each other where their '
        f"features are alike{dropped}. Principal components keep distances along the directions of largest "
        "variance.</p>"
    )
    figures = []
    for name, values in kinds.items():
        positions, shares = principal_components(values.astype(np.float64))
        axes = f"across: {shares[0] * 100:.1f} % of the variance; upwards: {shares[1] * 100:.1f} %"
        figures.append(scatter(_TITLES[name], positions, labels, classes, axes=axes))
    yield f'<div class="maps">{"".join(figures)}{classes.legend()}</div>'
    yield from _tsne_maps({name: values for name, values in kinds.items() if name != "h_random"}, labels, classes)


def _tsne_maps(kinds: Mapping[str, NDArray[Any]], labels: NDArray[np.int64], classes: Classes) -> Iterator[str]:
    if not has_tsne():
        yield '<p class="quiet">With <code>pip install "sslkit[report]"</code> there is a t-SNE map here too.</p>'
        return
    yield "<h3>t-SNE</h3>"
    yield (
        '<p class="quiet">Neighbours stay neighbours; the distances between groups and their sizes mean nothing. '
        f"Of {min(MOST_POINTS, len(labels)):,} images, with a fixed seed.</p>"
    )
    some = np.linspace(0, len(labels) - 1, min(MOST_POINTS, len(labels))).astype(np.int64)  # of all classes
    try:
        figures = [
            scatter(_TITLES[name], tsne(values[some].astype(np.float64)), labels[some], classes, axes="")
            for name, values in kinds.items()
        ]
    except Exception as error:  # a library of others, on any features: a run's page must not hang on it
        yield f'<p class="alarm">It could not be computed: {escape(error)}</p>'
        return
    yield f'<div class="maps">{"".join(figures)}</div>'


def _drawn(sample: Mapping[str, NDArray[Any]], classes: Classes) -> str:
    total = sample.get("drawn_from")
    if total is None or total.size != 1 or total.dtype.kind not in "iu":
        return ""
    return f" of {len(classes.shown)} classes drawn at random from {int(total.item()):,}"


def _is_mappable(values: NDArray[Any]) -> bool:
    return values.ndim == 2 and values.dtype.kind == "f" and len(values) >= _LEAST and values.shape[1] >= 2


def _labels(label: NDArray[Any] | None, count: int) -> NDArray[np.int64]:
    """Return one class for each image: of several labels the first one present, -1 for none."""
    if label is None or label.dtype.kind not in "iu" or len(label) < count:
        return np.full(count, -1, dtype=np.int64)
    label = label[:count]
    if label.ndim == 2:
        present = label == 1
        return np.where(present.any(axis=1), present.argmax(axis=1), -1)
    return label.astype(np.int64)
