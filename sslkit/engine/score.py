"""The evaluations of a run, one after the other, each kept as soon as it is through.

Enters: a run with its frozen weights, and its evaluations. Leaves: results in the run and in its folder; what is there
already is not done again. Called by `run`.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pluggy

import sslkit
from sslkit.engine.build import Build
from sslkit.engine.continuation import evaluated
from sslkit.engine.distributed import from_all, on_first, rank
from sslkit.engine.evaluate import Result, measure, subjects
from sslkit.engine.evaluations import BuiltEvaluation
from sslkit.engine.inventory import fingerprint_of
from sslkit.engine.results import feature_sample, read_results, write_results
from sslkit.engine.run_info import RunInfo, write_status
from sslkit.engine.stops import Stopped, Stops
from sslkit.errors import NonFiniteError
from sslkit.faults import fault


def score(info: RunInfo, built: Build, hooks: pluggy.PluginManager, stops: Stops) -> None:
    """Run every evaluation.

    Raises:
        Stopped: A signal asked for it; the results so far are kept.
        PluginError: An evaluation has changed the weights.
        NonFiniteError: A number is not finite; names the evaluation.
    """
    model = info.model
    assert model is not None
    if built.evaluations and model.head is not None:
        model.measuring("z")  # costs little in the same pass, and the report's maps show it
    chosen = [
        subjects(
            model.cropping(plan.central_share),
            plan.features,
            plan.baselines,
            built.untrained and built.untrained.cropping(plan.central_share),
        )
        for plan in (evaluation.plan for evaluation in built.evaluations)
    ]
    for number, evaluation in enumerate(built.evaluations):
        fault("evaluate.start", step=number)
        write_status(info, "running", f"evaluating with {evaluation.name}")
        component = evaluation.plan.evaluation.component.name
        folder = info.folder / "evaluate" / f"{evaluation.index}-{component}"
        identity = _identity(info, evaluation)
        known = {_of(result): result for result in on_first(partial(read_results, folder, identity))}
        results: list[Result] = []
        for subject, repetition in itertools.product(chosen[number], range(evaluation.plan.num_seeds)):
            seed = info.recipe.seed + repetition
            result = known.get((subject.features, subject.weights, seed))
            if result is None:
                with _naming(f"evaluate.{evaluation.index} ({evaluation.name})"):
                    result = measure(
                        evaluation.name,
                        evaluation.evaluation,
                        evaluation.data_name,
                        evaluation.data,
                        subject,
                        seed,
                        folder / f"unfinished.{subject.weights}.{subject.features}.{seed}",
                        identity,
                    )
                result = replace(result, index=evaluation.index)
            results.append(result)
            info.results.append(result)
            if rank() == 0:
                write_results(folder, identity, results, evaluation.data.class_names)
            hooks.hook.sslkit_evaluation_end(run=info, name=f"{evaluation.name} {result.title}", outcome=result.outcome)
            asked = next(filter(None, from_all(stops.requested)), None)
            if asked is not None:
                raise Stopped(f"stopped by {asked} during evaluation")
    sample = info.folder / "evaluate" / "features_sample.npz"
    if built.evaluations and not on_first(sample.exists):
        first = built.evaluations[0]
        share = first.plan.central_share
        untrained = built.untrained and built.untrained.cropping(share)
        arrays = feature_sample(model.cropping(share), untrained, first.data)
        if rank() == 0:
            np.savez_compressed(sample, **arrays)


def _of(result: Result) -> tuple[str, str, int]:
    return result.features, result.weights, result.seed


def _identity(info: RunInfo, evaluation: BuiltEvaluation) -> dict[str, Any]:
    """Return what the results of an evaluation depend on: where it is unchanged, a continued run has them already."""
    assert info.model is not None
    return {
        "evaluation": evaluated(info.recipe, evaluation.index),
        "weights": info.model.digest(),
        "data": [fingerprint_of(evaluation.data.split(split)) for split in ("train", "test")],
        "seed": info.recipe.seed,
        "sslkit": sslkit.__version__,
    }


@contextlib.contextmanager
def _naming(place: str) -> Iterator[None]:
    """Say in which evaluation a number was not finite."""
    try:
        yield
    except NonFiniteError as error:
        raise NonFiniteError(f"{place}: {error}") from None
