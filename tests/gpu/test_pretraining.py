"""Pretraining on a CUDA device: it learns, never waits, is repeated to the bit, and goes on as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
from functools import partial

import numpy as np
import pytest
import torch
import worlds
from PIL import Image
from safetensors.torch import load_file
from sslkit_simclr import MLP, NTXent, TwoCrops

from sslkit import ImageFolder, JointEmbedding, NonFiniteError, Progress, Shapes, hookimpl, run, sgd, timm_backbone
from sslkit.engine.assemble import assemble
from sslkit.engine.pretrain import train
from sslkit.engine.stops import Stopped
from sslkit.registry.hookspecs import callback_manager

pytestmark = pytest.mark.gpu

PROGRESS = Progress(3, 100, 50, measured=False)


@pytest.fixture(autouse=True)
def undeterministic():
    """Let a deterministic run not decide over other tests."""
    yield
    torch.use_deterministic_algorithms(False)


def weights(folder):
    return load_file(folder / "backbone.safetensors") | load_file(folder / "head.safetensors")


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class StopAt:
    def __init__(self, step):
        self.step = step

    @hookimpl
    def sslkit_step_end(self, state):
        if state.step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


class Clockless:
    """Keeps every metric of every step."""

    def __init__(self):
        self.records = []

    @hookimpl
    def sslkit_metrics(self, record):
        self.records.append(dict(record))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_quickstart_learns(tmp_path, precision):
    overrides = ["pretrain.epochs=16", f"pretrain.precision='{precision}'"]
    info = run(worlds.QUICKSTART, overrides=overrides, into=tmp_path / "run", device="cuda")
    summary = json.loads((info.folder / "summary.json").read_text())
    assert summary["status"] == "finished"
    scores = {(row["evaluation"], row["features"], row["weights"]): row["value"] for row in summary["results"]}
    for evaluation in ("builtin.linear", "builtin.knn"):
        assert scores[evaluation, "h", "pretrained"] > scores[evaluation, "h", "random"] + 0.1
    told = records(info.folder)
    steps = [record["step"] for record in told]
    assert steps == list(range(1, len(told) + 1))
    losses = [record["loss"] for record in told]
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.5
    assert all(np.isfinite([record["loss"], record["gradient_norm"], record["weight_norm"]]).all() for record in told)
    environment = json.loads((info.folder / "environment.json").read_text())
    assert (environment["device"], environment["device_name"]) == ("cuda", torch.cuda.get_device_name())
    assert (info.folder / "report.html").stat().st_size > 1000


def test_the_first_step_is_that_of_the_cpu_to_three_digits():
    found = []
    for device in ("cpu", "cuda"):
        pretraining = pretraining_of("test_resnet", device=device, batch_size=64)
        with precise():
            _, metrics = pretraining.stepper.step(next(pretraining.batches.stream(0, 1)), PROGRESS)
        found.append([float(metrics[name]) for name in ("loss", "gradient_norm", "weight_norm")])
    assert found[1] == pytest.approx(found[0], rel=1e-3)


class precise:
    """Convolutions in float32, where torch's default is TF32."""

    def __enter__(self):
        self.before = torch.backends.cudnn.conv.fp32_precision
        torch.backends.cudnn.conv.fp32_precision = "ieee"

    def __exit__(self, *_):
        torch.backends.cudnn.conv.fp32_precision = self.before


def pretraining_of(
    model, *, batch_size=64, micro_batch_size=None, precision="float32", device="cuda", data=None, image_size=32,
    workers=0, callbacks=(), crop_on="device", num_images=256,
):  # fmt: skip
    torch.manual_seed(0)
    backbone = timm_backbone(model=model)
    pretraining = assemble(
        JointEmbedding(backbone, MLP(backbone.feature_dim), NTXent(temperature=0.2)),
        data or Shapes(image_size=image_size, num_train=num_images, num_validation=10, num_test=10),
        TwoCrops(image_size=image_size, blur_probability=0.5, crop_on=crop_on), partial(sgd, momentum=0.9),
        epochs=2, batch_size=batch_size, learning_rate=0.05, micro_batch_size=micro_batch_size, precision=precision,
        device=device, workers=workers, callbacks=callbacks,
    )  # fmt: skip
    pretraining.method.train()
    return pretraining


CASES = {
    "as shipped": (),
    "blur": ("pretrain.views.blur_probability=0.5",),
    "cached gradients": ("pretrain.micro_batch_size=32",),
    "bf16": ('pretrain.precision="bf16"',),
    "LARS": ('pretrain.optimizer={name="simclr.lars", learning_rate=0.1}',),
    "ResNet-18": ('pretrain.backbone={name="simclr.resnet", model="resnet18", stem="cifar"}',),
    "ResNet-50 with max-pool": ('pretrain.backbone={name="simclr.resnet", model="resnet50"}',),
    "labels as positives": ('pretrain.objective={name="simclr.nt_xent", positives="labels"}',),
    "supervised": (
        'pretrain.head={name="builtin.classifier"}', 'pretrain.objective={name="builtin.cross_entropy"}',
        'pretrain.views={name="builtin.crop_flip", image_size=32, crop_on="device"}',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_stopped_and_continued_is_the_same_to_the_bit_as_never_stopped(tmp_path, case, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    overrides = [*worlds.SHORT, "pretrain.epochs=2", "evaluate=[]", *CASES[case]]
    do = partial(run, worlds.QUICKSTART, overrides=overrides, device="cuda", deterministic=True)
    whole = do(into=tmp_path / "whole").folder
    with pytest.raises(Stopped):
        do(into=tmp_path / "parts", watchers=[StopAt(3)])
    parts = do(into=tmp_path / "parts").folder
    assert same(weights(whole), weights(parts))
    assert [r["loss"] for r in records(whole)] == [r["loss"] for r in records(parts)]
    assert len(records(whole)) == 8


@pytest.mark.parametrize("micro_batch_size", [64, 16])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_no_step_waits_for_the_device(precision, micro_batch_size):
    pretraining = pretraining_of("resnet18", precision=precision, micro_batch_size=micro_batch_size)
    stream = pretraining.batches.stream(0, 6)
    losses = []
    for number in range(3):  # libraries set themselves up, pinned memory is found
        pretraining.stepper.step(next(stream), Progress(number, 8, 4))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(3, 6):  # the way from the table to the device, too
            _, metrics = pretraining.stepper.step(next(stream), Progress(number, 8, 4))
            losses.append(metrics["loss"])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(float(loss) > 0 for loss in losses)


def test_the_watch_for_waiting_sees_one():
    total = torch.ones(2, device="cuda").sum()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError):
            total.item()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_cached_gradients_are_those_of_the_whole_batch(precision):
    found = []
    for micro_batch_size in (None, 16):
        pretraining = pretraining_of("test_vit", micro_batch_size=micro_batch_size, precision=precision)
        gradients = {}
        pretraining.method.after_backward = lambda _, to=gradients, of=pretraining.method: to.update(
            (name, p.grad.double()) for name, p in of.named_parameters()
        )
        with precise():
            _, metrics = pretraining.stepper.step(next(pretraining.batches.stream(0, 1)), PROGRESS)
        found.append((float(metrics["loss"]), torch.cat([part.flatten() for part in gradients.values()])))
    (loss, gradient), (cut_loss, cut) = found
    tolerance = 1e-4 if precision == "float32" else 3e-2
    assert cut_loss == pytest.approx(loss, rel=tolerance)
    assert (cut - gradient).norm() < tolerance * gradient.norm()


def test_what_is_not_finite_stops_the_run_and_spoils_no_weight():
    kept = Clockless()
    pretraining = pretraining_of("test_resnet", callbacks=[kept])
    honest = pretraining.method.objective.forward
    calls = []

    def broken(projections, **wanted):
        calls.append(1)
        output = honest(projections, **wanted)
        return output._replace(loss=output.loss * float("nan")) if len(calls) == 3 else output

    pretraining.method.objective.forward = broken
    with pytest.raises(NonFiniteError, match="step 3: the loss is nan"):
        train(pretraining, callback_manager(pretraining.callbacks))
    assert [record["step"] for record in kept.records] == [1, 2]
    assert all(torch.isfinite(parameter).all() for parameter in pretraining.method.parameters())


def test_compiled_views_train_as_well(tmp_path):
    losses = []
    for name in ("eager", "compiled"):
        overrides = [*worlds.SHORT, "pretrain.epochs=2", "evaluate=[]"]
        is_compiled = name == "compiled"
        made = run(
            worlds.QUICKSTART, overrides=overrides, into=tmp_path / name, device="cuda", compile_views=is_compiled
        )
        losses.append([record["loss"] for record in records(made.folder)])
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)


@pytest.fixture
def photographs(tmp_path):
    """Forty files in two classes."""
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        place = tmp_path / "images" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((60, 48), Image.Resampling.BICUBIC).save(place / f"{number}.jpg")
    return tmp_path / "images"


def test_any_number_of_workers_brings_the_same_batches(photographs):
    known = None
    for workers in (0, 2):
        pretraining = pretraining_of(
            "test_resnet", data=ImageFolder(photographs), crop_on="worker", batch_size=20, workers=workers
        )
        batches = list(pretraining.batches.stream(0, 4))
        assert all(group.is_cuda for batch in batches for group in batch.groups)
        views = [pretraining.stepper.make_batch(batch, PROGRESS).views for batch in batches]
        found = [*(batch.indices for batch in batches), *(view for pair in views for view in pair)]
        known = known or found
        assert all(torch.equal(one, other) for one, other in zip(known, found, strict=True))


def test_batches_of_workers_arrive_without_waiting(photographs):
    pretraining = pretraining_of(
        "test_resnet", data=ImageFolder(photographs), crop_on="worker", batch_size=20, workers=1
    )
    stream = pretraining.batches.stream(0, 4)
    pretraining.stepper.step(next(stream), PROGRESS)
    pretraining.stepper.step(next(stream), PROGRESS)
    torch.cuda.set_sync_debug_mode("error")
    try:
        pretraining.stepper.step(next(stream), PROGRESS)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    stream.close()


def test_online_numbers_are_measured_and_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    overrides = [*worlds.SHORT, "pretrain.epochs=3", "evaluate=[]"]
    online = "pretrain.callbacks=[{name='builtin.online', every=5, check_every=5, images=64}]"
    do = partial(run, worlds.QUICKSTART, device="cuda", deterministic=True)
    plain = do(overrides=overrides, into=tmp_path / "plain").folder
    watched = do(overrides=[*overrides, online], into=tmp_path / "watched").folder
    assert same(weights(plain), weights(watched))
    measured = [record for record in records(watched) if "online_knn_top1" in record]
    assert len(measured) == 3
    assert all(0 <= record["online_linear_top1"] <= 1 for record in measured)
    assert all(record["online_rankme_z"] > 1 for record in measured)


TAUGHT = """
schema = 1
name = "taught"
[pretrain]
epochs = 2
batch_size = 16
precision = "bf16"
data = { name = "builtin.shapes", image_size = 16, num_train = 32, num_validation = 10, num_test = 20 }
views = { name = "builtin.crop_flip", image_size = 16, crop_on = "device" }
backbone = { name = "simclr.resnet", model = "resnet18", stem = "cifar" }
head = { name = "builtin.classifier" }
METHOD
[pretrain.optimizer]
name = "builtin.sgd"
learning_rate = 0.01
"""


def test_a_student_learns_from_a_teacher_on_the_device(tmp_path):
    def trained(name, method):
        path = tmp_path / f"{name}.toml"
        path.write_text(TAUGHT.replace("METHOD", method))
        return run(path, into=tmp_path / name, device="cuda").folder

    teacher = trained("teacher", 'objective = { name = "builtin.cross_entropy" }')
    student = trained("student", f"method = {{ name = 'simclr.distillation', teacher = '{teacher}' }}")
    assert [record["step"] for record in records(student)] == [1, 2, 3, 4]
    assert all(0 <= record["teacher_agreement"] <= 1 for record in records(student))
