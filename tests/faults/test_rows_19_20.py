"""A loader process that is killed, crashes or hangs: it is named with the image it was at, and none stays behind."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from sslkit import FrozenModel, run, uniforms
from sslkit.engine import loader
from sslkit.engine.batches import Batches, Source
from sslkit.engine.loader import LoaderDied
from sslkit.engine.order import Order
from sslkit.engine.watch import STEP_SECONDS
from sslkit.faults import arm, disarm

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="POSIX signals")


class Photos:
    """A dataset whose images have names; `does[index]` is called before that image is read."""

    def __init__(self, does=None, count=256):
        self.count = count
        self.does = does or {}

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.does.get(index, lambda: None)()
        return Image.new("RGB", (8, 8), (index % 256, 0, 0)), -1

    def describe(self, index):
        return f"/photos/{index}.jpg"


class Plain:
    num_views = 1

    def __init__(self, does=None):
        self.does = does or {}

    def draw(self, keys):
        return uniforms(keys, 1, 1)

    def prepare(self, image, draws):
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        self.does.get(int(pixels[0, 0, 0]), lambda: None)()
        return (pixels.unsqueeze(0),)

    def apply(self, groups, draws):
        return [groups[0][:, 0] / 255]


def stream(images, views=None, *, steps=4, batch_size=64, workers=2, timeout=60.0):
    order = Order(0, len(images), batch_size)
    batches = Batches(
        Source(images), views or Plain(), order, device=torch.device("cpu"), workers=workers, timeout_seconds=timeout
    )
    return batches.stream(0, steps)


def die(number=signal.SIGKILL):
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)  # without pytest's page about it
    os.kill(os.getpid(), number)


def hang():
    time.sleep(60)


@pytest.fixture(autouse=True)
def nothing_stays():
    before = set(multiprocessing.active_children())
    yield
    disarm()
    end = time.monotonic() + 5
    while (left := set(multiprocessing.active_children()) - before) and time.monotonic() < end:
        time.sleep(0.01)
    assert not left


def test_row_19_a_killed_loader_process_is_named_with_the_image_it_was_at():
    started = time.monotonic()
    with pytest.raises(LoaderDied) as caught:
        list(stream(Photos({77: die})))
    assert time.monotonic() - started < 10
    said = str(caught.value)
    assert "of 2 (pid " in said
    assert "was killed by SIGKILL, most likely because memory ran out; it was at /photos/77.jpg" in said
    assert "start fewer with --workers, or make the images smaller" in said
    assert "\n" not in said
    assert caught.value.__context__ is None


def test_row_19_a_crash_in_the_views_names_the_image_too():
    with pytest.raises(LoaderDied, match=r"killed by SIGABRT; it was at /photos/77\.jpg; look at that image"):
        list(stream(Photos(), Plain({77: lambda: die(signal.SIGABRT)})))


def test_row_19_full_shared_memory_has_its_own_cure():
    with pytest.raises(LoaderDied, match=r"SIGBUS, most likely because shared memory ran out.*--shm-size"):
        list(stream(Photos({3: lambda: die(signal.SIGBUS)})))


def test_row_19_an_ended_process_is_no_kill():
    with pytest.raises(LoaderDied, match=r"ended with exit code 3; it was at /photos/5\.jpg"):
        list(stream(Photos({5: lambda: os._exit(3)})))


def test_row_19_a_death_is_told_between_steps_only(monkeypatch):
    others = multiprocessing.active_children()
    batches = stream(Photos(count=1024), steps=16)
    next(batches)
    workers = [child for child in multiprocessing.active_children() if child not in others]
    workers[0].kill()
    for _ in range(100):  # torch's own handler would raise here, in the middle of somebody's update
        time.sleep(0.01)
    with pytest.raises(LoaderDied, match="killed by SIGKILL.*it was between two images|at /photos/"):
        list(batches)


def test_row_19_a_death_beside_the_main_thread_is_noticed_too(monkeypatch):
    monkeypatch.setattr("sslkit.engine.loader._POLL_SECONDS", 0.2)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool, pytest.raises(LoaderDied, match=r"SIGKILL.*/photos/77\.jpg"):
        pool.submit(list, stream(Photos({77: die}))).result(timeout=30)


def test_row_19_torchs_handler_is_back_afterwards():
    former = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(LoaderDied):
        list(stream(Photos({77: die})))
    list(stream(Photos(), steps=1))
    handler = signal.getsignal(signal.SIGCHLD)
    assert "hear" not in getattr(handler, "__name__", "")
    signal.signal(signal.SIGCHLD, former)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_row_19_the_fault_point_kills_a_loader_process(method):
    arm("loader.read:kill@77")
    context = multiprocessing.get_start_method()
    multiprocessing.set_start_method(method, force=True)
    try:
        with pytest.raises(LoaderDied, match=r"SIGKILL.*/photos/77\.jpg"):
            list(stream(Photos(), workers=1, steps=4))
    finally:
        multiprocessing.set_start_method(context, force=True)


def test_row_19_20_evaluations_are_watched_alike(monkeypatch):
    class Data:
        def __init__(self, does):
            self.split = lambda name: Photos(does, count=300)

    model = FrozenModel(torch.nn.Flatten(), input_size=4, workers=2)
    with pytest.raises(LoaderDied, match=r"SIGKILL.*at /photos/77\.jpg"):
        model.features(Data({77: die}), "test")
    monkeypatch.setattr(loader, "TIMEOUT_SECONDS", 1.0)
    with pytest.raises(LoaderDied, match=r"no images for 1 s: loader process \d is at /photos/77\.jpg"):
        model.features(Data({77: hang}), "test")


def test_row_19_a_checkpoint_is_saved_first_and_the_run_goes_on_bit_for_bit(recipe_file, tmp_path):
    for number in range(70):
        path = tmp_path / "photos" / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    recipe = recipe_file()
    text = recipe.read_text().partition("[[evaluate]]")[0]
    shapes = text[text.index("[pretrain.data]") : text.index("[pretrain.views]")]
    folder = f"[pretrain.data]\nname = 'builtin.image_folder'\nfolder = '{path.parent}'\n"
    recipe.write_text(text.replace(shapes, folder))
    order = Order(0, 70, 16)
    first_epoch = {index for step in range(4) for index in order.indices(step).tolist()}
    index = next(index for step in (7, 6, 5) for index in order.indices(step).tolist() if index not in first_epoch)
    arm(f"loader.read:kill@{index}")
    with pytest.raises(LoaderDied, match=rf"SIGKILL.*/photos/{index:02d}\.png"):
        run(recipe, into=tmp_path / "run", workers=1, overrides=["pretrain.checkpoint_every_epochs=2"])
    (saved,) = (tmp_path / "run" / "checkpoints").glob("step-*")
    assert 0 < int(saved.name.removeprefix("step-")) < 8
    disarm()
    parts, whole = (run(recipe, into=tmp_path / name, workers=1).folder for name in ("run", "whole"))
    files = [load_file(folder / "backbone.safetensors") for folder in (parts, whole)]
    assert all(torch.equal(files[0][name], files[1][name]) for name in files[1])


def test_row_19_without_loader_processes_nothing_changes():
    arm("loader.read:kill")
    assert len(list(stream(Photos(), workers=0))) == 4


def test_row_20_a_hanging_loader_process_is_named_with_its_image():
    started = time.monotonic()
    with pytest.raises(LoaderDied) as caught:
        list(stream(Photos({77: hang}), timeout=1.0))
    assert 1 <= time.monotonic() - started < 8
    said = str(caught.value)
    assert said.startswith("no images for 1 s: loader process ")
    assert "is at /photos/77.jpg; see whether the disk or network mount answers there" in said
    assert said.count("loader process") == 1  # the idle one is not under suspicion


def test_row_20_ranks_name_the_image_before_the_watch_on_their_steps_ends_them(monkeypatch):
    assert loader.patience() == 300
    monkeypatch.setattr(loader, "world_size", lambda: 2)
    assert loader.patience() < STEP_SECONDS


def test_row_20_all_that_hang_are_named():
    both = dict.fromkeys(range(0, 256, 8), hang)
    with pytest.raises(LoaderDied, match=r"process 0 is at /photos/\d+\.jpg; loader process 1 is at /photos/\d+\.jpg;"):
        list(stream(Photos(both), timeout=0.5))


def test_row_20_slow_images_are_waited_for():
    slow = dict.fromkeys(range(0, 256, 64), lambda: time.sleep(0.5))
    assert len(list(stream(Photos(slow), timeout=5.0))) == 4


def test_row_20_a_process_that_hangs_unnoticed_does_not_outlive_the_stream(monkeypatch, tmp_path):
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.5)  # how long torch waits for each

    def hang_here():
        (tmp_path / "hangs").touch()
        hang()

    second = Order(0, 256, 64).indices(1)
    others = multiprocessing.active_children()
    batches = stream(Photos({second[0]: hang_here}))
    next(batches)
    while not (tmp_path / "hangs").exists():
        time.sleep(0.01)
    workers = [child for child in multiprocessing.active_children() if child not in others]
    batches.close()
    for worker in workers:
        worker.join(5)
        assert not worker.is_alive()


ORPHANS = """
import multiprocessing, sys, time
sys.path.insert(0, {folder!r})
from test_rows_19_20 import Order, Photos, stream
hang = lambda: time.sleep(60)
batches = stream(Photos({{Order(0, 4096, 64).indices(1)[0]: hang}}, count=4096), steps=64)
next(batches)
print([child.pid for child in multiprocessing.active_children()], flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="looks for processes there")
def test_row_19_killing_the_main_process_leaves_no_loader_process_not_even_one_that_hangs(tmp_path):
    script = ORPHANS.format(folder=str(Path(__file__).parent))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        workers = json.loads(process.stdout.readline())
        assert len(workers) == 2
        process.kill()
    end = time.monotonic() + 15
    while any(alive(worker) for worker in workers) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(alive(worker) for worker in workers)


def alive(pid):
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
