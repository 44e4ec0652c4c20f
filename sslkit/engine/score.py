"""The evaluations of a run, one after the other, each kept as soon as it is through.

Enters: a run with its frozen weights, and its evaluations. Leaves: results in the run and in its folder; what is there
already is not done again. Called by `run`.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Iterator
from dataclasses import astuple, replace
from functools import partial
from typing import Any

import numpy as np
import pluggy

from sslkit.engine.build import Build
from sslkit.engine.checkpoint import file_sha256
from sslkit.engine.continuation import evaluated
from sslkit.engine.distributed import from_all, on_first, rank
from sslkit.engine.environment import plugin_versions
from sslkit.engine.evaluate import Result, Subject, measure, subjects
from sslkit.engine.evaluations import BuiltEvaluation
from sslkit.engine.frozen import FrozenModel
from sslkit.engine.interfaces import Data
from sslkit.engine.inventory import fingerprint_of
from sslkit.engine.results import feature_sample, read_results, sample_digest, write_arrays, write_results
from sslkit.engine.run_info import RunInfo, write_status
from sslkit.engine.stops import Stopped, Stops
from sslkit.errors import DataError, NonFiniteError
from sslkit.faults import fault
from sslkit.recipe.merge import RANDOM


def score(info: RunInfo, built: Build, hooks: pluggy.PluginManager, stops: Stops) -> None:
    """Run every evaluation.

    Raises:
        Stopped: A signal asked for it; the results so far are kept.
        PluginError: An evaluation has changed the weights.
        NonFiniteError: A number is not finite; names the evaluation.
    """
    model = info.model
    assert model is not None
    weights = RANDOM if info.recipe.weights == RANDOM else "pretrained"
    chosen = [_subjects(evaluation, model, built.untrained, weights) for evaluation in built.evaluations]
    if built.evaluations and model.head is not None:
        first = built.evaluations[0]
        chosen[0][0].model.measuring("z", first.data)  # costs little in the same pass, and the report's maps show it
    digest = model.digest()
    for number, evaluation in enumerate(built.evaluations):
        fault("evaluate.start", step=number)
        write_status(info, "running", f"evaluating with {evaluation.name}")
        _score_one(info, evaluation, chosen[number], digest, hooks, stops)
    if built.evaluations:
        _keep_sample(info, built, digest)


def _subjects(
    evaluation: BuiltEvaluation, model: FrozenModel, untrained: FrozenModel | None, weights: str
) -> list[Subject]:
    plan = evaluation.plan
    cropped = untrained and untrained.cropping(plan.central_share)
    model = model.cropping(plan.central_share)
    return subjects(model, evaluation.data, plan.features, plan.baselines, cropped, weights)


def _score_one(
    info: RunInfo,
    evaluation: BuiltEvaluation,
    chosen: list[Subject],
    digest: str,
    hooks: pluggy.PluginManager,
    stops: Stops,
) -> None:
    """Run one evaluation on everything that it measures, with every seed."""
    folder = info.folder / "evaluate" / f"{evaluation.index}-{evaluation.name}"
    identity = _identity(info, evaluation, digest)
    known = {_of(result): result for result in on_first(partial(read_results, folder, identity))}
    seeds = range(info.recipe.seed, info.recipe.seed + evaluation.plan.num_seeds)
    for subject, seed in itertools.product(chosen, seeds):
        what = (subject.features, subject.weights, seed)
        if what not in known:
            unfinished = folder / f"unfinished.{subject.weights}.{subject.features}.{seed}"
            with _naming(f"evaluate.{evaluation.index} ({evaluation.name})"):
                result = measure(
                    evaluation.name,
                    evaluation.evaluation,
                    evaluation.data_name,
                    evaluation.data,
                    subject,
                    seed,
                    unfinished,
                    identity,
                )
            known[what] = replace(result, index=evaluation.index)
            if rank() == 0:
                write_results(folder, identity, list(known.values()), evaluation.data.class_names)
        info.results.append(known[what])
        title = f"{evaluation.name} {known[what].title}"
        hooks.hook.sslkit_evaluation_end(run=info, name=title, outcome=known[what].outcome)
        asked = next(filter(None, from_all(stops.requested)), None)
        if asked is not None:
            raise Stopped(f"stopped by {asked} during evaluation")
    if rank() == 0:
        asked_for = [(subject.features, subject.weights, seed) for subject in chosen for seed in seeds]
        if asked_for != list(known):  # others were kept from an earlier recipe
            write_results(folder, identity, [known[what] for what in asked_for], evaluation.data.class_names)
        for left in folder.glob("unfinished.*"):  # of features or seeds that are asked for no longer
            shutil.rmtree(left, ignore_errors=True)


def _of(result: Result) -> tuple[str, str, int]:
    return result.features, result.weights, result.seed


def _keep_sample(info: RunInfo, built: Build, digest: str) -> None:
    """Keep some features for the maps of the report; all ranks have to come here."""
    assert info.model is not None
    path = info.folder / "evaluate" / "features_sample.npz"
    if on_first(partial(sample_digest, path)) == digest:
        return
    first = built.evaluations[0]
    share = first.plan.central_share
    untrained = built.untrained and built.untrained.cropping(share)
    arrays = feature_sample(info.model.cropping(share), untrained, first.data)
    if rank() == 0:
        write_arrays(path, arrays | {"weights": np.array(digest)})


def _identity(info: RunInfo, evaluation: BuiltEvaluation, digest: str) -> dict[str, Any]:
    """Return what the results of an evaluation depend on: where it is unchanged, a continued run has them already."""
    assert info.model is not None
    recipe, model = info.recipe, info.model
    return {
        "evaluation": evaluated(recipe, evaluation.index),
        "weights": digest,
        "normalisation": None if model.normalisation is None else [*map(list, astuple(model.normalisation))],
        "input_size": model.input_size,
        "data": {split: _fingerprint(evaluation.data, split) for split in ("pretrain", "train", "validation", "test")},
        "seed": recipe.seed,
        "plugins": plugin_versions(recipe),
        "files": {plugin.name: file_sha256(plugin) for plugin in recipe.plugins},
    }


def _fingerprint(data: Data, split: str) -> str | None:
    try:
        return fingerprint_of(data.split(split))
    except DataError:  # a split that is not there
        return None


@contextlib.contextmanager
def _naming(place: str) -> Iterator[None]:
    """Say in which evaluation a number was not finite."""
    try:
        yield
    except NonFiniteError as error:
        raise NonFiniteError(f"{place}: {error}") from None
