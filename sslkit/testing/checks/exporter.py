"""An exporter writes files into the folder that it is given, and says which."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sslkit.testing.recipes import folder
from sslkit.testing.subject import Subject


def returns_what_it_wrote(subject: Subject) -> None:
    """Paths of files or folders that exist."""
    paths = _exported(subject).paths
    subject.require(
        isinstance(paths, list) and paths and all(isinstance(path, Path) for path in paths),
        "return a list of paths",
        f"it returns {paths!r}",
        "return what it wrote: [folder / 'model.onnx']",
    )
    missing = [str(path) for path in paths if not path.exists()]
    subject.require(not missing, "return files that exist", f"{', '.join(missing)} does not", "return what it wrote")


def writes_into_its_folder(subject: Subject) -> None:
    """And nowhere else, as far as its paths tell."""
    exported = _exported(subject)
    outside = [str(path) for path in exported.paths if not path.resolve().is_relative_to(exported.folder.resolve())]
    subject.require(
        not outside,
        "write into the folder that it is given",
        f"{', '.join(outside)} lies elsewhere",
        "build paths from its second argument",
    )


def leaves_the_weights_alone(subject: Subject) -> None:
    """What comes after it exports or measures the same weights."""
    subject.require(
        _exported(subject).untouched,
        "leave weights and buffers as they are",
        "they have changed",
        "work on a copy: copy.deepcopy(pretrained.backbone)",
    )


class _Exported(NamedTuple):
    paths: list[Path]
    folder: Path
    untouched: bool


def _exported(subject: Subject) -> _Exported:
    return subject.once("exported", lambda: _export(subject))


def _export(subject: Subject) -> _Exported:
    built = subject.build()
    assert built.pretraining is not None
    ((_, exporter),) = built.exporters
    model, place = built.pretraining.frozen(), folder()
    digest = model.digest()
    paths = exporter(model, place)
    return _Exported(paths, place, digest == model.digest())
