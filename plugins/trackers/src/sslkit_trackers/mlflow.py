"""A run's numbers in MLflow.

Enters: the hooks of a run. Leaves: a run there, under the recipe's name. Attached where a recipe lists
`trackers.mlflow` under `[[pretrain.callbacks]]`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

from annotated_types import Ge, Gt

from sslkit import SslkitError, one_line
from sslkit_trackers.tracker import Tracker

_FOLDER: Final = "sslkit.folder"
"""The tag by which a continued run is found again."""

_AT_ONCE: Final = 100
"""Parameters in one call, and their length in characters: MLflow takes 100 of 6000."""

_LONGEST: Final = 6000


class MLflow(Tracker):
    """Tell MLflow of a run: its recipe as parameters, its numbers, its scores.

    A run that is continued goes on there: it is found by a tag that holds the run folder's path.

    Args:
        tracking_uri: Where MLflow keeps runs, such as a server's address; unset, as MLflow is set up.
        experiment: What MLflow calls a group of runs; made if there is none of this name.
        every_steps: Tell every so many steps; the last one is always told.
        patience_seconds: How long the end of the run may wait for the service.

    Raises:
        SslkitError: The package mlflow is not installed.
    """

    def __init__(
        self,
        *,
        tracking_uri: str | None = None,
        experiment: str = "sslkit",
        every_steps: Annotated[int, Ge(1)] = 10,
        patience_seconds: Annotated[float, Gt(0)] = 30.0,
    ) -> None:
        try:
            library = import_module("mlflow")
        except ImportError as error:
            raise SslkitError(
                'trackers.mlflow needs the package mlflow; type: pip install "sslkit-trackers[mlflow]" '
                f"({one_line(error)})"
            ) from error
        sink = _MLflowSink(library, tracking_uri, experiment)
        super().__init__("trackers.mlflow", sink, every_steps=every_steps, patience_seconds=patience_seconds)


class _MLflowSink:
    """Uses MLflow's client, which has no run that is active for the whole process."""

    def __init__(self, library: Any, tracking_uri: str | None, experiment: str) -> None:
        self._library = library
        self._tracking_uri = tracking_uri
        self._experiment = experiment
        self._client: Any = None
        self._run_id = ""

    def begin(self, name: str, folder: Path, recipe: dict[str, Any]) -> None:
        self._client = self._library.MlflowClient(tracking_uri=self._tracking_uri)
        known = self._client.get_experiment_by_name(self._experiment)
        experiment = known.experiment_id if known else self._client.create_experiment(self._experiment)
        quoted = str(folder).replace("'", "\\'")
        earlier = self._client.search_runs([experiment], f"tags.`{_FOLDER}` = '{quoted}'", max_results=1)
        if earlier:
            self._run_id = earlier[0].info.run_id
            self._client.update_run(self._run_id, status="RUNNING")
            return
        tags = {_FOLDER: str(folder)}
        self._run_id = self._client.create_run(experiment, run_name=name, tags=tags).info.run_id
        param = self._library.entities.Param
        params = [param(key, value[:_LONGEST]) for key, value in _flat(recipe)]
        for start in range(0, len(params), _AT_ONCE):
            self._client.log_batch(self._run_id, params=params[start : start + _AT_ONCE])

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        now, metric = int(time.time() * 1000), self._library.entities.Metric
        metrics = [metric(_spelled(key), float(value), now, step) for key, value in numbers.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def end(self, failed: bool) -> None:
        self._client.set_terminated(self._run_id, status="FAILED" if failed else "FINISHED")


def _flat(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted keys and values as text, an array's tables by their places."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            yield from _flat({str(place): below for place, below in enumerate(value)}, f"{above}{key}.")
        else:
            yield f"{above}{key}", str(value)


def _spelled(key: str) -> str:
    """Return a name in the letters that MLflow allows."""
    return "".join(letter if letter.isalnum() or letter in "_-. /" else "_" for letter in key)
