"""What a long evaluation keeps of its work, so that a stop does not lose it.

Enters: a folder beside the evaluation's results, and what the results depend on. Leaves: notes and checkpoints of an
earlier attempt at the same thing. Called by `run`; evaluations see them as `Pretrained.notes` and `.checkpoints`.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final

from sslkit.engine.distributed import on_first, rank
from sslkit.errors import RunError
from sslkit.run_folder import read_json, write_json

_FILE: Final = "notes.json"


class Notes(MutableMapping[str, float]):
    """Numbers by name, the same on all ranks, written to a file by the first one as soon as they are set.

    Args:
        folder: Where to keep them; None keeps them in memory.
        identity: What they depend on; those of another identity are forgotten, with what lies beside them.
    """

    def __init__(self, folder: Path | None = None, identity: Mapping[str, Any] | None = None) -> None:
        self._folder = folder
        self._identity = dict(identity or {})
        self._notes: dict[str, float] = {}
        if folder is not None:
            self._notes = on_first(self._read)

    def __getitem__(self, name: str) -> float:
        """Return a note."""
        return self._notes[name]

    def __setitem__(self, name: str, value: float) -> None:
        """Keep a note; all ranks set the same ones."""
        self._notes[name] = value
        if self._folder is not None and rank() == 0:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._write()

    def __delitem__(self, name: str) -> None:
        """Forget a note."""
        del self._notes[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._notes)

    def __len__(self) -> int:
        """Return how many notes there are."""
        return len(self._notes)

    def discard(self) -> None:
        """Remove the folder: the evaluation is through."""
        if self._folder is not None and rank() == 0:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self) -> dict[str, float]:
        assert self._folder is not None
        with contextlib.suppress(RunError, LookupError, AttributeError, TypeError, ValueError):
            known = read_json(self._folder / _FILE) or {}
            if known.get("identity") == self._identity:
                return {str(name): float(value) for name, value in known["notes"].items()}
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._write()
        return {}

    def _write(self) -> None:
        assert self._folder is not None
        write_json(self._folder / _FILE, {"identity": self._identity, "notes": self._notes})
