"""The method: its loss and centre against the paper's words, what follows what, and how it collapses without."""

from __future__ import annotations

import math

import pytest
import torch
from sslkit_dino import PrototypeHead, SelfDistillation
from torch import nn

from sslkit import Batch, Progress


class Backbone(nn.Module):
    feature_dim = 6

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 6)

    def forward(self, images):
        return torch.tanh(self.layer(images.mean(dim=(2, 3))))


def method(unit_prototypes=True, **options):
    torch.manual_seed(0)
    head = PrototypeHead(6, hidden_dim=8, bottleneck_dim=4, out_dim=5, unit_prototypes=unit_prototypes)
    made = SelfDistillation(Backbone(), head, **{"teacher_warmup_epochs": 0, "clip_gradient": 0, **options})
    with torch.no_grad():  # weights of 0.02 would make all logits alike
        for parameter in (*made.student.parameters(), *made.teacher.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
    return made


def batch(num=4, sizes=(8, 8, 4), step=0, total=100):
    generator = torch.Generator().manual_seed(1)
    views = [torch.rand(num, 3, size, size, generator=generator) for size in sizes]
    return Batch(views, torch.arange(num), torch.full((num,), -1), Progress(step, total, 10.0))


def softmax(logits, temperature):
    shares = [math.exp(value / temperature) for value in logits]
    return [share / sum(shares) for share in shares]


def test_the_loss_is_the_cross_entropy_of_every_large_crop_with_every_other_crop():
    made, given = method(student_temperature=0.2, teacher_temperature=0.5), batch()
    with torch.no_grad():
        for parameter in made.teacher.parameters():
            parameter.mul_(0.7)  # another network than the student's
        made.centre.copy_(torch.tensor([0.3, -0.2, 0.1, 0.0, 0.4]))
        said = [made.student["head"](made.student["backbone"](view)).double().tolist() for view in given.views]
        taught = [made.head(made.backbone(view)).double().tolist() for view in given.views[:2]]
    centre, terms = made.centre.double().tolist(), []
    for large in range(2):
        for other in range(3):
            if large == other:
                continue
            for image in range(4):
                logits = [value - middle for value, middle in zip(taught[large][image], centre, strict=True)]
                target, guess = softmax(logits, 0.5), softmax(said[other][image], 0.2)
                terms.append(-sum(share * math.log(g) for share, g in zip(target, guess, strict=True)))
    assert float(made.loss(made.embed(given), given).loss.detach()) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_the_centre_follows_the_teachers_mean_logits():
    made, given = method(centre_momentum=0.9), batch()
    with torch.no_grad():
        mean = torch.cat([made.head(made.backbone(view)) for view in given.views[:2]]).mean(dim=0)
    made.loss(made.embed(given), given)
    assert not made.centre.any()
    made.after_step(given.progress)
    torch.testing.assert_close(made.centre, 0.1 * mean)


def test_nothing_flows_back_into_the_teacher():
    made, given = method(), batch()
    made.loss(made.embed(given), given).loss.backward()
    assert all(parameter.grad is None for parameter in made.teacher.parameters())
    assert all(parameter.grad is not None for parameter in made.student.parameters())


def test_the_teacher_follows_and_is_what_is_kept():
    made = method(momentum=0.8)
    before = [parameter.clone() for parameter in made.teacher.parameters()]
    with torch.no_grad():
        for parameter in made.student.parameters():
            parameter.add_(1)
    made.after_step(Progress(0, 100, 10.0))
    for old, now, student in zip(before, made.teacher.parameters(), made.student.parameters(), strict=True):
        torch.testing.assert_close(now, 0.8 * old + 0.2 * student)
    assert made.backbone is made.teacher.module["backbone"]


def test_momentum_rises_to_one_along_half_a_cosine():
    made = method(momentum=0.9)
    told = [made.teacher_momentum(Progress(step, 100, 10.0)) for step in (0, 50, 100)]
    assert told == pytest.approx([0.9, 0.95, 1.0])


def test_the_temperature_rises_along_a_line():
    made = method(initial_teacher_temperature=0.04, teacher_temperature=0.08, teacher_warmup_epochs=5)
    told = [made.teacher_temperature(Progress(10 * epoch + 9, 100, 10.0)) for epoch in (0, 2, 4, 9)]
    assert told == pytest.approx([0.04, 0.06, 0.08, 0.08])
    made = method(initial_teacher_temperature=0.04, teacher_temperature=0.08, teacher_warmup_epochs=1)
    assert [made.teacher_temperature(Progress(step, 100, 10.0)) for step in (9, 10)] == [0.04, 0.08]


@pytest.mark.parametrize("unit_prototypes", [True, False])
def test_prototypes_do_not_train_at_first_nor_do_their_lengths(unit_prototypes):
    made, given = method(frozen_epochs=1, unit_prototypes=unit_prototypes), batch()
    head = made.student["head"]
    last_layer = [head.prototypes] if unit_prototypes else [head.prototypes, head.lengths]
    made.loss(made.embed(given), given).loss.backward()
    made.after_backward(Progress(9, 100, 10.0))
    assert all(parameter.grad is None for parameter in last_layer)
    assert all(parameter.grad is not None for parameter in head.layers.parameters())
    made.zero_grad()
    made.loss(made.embed(given), given).loss.backward()
    made.after_backward(Progress(10, 100, 10.0))
    assert all(parameter.grad is not None for parameter in last_layer)


def test_the_gradient_of_each_parameter_is_clipped():
    made, given = method(clip_gradient=0.01, frozen_epochs=0), batch()
    made.loss(made.embed(given), given).loss.backward()
    before = {name: parameter.grad.clone() for name, parameter in made.student.named_parameters()}
    made.after_backward(given.progress)
    for name, parameter in made.student.named_parameters():
        factor = min(1.0, 0.01 / float(before[name].norm()))
        torch.testing.assert_close(parameter.grad, before[name] * factor, rtol=1e-3, atol=1e-8)
    assert any(float(gradient.norm()) > 0.01 for gradient in before.values())


def share_of_the_commonest(centring, teacher_temperature=0.04):
    """Train a while, and return how large a share of images has the same first prototype, and the teacher's entropy."""
    made = method(centring=centring, momentum=0.9, teacher_temperature=teacher_temperature, frozen_epochs=0)
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(64, 3, 1, 1, generator=generator)
    optimizer = torch.optim.Adam(made.student.parameters(), lr=0.02)
    for step in range(150):
        views = [(images + 0.05 * torch.randn(64, 3, 2, 2, generator=generator)).clamp(0, 1) for _ in range(3)]
        given = Batch(views, torch.arange(64), torch.full((64,), -1), Progress(step, 150, 10.0))
        output = made.loss(made.embed(given), given)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        made.after_step(given.progress)
    with torch.no_grad():
        chosen = (made.head(made.backbone(images.expand(-1, -1, 2, 2))) - made.centre).argmax(dim=1)
    return float(chosen.bincount().max()) / 64, float(output.metrics["teacher_entropy"])


def test_without_centre_one_prototype_stands_for_all_images():
    """Figure 7 of the paper: without centring the entropy goes to 0."""
    with_centre, _ = share_of_the_commonest(True)
    without, entropy = share_of_the_commonest(False)
    assert with_centre < 0.9
    assert without == 1.0
    assert entropy < 0.01


def test_without_sharpening_all_prototypes_are_equally_likely():
    """Figure 7 of the paper: without sharpening the entropy goes to that of the uniform distribution."""
    _, entropy = share_of_the_commonest(True, teacher_temperature=1.0)
    assert entropy > 0.97 * math.log(5)


def test_other_heads_are_refused():
    with pytest.raises(TypeError, match='needs the head "dino.prototype_head", not Linear'):
        SelfDistillation(Backbone(), nn.Linear(6, 5))
