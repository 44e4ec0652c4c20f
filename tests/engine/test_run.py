from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from sslkit import (
    DataError,
    NonFiniteError,
    RecipeError,
    RunError,
    SslkitError,
    hookimpl,
    load_backbone,
    load_recipe,
    run,
)
from sslkit.engine.check import check_build
from sslkit.engine.contract import OWN_COLUMNS
from sslkit.engine.stops import Stopped


def weights(folder):
    return load_file(Path(folder) / "backbone.safetensors") | load_file(Path(folder) / "head.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def folder_recipe(path, images):
    """Make a recipe read a plain folder of images: there is no resident table, and the loader does the work."""
    recipe = path.read_text().partition("[[evaluate]]")[0]
    shapes = recipe[recipe.index("[pretrain.data]") : recipe.index("[pretrain.views]")]
    path.write_text(recipe.replace(shapes, f"[pretrain.data]\nname = 'builtin.image_folder'\nfolder = '{images}'\n"))
    return path


COMPILING = """
from pathlib import Path
from sslkit import hookimpl, uniforms
SSLKIT_API = 1

@hookimpl
def sslkit_register(register):
    register.views("compiling", "compiling:Compiling", summary="can be compiled")

class Compiling:
    num_views = 2
    whole_images = True
    def draw(self, keys):
        return uniforms(keys, 2, 1)
    def prepare(self, image, draws):
        return (image.unsqueeze(0),)
    def apply(self, groups, draws):
        return [groups[0][:, 0].float() / 255 * (0.5 + draws[:, view, :, None, None] / 2) for view in range(2)]
    def compile(self):
        Path(__file__).with_name("compiled").touch()
"""


class StopAt:
    def __init__(self, step):
        self.step = step

    @hookimpl
    def sslkit_step_end(self, state):
        if state.step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_leaves_everything_that_its_folder_promises(recipe_file, tmp_path):
    info = run(recipe_file(), runs=tmp_path / "runs", overrides=["seed=3"])
    folder = info.folder
    assert folder.parent == tmp_path / "runs" / "toy"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "recipe.toml", "resolved.toml", "environment.json", "metrics.jsonl", "log.txt", "checkpoints", "plugins",
        "backbone.safetensors", "backbone.json", "head.safetensors", "evaluate", "summary.json",
        "report.html", "views.npz",
    }  # fmt: skip
    assert (folder / "plugins" / "toy_plugin.py").exists()
    assert (folder / "recipe.toml").read_text().startswith("# override: seed=3\n")
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(1, 9))
    assert set(OWN_COLUMNS) <= set(records[0])
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "finished"
    keys = {
        "evaluation", "data", "split", "features", "weights", "metric", "value", "interval", "n", "seed", "index",
    }  # fmt: skip
    assert all(set(row) == keys for row in summary["results"])
    assert [(row["features"], row["weights"]) for row in summary["results"]] == [
        ("h", "pretrained"),
        ("z", "pretrained"),
        ("h", "random"),
        ("pixels", "none"),
    ]
    assert {(row["evaluation"], row["split"], row["metric"], row["n"], row["seed"]) for row in summary["results"]} == {
        ("builtin.knn", "test", "top1", 41, 3)
    }
    predictions = np.load(folder / "evaluate" / "0-builtin.knn" / "predictions.npz")
    right = predictions["pretrained.h.3.predicted"] == predictions["pretrained.h.3.label"]
    assert right.mean() == pytest.approx(summary["results"][0]["value"])


def test_the_resolved_recipe_repeats_the_run(recipe_file, tmp_path):
    first = run(recipe_file(), runs=tmp_path / "runs").folder
    again = run(first / "resolved.toml", runs=tmp_path / "runs").folder
    assert same(weights(first), weights(again))
    resolved = tomllib.loads((first / "resolved.toml").read_text())
    assert resolved["derived"]["total_steps"] == 8
    assert resolved["pretrain"]["optimizer"]["momentum"] == 0.9  # a default, filled in
    tampered = (first / "resolved.toml").read_text().replace("total_steps = 8", "total_steps = 9")
    (tmp_path / "tampered.toml").write_text(tampered)
    with pytest.raises(RunError, match="total_steps was 9, is 8; delete"):
        run(tmp_path / "tampered.toml", runs=tmp_path / "runs")


def test_workers_change_neither_log_nor_weights(recipe_file, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{number}.png")
    recipe = folder_recipe(recipe_file(), images)
    folders = [run(recipe, into=tmp_path / f"w{n}", workers=n).folder for n in (0, 1, 3)]
    logs = [
        [(r["step"], r["loss"]) for r in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())]
        for folder in folders
    ]
    assert logs[0] == logs[1] == logs[2]
    assert same(weights(folders[0]), weights(folders[1]))
    assert same(weights(folders[0]), weights(folders[2]))


def test_spawned_workers_know_the_recipes_plugin_files(recipe_file, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for number in range(20):
        Image.fromarray(np.full((16, 16, 3), number * 10, dtype=np.uint8)).save(images / f"{number}.png")
    recipe = folder_recipe(recipe_file(), images)
    alone = run(recipe, into=tmp_path / "alone", workers=0).folder
    context = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        spawned = run(recipe, into=tmp_path / "spawned", workers=1).folder
    finally:
        multiprocessing.set_start_method(context, force=True)
    assert same(weights(alone), weights(spawned))


@pytest.mark.parametrize("step", [1, 5, 8])
def test_stopped_and_called_again_it_goes_on_bit_for_bit(recipe_file, tmp_path, step):
    whole = run(recipe_file(), into=tmp_path / "whole").folder
    with pytest.raises(Stopped, match=f"SIGTERM after step {step}"):
        run(recipe_file(), into=tmp_path / "parts", watchers=[StopAt(step)])
    status = json.loads((tmp_path / "parts" / "status.json").read_text())
    assert status["status"] == "stopped"
    assert not (tmp_path / "parts" / "summary.json").exists()
    run(recipe_file(), into=tmp_path / "parts")
    assert same(weights(whole), weights(tmp_path / "parts"))
    assert not (tmp_path / "parts" / "status.json").exists()
    steps = [json.loads(line)["step"] for line in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 9))
    assert (
        json.loads((whole / "summary.json").read_text())["results"]
        == json.loads((tmp_path / "parts" / "summary.json").read_text())["results"]
    )


def test_a_finished_run_says_so_and_does_nothing(recipe_file, tmp_path):
    run(recipe_file(), into=tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    assert run(recipe_file(), into=tmp_path / "run").complete
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}


def test_a_finished_run_with_data_of_its_own_folder_is_complete_too(recipe_file, tmp_path):
    for split in ("train", "test"):
        for number in range(20):
            path = tmp_path / "data" / "pictures" / split / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 16, 3), number * 10, dtype=np.uint8)).save(path)
    more = "[[evaluate]]\nname = 'builtin.knn'\ndata = { name = 'builtin.image_folder', folder = 'pictures' }\n"
    for complete in (False, True):
        info = run(recipe_file(more), into=tmp_path / "run", data_root=tmp_path / "data")
        assert info.complete is complete


def test_a_finished_run_refuses_to_be_called_complete_for_more(recipe_file, tmp_path):
    run(recipe_file(), into=tmp_path / "run")
    with pytest.raises(RunError, match="is complete, but pretrain.epochs was 2, is 3"):
        run(recipe_file(), into=tmp_path / "run", overrides=["pretrain.epochs=3"])


def test_fewer_epochs_than_are_done_are_refused(recipe_file, tmp_path):
    with pytest.raises(Stopped):
        run(recipe_file(), into=tmp_path / "run", watchers=[StopAt(6)])
    with pytest.raises(RunError, match="6 steps are done already, but the recipe wants 4"):
        run(recipe_file(), into=tmp_path / "run", overrides=["pretrain.epochs=1"])


def test_a_run_that_has_saved_nothing_may_begin_anew_with_another_recipe(recipe_file, tmp_path):
    with pytest.raises(NonFiniteError, match="no checkpoint was saved before"):
        run(recipe_file(), into=tmp_path / "run", overrides=["pretrain.optimizer.learning_rate=1e30"])
    assert not run(recipe_file(), into=tmp_path / "run").complete
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 9))


def test_what_was_to_be_said_before_the_run_began_is_kept_for_the_console(recipe_file, tmp_path):
    info = run(recipe_file(), into=tmp_path / "run", overrides=["pretrain.precision='bf16'"])
    assert [line[:27] for line in info.warnings] == ['precision = "bf16" on a CPU']


def test_a_run_killed_while_it_started_can_be_started_again(recipe_file, tmp_path):
    (tmp_path / "run" / "plugins").mkdir(parents=True)
    (tmp_path / "run" / "log.txt").write_text("")
    (tmp_path / "run" / ".resolved.toml.tmp-1").write_text("sch")
    run(recipe_file(), into=tmp_path / "run")


def test_two_evaluations_of_one_name_keep_their_scores_apart(recipe_file, tmp_path):
    second = "[[evaluate]]\nname = 'builtin.knn'\nk = 1\n"
    info = run(recipe_file(second), runs=tmp_path / "runs")
    assert {(result.evaluation, result.index) for result in info.results} == {("builtin.knn", 0), ("builtin.knn", 1)}
    assert {result.data for result in info.results} == {"builtin.shapes"}


def test_weights_bring_their_normalisation(recipe_file, tmp_path):
    declared = "pretrain.data.normalize={mean=[0.5,0.4,0.3],std=[0.2,0.2,0.2]}"
    first = run(recipe_file(), into=tmp_path / "first", overrides=[declared])
    started = run(recipe_file(), runs=tmp_path, overrides=[f"pretrain.weights='{first.folder}'"])
    assert started.model.normalisation == first.model.normalisation
    assert load_backbone(started.folder).normalisation == first.model.normalisation
    other = declared.replace("0.5", "0.6")
    with pytest.raises(RunError, match="but the weights were trained with"):
        run(recipe_file(), runs=tmp_path, overrides=[f"pretrain.weights='{first.folder}'", other])


COPYING = """
import sslkit
from sslkit import hookimpl
SSLKIT_API = 1

class Copying(sslkit.JointEmbedding):
    min_views = 2

    def __init__(self, backbone, head, objective):
        super().__init__(backbone, head, objective)
        self.target = sslkit.MomentumCopy(backbone)

@hookimpl
def sslkit_register(register):
    register.method("copying", f"{__name__}:Copying", summary="")
"""


@pytest.fixture
def copying(recipe_file, tmp_path):
    plugin = tmp_path / "copying.py"
    plugin.write_text(COPYING)
    path = recipe_file()
    text = path.read_text().replace("plugins = [", f"plugins = ['{plugin}', ", 1)
    path.write_text(text.replace("[pretrain.data]", '[pretrain.method]\nname = "local.copying"\n[pretrain.data]', 1))
    return path


def test_a_methods_copy_of_the_backbone_begins_with_the_weights_too(recipe_file, copying, tmp_path):
    first = run(recipe_file(name="first.toml"), runs=tmp_path).folder
    overrides = [f"pretrain.weights='{first}'", "pretrain.optimizer.learning_rate=1e-12"]
    copied = run(copying, runs=tmp_path, overrides=overrides).folder
    (checkpoint,) = sorted((copied / "checkpoints").glob("step-*"))[-1:]
    state = load_file(checkpoint / "model.safetensors")
    begun = load_file(first / "backbone.safetensors")
    assert begun
    for name, tensor in begun.items():
        assert torch.equal(state[f"/target.module.{name}"], tensor), name


def test_a_method_says_how_many_views_it_compares(copying, tmp_path):
    copying.write_text(copying.read_text().replace('"local.brightness"', '"builtin.crop_flip"\nimage_size = 16'))
    with pytest.raises(RunError, match="makes 1 view of each image, Copying compares at least 2; set num_views = 2"):
        run(copying, runs=tmp_path)


def test_the_resolved_recipe_knows_where_the_data_was(recipe_file, tmp_path):
    images = tmp_path / "data" / "images"
    images.mkdir(parents=True)
    for number in range(20):
        Image.fromarray(np.full((16, 16, 3), number, dtype=np.uint8)).save(images / f"{number}.png")
    recipe = folder_recipe(recipe_file(), "images")
    folder = run(recipe, into=tmp_path / "run", data_root=tmp_path / "data").folder
    resolved = tomllib.loads((folder / "resolved.toml").read_text())
    assert resolved["pretrain"]["data"]["folder"] == str(images)
    again = run(folder / "resolved.toml", runs=tmp_path / "runs").folder
    assert same(weights(folder), weights(again))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX process groups")
def test_a_signal_to_the_whole_group_ends_in_good_order_with_75(recipe_file, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for number in range(40):
        Image.fromarray(np.full((16, 16, 3), number, dtype=np.uint8)).save(images / f"{number}.png")
    recipe = folder_recipe(recipe_file(), images)
    command = [sys.executable, "-m", "sslkit", "run", str(recipe), "--into", str(tmp_path / "run"), "--workers", "1"]
    command += ["pretrain.epochs=100000"]
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        log = tmp_path / "run" / "metrics.jsonl"
        while not (log.exists() and log.stat().st_size):
            assert process.poll() is None, (tmp_path / "output").read_text()
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(timeout=60) == 75
    said = (tmp_path / "output").read_text()
    assert "error: stopped by SIGTERM after step" in said
    assert "Traceback" not in said
    assert any((tmp_path / "run" / "checkpoints").glob("step-*"))


def test_an_option_that_a_component_has_got_since_does_not_stop_a_continuation(recipe_file, tmp_path):
    with pytest.raises(Stopped):
        run(recipe_file(), into=tmp_path / "run", watchers=[StopAt(3)])
    resolved = tmp_path / "run" / "resolved.toml"
    text = resolved.read_text()
    assert "momentum = 0.9\n" in text
    resolved.write_text(text.replace("momentum = 0.9\n", "momentum = 0.8\n"))
    with pytest.raises(RunError, match=r"another recipe: pretrain.optimizer.momentum was 0.8, is 0.9"):
        run(recipe_file(), into=tmp_path / "run")
    resolved.write_text(text.replace("momentum = 0.9\n", ""))  # as if written before there was such an option
    with pytest.raises(RunError, match=r"another recipe: pretrain.optimizer.momentum was absent, is 0.5"):
        run(recipe_file(), into=tmp_path / "run", overrides=["pretrain.optimizer.momentum=0.5"])
    assert run(recipe_file(), into=tmp_path / "run").folder == tmp_path / "run"


def test_another_recipe_is_refused_with_what_differs(recipe_file, tmp_path):
    with pytest.raises(Stopped):
        run(recipe_file(), into=tmp_path / "run", watchers=[StopAt(3)])
    with pytest.raises(RunError, match=r"another recipe: pretrain.batch_size was 16, is 32; undo that, or name"):
        run(recipe_file(), into=tmp_path / "run", overrides=["pretrain.batch_size=32"])
    with pytest.raises(RunError, match=r"pretrain.data.num_train was 64, is 65"):
        run(recipe_file(), into=tmp_path / "run", overrides=["pretrain.data.num_train=65"])
    run(recipe_file(), into=tmp_path / "run", overrides=["pretrain.epochs=3", "evaluate.0.k=3"])


def test_a_folder_with_other_things_in_it_is_left_alone(recipe_file, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    with pytest.raises(RunError, match="holds other files and no run"):
        run(recipe_file(), into=tmp_path / "photos")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["pretrain.batch_size=1000"], "pretrain.batch_size = 1000, but there are 64 images"),
        (
            ["pretrain.backbone.name=builtin.timm", "pretrain.backbone.model=vit_tiny_patch16_224"],
            "timm_options.img_size = 16",
        ),
        (["pretrain.backbone.name=builtin.timm", "pretrain.backbone.model=resnet81"], "pretrain.backbone"),
        (["pretrain.weights=nowhere"], "there are no such weights"),
        (["pretrain.objective.temperature=0"], "pretrain.objective.temperature: should be greater than 0, got 0"),
        (["evaluate.0.features=['layer9']"], 'features = "layer9"'),
    ],
)
def test_a_mistake_is_found_before_anything_is_written(recipe_file, tmp_path, overrides, message):
    with pytest.raises(SslkitError) as caught:
        run(recipe_file(), runs=tmp_path / "runs", overrides=overrides)
    assert message in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_a_run_folder_that_cannot_be_is_refused_first(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file, not a folder"):
        run(tmp_path / "missing.toml", runs=tmp_path / "file" / "runs")


def test_devices_are_refused_or_named(recipe_file, tmp_path):
    with pytest.raises(RunError, match="is no device; say auto, cpu, cuda"):
        run(recipe_file(), runs=tmp_path, device="tpu9")
    if not torch.cuda.is_available():
        with pytest.raises(RunError, match="has no CUDA; say --device auto or cpu"):
            run(recipe_file(), runs=tmp_path, device="cuda")


def test_existing_weights_can_be_started_from_and_evaluated(recipe_file, tmp_path):
    first = run(recipe_file(), into=tmp_path / "first").folder
    started = run(recipe_file(), into=tmp_path / "second", overrides=[f"pretrain.weights='{first}'"]).folder
    assert not same(weights(first), weights(started))
    # The random baseline is the backbone before any weights were loaded.
    rows = [json.loads((folder / "summary.json").read_text())["results"] for folder in (first, started)]
    assert rows[0][2] == rows[1][2]
    only = f"""
schema = 1
name = "only"
weights = '{first}'
[[evaluate]]
name = "builtin.knn"
k = 5
features = ["h"]
data = {{ name = "builtin.shapes", image_size = 16, num_train = 64, num_validation = 20, num_test = 41 }}
"""
    (tmp_path / "only.toml").write_text(only)
    info = run(tmp_path / "only.toml", runs=tmp_path / "runs")
    assert info.results[0].row()["value"] == rows[0][0]["value"]


def test_check_build_opens_the_data_and_builds_without_writing(recipe_file, tmp_path):
    lines = check_build(load_recipe(recipe_file()), None)
    text = "\n".join(lines)
    assert "10 classes" in text
    assert "test: 41 images, the first 3 x 16 x 16" in text
    assert "views: 2 of 3 x 16 x 16" in text
    vit = ["pretrain.backbone.name=builtin.timm", "pretrain.backbone.model=vit_tiny_patch16_224"]
    with pytest.raises(RunError, match=r"make it for that: pretrain\.backbone\.timm_options\.img_size = 16"):
        check_build(load_recipe(recipe_file(), vit), None)
    with pytest.raises(RunError, match=r"batch_size = 65, but there are 64"):
        check_build(load_recipe(recipe_file(), ["pretrain.batch_size=65"]), None)


def test_a_loaded_backbone_gives_the_features_that_were_scored(recipe_file, tmp_path):
    info = run(recipe_file(), into=tmp_path / "run")
    images = torch.rand(4, 3, 16, 16)
    loaded = load_backbone(tmp_path / "run")
    assert torch.equal(loaded(images), info.model(images))


def test_half_of_a_launchers_environment_is_refused(recipe_file, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RunError, match="the environment has WORLD_SIZE, but not all of RANK"):
        run(recipe_file(), runs=tmp_path)


def test_a_recipe_with_a_fault_is_not_run(recipe_file, tmp_path):
    with pytest.raises(RecipeError, match=r'pretrain.epoch: unknown key; did you mean "epochs"'):
        run(recipe_file(), runs=tmp_path / "runs", overrides=["pretrain.epoch=3"])
    assert not (tmp_path / "runs").exists()


def kill_until_done(recipe, folder, *, kills, seed, longest):
    """Start a run again and again, each time killing it after a random time; return how many kills it took."""
    command = [sys.executable, "-m", "sslkit", "run", str(recipe), "--into", str(folder)]
    rng = random.Random(seed)
    done = 0
    while done < kills:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(rng.uniform(0.5, longest))
        process.kill()
        _, errors = process.communicate()
        assert b"error" not in errors, errors
        done += 1
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_nothing(recipe_file, tmp_path):
    recipe = recipe_file()
    text = recipe.read_text().replace(
        "epochs = 2", "epochs = 300\ncheckpoint_every_steps = 7\ncheckpoint_every_epochs = 50"
    )
    recipe.write_text(text)
    command = [sys.executable, "-m", "sslkit", "run", str(recipe), "--into", str(tmp_path / "whole")]
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    kill_until_done(recipe, tmp_path / "killed", kills=10, seed=0, longest=time.monotonic() - started)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


def test_the_log_holds_what_was_said_before_there_was_a_folder(recipe_file, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for number in range(20):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(images / f"{number:02d}.png")
    (images / "notes.txt").write_text("no image")
    info = run(folder_recipe(recipe_file(), images), runs=tmp_path / "runs", overrides=["pretrain.epochs=1"], workers=0)
    lines = (info.folder / "log.txt").read_text().splitlines()
    assert [line.partition(" INFO ")[2] for line in lines if "ignored" in line] == [
        f"{images}: 1 entry ignored (notes.txt)"
    ]
    run(recipe_file(), runs=tmp_path / "runs", overrides=["pretrain.epochs=1"])
    assert len((info.folder / "log.txt").read_text().splitlines()) == len(lines)  # closed with its run


def test_views_are_compiled_only_if_they_know_how(recipe_file, tmp_path, monkeypatch):
    with pytest.raises(RunError, match="--compile: there are no views here that can be compiled; leave it out"):
        run(recipe_file(), runs=tmp_path / "runs", compile_views=True)
    assert not (tmp_path / "runs" / "toy").exists()
    plugin = tmp_path / "compiling.py"
    plugin.write_text(COMPILING)
    text = recipe_file().read_text().replace("plugins = [", f"plugins = ['{plugin}', ")
    path = tmp_path / "compiling.toml"
    path.write_text(text.replace("local.brightness", "local.compiling"))
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(RunError, match=r"--compile: needs a C\+\+ compiler, and there is none"):
        run(path, runs=tmp_path / "runs", compile_views=True)
    monkeypatch.undo()
    info = run(path, runs=tmp_path / "runs", overrides=["pretrain.epochs=1"], compile_views=True)
    assert json.loads((info.folder / "environment.json").read_text())["compiled_views"] is True
    compiled, sample = (path.stat().st_mtime_ns for path in (tmp_path / "compiled", info.folder / "views.npz"))
    assert sample <= compiled  # the sample is made on the CPU, for which nothing else need be compiled


GREY = """
[[evaluate]]
name = "builtin.knn"
k = 1
[evaluate.data]
name = "builtin.arrays"
folder = "."
train = "images.npy"
train_labels = "labels.npy"
test = "images.npy"
test_labels = "labels.npy"
"""


def test_what_cannot_fit_shows_before_the_first_step(recipe_file, tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((4, 16, 16, 1), dtype=np.uint8))
    np.save(tmp_path / "labels.npy", np.arange(4) % 2)
    whole = recipe_file().read_text()
    conv = whole.replace('name = "local.pooled"', 'name = "builtin.timm"\nmodel = "test_resnet"')
    grey = tmp_path / "grey.toml"
    grey.write_text(conv.replace("image_size = 16", "image_size = 32").partition("[[evaluate]]")[0] + GREY)
    lonely = tmp_path / "lonely.toml"
    one_view = 'name = "simclr.two_crops"\nimage_size = 16\nnum_views = 1\ncrop_on = "device"'
    lonely.write_text(whole.replace('name = "local.brightness"', one_view).replace("local.agreement", "simclr.nt_xent"))
    for path, words in (
        (grey, r"evaluate\.0\.data: its images have 1 channels, and the backbone does not take those"),
        (lonely, "makes 1 view of each image, NTXent compares at least 2; set num_views = 2"),
    ):
        with pytest.raises(RunError, match=words):
            run(path, runs=tmp_path / "runs", data_root=tmp_path)
        with pytest.raises(RunError, match=words):
            check_build(load_recipe(path), tmp_path)
    assert not (tmp_path / "runs" / "toy").exists()


def test_a_run_without_any_folder_named_does_not_take_the_one_it_is_in(recipe_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (16, 16)).save(tmp_path / "mine.png")
    data = ["pretrain.data.name=builtin.image_folder", "evaluate=[]"]
    with pytest.raises(DataError, match=r"pretrain\.data: no folder is named; say --data-root DIR, which may be \."):
        run(recipe_file(), overrides=data, runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
