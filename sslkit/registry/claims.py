"""Which distributions say that they bring a plugin, and which of them the code is from.

Enters: the metadata that installers leave on the import path, stale and doubled ones too. Leaves: claims by namespace,
and of several by one distribution the one that describes the code that an import would find. Called by `discover`.
Nothing of a plugin is imported here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

GROUP: Final = "sslkit"


@dataclass(frozen=True)
class Claim:
    """One entry point of one distribution's metadata.

    Attributes:
        name: Of the entry point, as it is spelled.
        module: What it names.
        distribution: Name of the distribution.
        version: As the metadata say.
        metadata: The folder or file of the metadata.
        found: All that the installer wrote.
    """

    name: str
    module: str
    distribution: str
    version: str
    metadata: Path
    found: Distribution

    @property
    def owner(self) -> str:
        """The distribution and its version."""
        return f"{self.distribution} {self.version}".strip()

    @property
    def location(self) -> Path:
        """The folder on the import path."""
        return self.metadata.parent


def claims_by_namespace() -> dict[str, list[Claim]]:
    """Return every claim in the order of the import path, which is the order in which an import looks."""
    claims: dict[str, list[Claim]] = defaultdict(list)
    for distribution in distributions():
        try:
            entry_points = [entry for entry in distribution.entry_points if entry.group == GROUP]
        except Exception:  # unreadable metadata of a foreign package is not our business
            continue
        if not entry_points:
            continue
        name, version, metadata = _identity(distribution)
        if metadata.name.startswith("~"):  # what pip leaves of an installation that it was replacing when it was killed
            continue
        for entry in entry_points:
            module = entry.value.partition(":")[0].strip()
            claims[normalised(entry.name)].append(Claim(entry.name, module, name, version, metadata, distribution))
    return dict(claims)


def normalised(name: str) -> str:
    """Return a name under the packaging rule by which `My-x`, `my.x` and `my_x` are one."""
    return re.sub(r"[-_.]+", "_", name).lower()


def alive(claims: Sequence[Claim]) -> list[Claim]:
    """Return the claims whose module an import would find: the others are what an uninstallation left behind."""
    return [claim for claim in claims if code_folder(claim) is not None]


def true_claim(claims: Sequence[Claim]) -> Claim:
    """Return, of the claims of one distribution, the one that describes the code.

    That is one whose folder the module is in, or whose project it was installed from in place. Where metadata of
    several versions lie in one folder it is the one that lists the module's file as it is, or else the newest.

    Args:
        claims: At least one, all alive.
    """
    at_home = [claim for claim in claims if _is_home(claim)] or list(claims)
    beside = [claim for claim in at_home if claim.location == at_home[0].location]
    if len(beside) == 1:
        return beside[0]
    return max(beside, key=lambda claim: (_lists_the_file(claim), _order(claim.version)))


def code_folder(claim: Claim) -> Path | None:
    """Return the folder on the import path that an import takes the claim's module from, None if it is not there."""
    found = _found(claim.module)
    return None if found is None else found[0]


def _found(module: str) -> tuple[Path, Path] | None:
    """Return the folder that an import takes a module's package from, and the module's file, without importing it."""
    top, *rest = module.split(".")
    try:
        spec: Any = find_spec(top)
        inside = spec.submodule_search_locations
        folder = Path(spec.origin if inside is None else next(iter(inside))).parent
        for part in rest:
            spec = PathFinder.find_spec(f"{spec.name}.{part}", list(spec.submodule_search_locations))
        file = Path(spec.origin or next(iter(spec.submodule_search_locations)))
    except Exception:  # it is not there; or what other projects' finders raise
        return None
    return folder.resolve(), file.resolve()


def _is_home(claim: Claim) -> bool:
    """Return whether the claim's module is taken from the claim's own folder, or from the project that it points to."""
    folder = code_folder(claim)
    if folder is None or folder == claim.location.resolve():
        return folder is not None
    try:
        origin = json.loads(claim.found.read_text("direct_url.json") or "{}")
        project = Path(unquote(urlsplit(origin["url"]).path)).resolve()
        return bool(origin["dir_info"]["editable"]) and folder.is_relative_to(project)
    except Exception:  # no such file, or nothing of the sort in it
        return False


def _lists_the_file(claim: Claim) -> bool:
    """Return whether the installer's list of files has the module's file with the content that it has."""
    found = _found(claim.module)
    try:
        for entry in claim.found.files or ():
            if found is not None and entry.hash is not None and Path(str(entry.locate())).resolve() == found[1]:
                digest = hashlib.new(entry.hash.mode, found[1].read_bytes()).digest()
                return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == entry.hash.value
    except Exception:  # a list that is damaged lists nothing
        pass
    return False


def _order(version: str) -> Any:
    from packaging.version import InvalidVersion, Version  # rarely needed, and `sslkit plugins` answers at once

    try:
        return Version(version)
    except InvalidVersion:
        return Version("0")


def _identity(distribution: Distribution) -> tuple[str, str, Path]:
    """Return name, version and metadata; from the folder's name where an uninstallation has left only half."""
    metadata = Path(str(getattr(distribution, "_path", "unknown place/unnamed")))
    by_folder, _, of_folder = metadata.stem.partition("-")
    try:
        name, version = distribution.metadata["Name"], distribution.metadata["Version"]
    except Exception:
        name, version = "", ""
    return name or by_folder, version or of_folder, metadata
