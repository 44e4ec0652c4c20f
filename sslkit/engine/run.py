"""A run: from a recipe to a folder with a pretrained backbone and its scores.

Build everything, then create the folder, then pretrain, then evaluate. Enters: a recipe and where things are. Leaves: a
`RunInfo` with results, and the run folder. Called by `sslkit run` and from Python; continuing is the same call again.
Of several processes each does all of it, and the first one writes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pluggy
import torch

from sslkit.engine.artifact import save_artifact
from sslkit.engine.build import Build, build
from sslkit.engine.continuation import compared
from sslkit.engine.distributed import START_SECONDS, World, joined, on_first, rank, wait_for_all
from sslkit.engine.environment import choose_device, note_environment, plugin_versions
from sslkit.engine.frozen import FrozenModel
from sslkit.engine.inventory import fingerprint_of
from sslkit.engine.log import collecting
from sslkit.engine.opening import find_run, open_folder, require_same_weights, write_recipe
from sslkit.engine.outline import outline
from sslkit.engine.pretrain import train
from sslkit.engine.results import stored_results, write_view_sample
from sslkit.engine.run_info import RunInfo, write_status
from sslkit.engine.score import score
from sslkit.engine.stops import Stopped, Stops
from sslkit.engine.watch import STEP_SECONDS, Watch
from sslkit.engine.weights import weights_sha256
from sslkit.errors import RunError
from sslkit.faults import fault
from sslkit.recipe.plan import Recipe
from sslkit.recipe.resolve import load_recipe
from sslkit.registry.hookspecs import callback_manager
from sslkit.run_folder import require_writable, write_json, write_text
from sslkit.studies.report_page import write_report
from sslkit.text import one_line

logger = logging.getLogger("sslkit")


def run(
    recipe: Recipe | str | Path,
    *,
    overrides: Sequence[str] = (),
    data_root: str | Path | None = None,
    runs: str | Path = "runs",
    into: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
    compile_views: bool = False,
    deterministic: bool = False,
    skip_absent: bool = False,
    watchers: Sequence[Any] = (),
    rendezvous: str | Path | None = None,
    start_timeout: float = START_SECONDS,
    step_timeout: float | None = None,
) -> RunInfo:
    """Run a recipe: pretrain, evaluate, export.

    Started by torchrun, or by `sslkit run --nproc`, the processes share the work: the same call in each.

    Args:
        recipe: A checked recipe, or the path of one.
        overrides: Changes such as `pretrain.batch_size=512`, if a path is given.
        data_root: Folder that the recipe's `folder` keys are below.
        runs: Where new run folders are created.
        into: Create this very folder, or continue the run in it, or say that it is complete.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        workers: Loader processes; None chooses.
        compile_views: Let the views compile themselves, if they can: equal to rounding, and faster.
        deterministic: Refuse operations that may give other bits each time.
        skip_absent: Leave out evaluations whose data is not there, and list them; else that is an error.
        watchers: Callbacks beside the recipe's own; the command line's console is one.
        rendezvous: Folder in which several processes find each other; None takes torchrun's address.
        start_timeout: Seconds that several processes wait for each other, to start and between steps.
        step_timeout: Seconds that a step may take before its process ends; None is 120 for several processes, and no
            limit for one.

    Raises:
        SslkitError: The recipe, data or folder has a fault; nothing was written if it could be known before.
        Stopped: A signal asked for it; the same call goes on.
    """
    world = World.of_environment()
    runs = Path(runs)
    into = None if into is None else Path(into)
    require_writable(runs if into is None else into)
    chosen = choose_device(device, world)
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, overrides)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    meeting = None if rendezvous is None else Path(rendezvous)
    with (
        Stops() as stops,
        collecting() as log,
        # A collective waits for whatever another rank may do; a step that hangs ends by its own limit before.
        joined(
            chosen,
            rendezvous=meeting,
            start_seconds=start_timeout,
            collective_seconds=2 * max(start_timeout, step_timeout or 0.0),
        ),
        contextlib.ExitStack() as held,
    ):
        if deterministic:
            held.callback(torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled())
            torch.use_deterministic_algorithms(True)
        found = on_first(lambda: find_run(recipe, into, held, may_lack_data=skip_absent))
        if into is not None and found == "complete":
            on_first(lambda: require_same_weights(recipe, into))
            return RunInfo(recipe.name, into, recipe, chosen, [], stored_results(into), complete=True)
        root = None if data_root is None else Path(data_root)
        built = build(recipe, data_root=root, device=chosen, workers=workers, skip_absent=skip_absent)
        if compile_views:
            _require_compilable(built, chosen)
        folder = on_first(lambda: open_folder(recipe, runs, into, held, is_ours=found == "begun"))
        info = RunInfo(
            recipe.name, folder, recipe, chosen, outline(recipe, built, chosen), compiled_views=compile_views
        )
        callbacks: list[Any] = []
        if rank() == 0:
            if meeting is not None:
                write_text(meeting / "run", str(folder.resolve()))
            write_recipe(folder, recipe, built.derived, Path(data_root or "."))
            note_environment(folder, recipe, chosen, compiled_views=compile_views)
            info.warnings = log.warnings()
            log.write_to(folder / "log.txt")
            callbacks = [*watchers, *(built.pretraining.callbacks if built.pretraining is not None else ())]
        else:
            log.write_warnings()
        fault("run.start")
        if step_timeout is None and world.size > 1:
            step_timeout = STEP_SECONDS
        stacks = None if meeting is None else meeting / f"rank-{world.rank}.stacks"
        watch = Watch(step_timeout, long_seconds=start_timeout, stacks=stacks)
        _execute(info, built, _hooks(recipe, callbacks), stops, watch)
    return info


def _require_compilable(built: Build, device: torch.device) -> None:
    views = None if built.pretraining is None else built.pretraining.stepper.views
    if views is None or not hasattr(views, "compile"):
        raise RunError("--compile: there are no views here that can be compiled; leave it out")
    if device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++", "cl"))):
        raise RunError("--compile: needs a C++ compiler, and there is none; install g++, or leave it out")
    if device.type == "cuda" and not any(map(shutil.which, ("cc", "gcc", "clang"))):
        raise RunError("--compile: needs a C compiler, and there is none; install gcc, or leave it out")


def _execute(info: RunInfo, built: Build, hooks: pluggy.PluginManager, stops: Stops, watch: Watch) -> None:
    """Pretrain, evaluate, export; leave a status that says how it ended."""
    started = time.monotonic()
    try:
        hooks.hook.sslkit_run_start(run=info)
        if rank() == 0:
            bad_images = (built.pretraining or built.model).bad_images  # type: ignore[union-attr]
            bad_images.keep_in(info.folder)
            if built.pretraining is not None:
                write_view_sample(info.folder, built.pretraining)
        if info.compiled_views and built.pretraining is not None:
            # After the sample, which is made on the CPU: it would be compiled for that, too, seconds for a few images.
            built.pretraining.stepper.views.compile()  # type: ignore[attr-defined]
        info.model = _trained(info, built, hooks, stops, watch)
        score(info, built, hooks, stops)
        on_first(lambda: _export(info, built))
    except BaseException as error:
        status = "stopped" if isinstance(error, Stopped | KeyboardInterrupt) else "failed"
        with contextlib.suppress(Exception):  # the first error is the one to see
            reason = "stopped at once" if isinstance(error, KeyboardInterrupt) else one_line(error)
            write_status(info, status, reason or type(error).__name__)
            if rank() == 0 and not isinstance(error, KeyboardInterrupt):
                _write_report(info)
        logger.info("%s: %s", status, reason or type(error).__name__)
        with contextlib.suppress(Exception):
            hooks.hook.sslkit_run_failed(error=error)
        raise
    summary = {
        "status": "finished",
        "name": info.name,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - started, 1),
        "skipped": built.skipped,
        "weights_sha256": weights_sha256(info.recipe),
        "parameters": sum(parameter.numel() for parameter in info.model.backbone.parameters()),
        "results": [result.row() for result in info.results],
    }
    if rank() == 0:
        write_json(info.folder / "summary.json", summary)
        (info.folder / "status.json").unlink(missing_ok=True)
        _write_report(info)
    hooks.hook.sslkit_run_end(summary=summary)
    wait_for_all()  # the first one lets go of the folder: not before the others are through


def _export(info: RunInfo, built: Build) -> None:
    assert info.model is not None
    for name, exporter in built.exporters:
        for path in exporter(info.model, info.folder):
            logger.info("exported by %s: %s", name, path)


def _trained(info: RunInfo, built: Build, hooks: pluggy.PluginManager, stops: Stops, watch: Watch) -> FrozenModel:
    pretraining = built.pretraining
    if pretraining is None:
        assert built.model is not None
        return built.model
    write_status(info, "running", "pretraining")
    identity = {"recipe": compared(info.recipe), "data": fingerprint_of(pretraining.source.dataset)}
    state = train(
        pretraining,
        hooks,
        checkpoints=info.folder / "checkpoints",
        identity=identity,
        plugins=plugin_versions(info.recipe),
        stops=stops,
        watch=watch,
    )
    model = pretraining.frozen()
    model.source = info.folder
    lineage = {
        "recipe": info.name,
        "seed": info.recipe.seed,
        "steps": state.step,
        "epochs": state.epochs,
        "data": identity["data"],
        "started_from": None
        if (start := info.recipe.pretrain) is None or start.weights is None
        else str(start.weights),
    }
    on_first(
        lambda: save_artifact(
            info.folder, model, backbone=built.cards["backbone"], head=built.cards["head"], lineage=lineage
        )
    )
    return model


def _write_report(info: RunInfo) -> None:
    """Write the page that shows the run; a page that cannot be written is no reason to fail."""
    try:
        write_report(info.folder)
    except Exception as error:
        logger.warning("no report was written: %s: %s", type(error).__name__, one_line(error))


def _hooks(recipe: Recipe, callbacks: Sequence[Any]) -> pluggy.PluginManager:
    if rank() > 0:
        return callback_manager([])
    jsonl = recipe.installed.get("callback", "builtin.jsonl").load()()  # every run has its metrics.jsonl
    return callback_manager([jsonl, *callbacks])
