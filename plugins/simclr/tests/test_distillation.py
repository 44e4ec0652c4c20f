"""A student and its teacher: the loss as it is written down, a teacher that stays as it is, and runs as teachers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sslkit_simclr import Distillation
from sslkit_simclr.distillation import soft_cross_entropy
from torch import nn

from sslkit import Batch, Classifier, Progress, RunError, run

RECIPE = """
schema = 1
name = "teacher"
[pretrain]
epochs = 1
batch_size = 16
data = { name = "builtin.shapes", image_size = 16, num_train = 32, num_validation = 10, num_test = 20 }
views = { name = "builtin.crop_flip", image_size = 16, crop_on = "device" }
backbone = { name = "simclr.resnet", model = "test_resnet", stem = "cifar" }
head = { name = "HEAD" }
METHOD
[pretrain.optimizer]
name = "builtin.sgd"
learning_rate = 0.1
"""
TAUGHT_BY_LABELS = '[pretrain.objective]\nname = "builtin.cross_entropy"'


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The folder of a run with a classifier."""
    folder = tmp_path_factory.mktemp("runs")
    return trained(folder, "builtin.classifier", TAUGHT_BY_LABELS, into="teacher").folder


def trained(folder, head, method, into):
    path = folder / f"{into}.toml"
    path.write_text(RECIPE.replace("HEAD", head).replace("METHOD", method))
    return run(path, into=folder / into, device="cpu", workers=0)


class Small(nn.Module):
    feature_dim = 6

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU())

    def forward(self, images):
        return self.layers(images).mean(dim=(2, 3))


def batch_of(*views):
    labels = torch.full((len(views[0]),), -1)  # nobody asks for them
    return Batch(list(views), torch.arange(len(labels)), labels, Progress(0, 1, 1.0))


@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
def test_the_loss_is_the_equation(temperature):
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    student.requires_grad_(True)
    loss = soft_cross_entropy(student, teacher, temperature)
    total, gradient = 0.0, np.zeros((5, 4))
    for n, (s, t) in enumerate(zip(student.tolist(), teacher.tolist(), strict=True)):
        p_student, p_teacher = (
            [math.exp(v / temperature) / sum(math.exp(w / temperature) for w in row) for v in row] for row in (s, t)
        )
        total -= sum(p * math.log(q) for p, q in zip(p_teacher, p_student, strict=True)) / 5
        gradient[n] = (np.array(p_student) - np.array(p_teacher)) / temperature / 5
    assert loss.item() == pytest.approx(total, rel=1e-9)
    loss.backward()
    np.testing.assert_allclose(student.grad, gradient, atol=1e-12)


def test_a_student_learns_what_its_teacher_says_and_the_teacher_learns_nothing(teacher):
    torch.manual_seed(0)
    method = Distillation(Small(), Classifier(6, 10), teacher=str(teacher))
    method.train()
    taught = method._teacher._network
    before = {name: tensor.clone() for name, tensor in taught.state_dict().items()}
    assert not any("teacher" in name for name in method.state_dict())
    assert {id(p) for p in method.parameters()}.isdisjoint(id(p) for p in taught.parameters())
    images = torch.rand(32, 3, 16, 16)
    own = [float(method(batch_of(images[:16], images[16:])).loss)]
    optimizer = torch.optim.Adam(method.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        found = method(batch_of(images[:16], images[16:]))
        found.loss.backward()
        optimizer.step()
    own.append(float(found.loss))
    entropy = soft_cross_entropy(taught(images), taught(images), 1.0)
    assert own[0] > own[1] >= float(entropy) - 1e-4
    assert float(found.metrics["teacher_agreement"]) > 0.8
    assert all(torch.equal(tensor, before[name]) for name, tensor in taught.state_dict().items())
    assert not any(module.training for module in taught.modules())


def test_several_views_are_so_many_images(teacher):
    torch.manual_seed(0)
    method = Distillation(Small(), Classifier(6, 10), teacher=str(teacher)).eval()
    images = torch.rand(8, 3, 16, 16)
    joined, parted = method(batch_of(images)), method(batch_of(images[:4], images[4:]))
    torch.testing.assert_close(joined.loss, parted.loss)


def test_a_recipe_distils_without_labels(teacher, tmp_path):
    method = f'[pretrain.method]\nname = "simclr.distillation"\nteacher = "{teacher}"\ntemperature = 0.1'
    info = trained(tmp_path, "builtin.classifier", method, into="student")
    lines = (info.folder / "metrics.jsonl").read_text()
    assert lines.count("teacher_agreement") == 2
    assert not list(info.folder.rglob("*teacher*"))


def test_unfit_teachers_are_refused(teacher, tmp_path):
    with pytest.raises(RunError, match="tells 10 classes apart, the student's head 3"):
        Distillation(Small(), Classifier(6, 3), teacher=str(teacher))
    with pytest.raises(RunError, match="there are no such weights"):
        Distillation(Small(), Classifier(6, 3), teacher=str(tmp_path))
    (tmp_path / "headless").mkdir()
    for name in ("backbone.safetensors", "backbone.json"):
        (tmp_path / "headless" / name).write_bytes((teacher / name).read_bytes())
    with pytest.raises(RunError, match="has no head; name the folder of a run with a classifier"):
        Distillation(Small(), Classifier(6, 10), teacher=str(tmp_path / "headless"))


def test_a_student_built_without_storage_has_a_teacher_all_the_same(teacher):
    with torch.device("meta"):
        method = Distillation(Small(), Classifier(6, 10), teacher=str(teacher))
    assert next(method.parameters()).is_meta
    assert method._teacher(torch.rand(2, 3, 16, 16)).shape == (2, 10)
