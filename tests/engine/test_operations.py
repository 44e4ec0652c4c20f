from __future__ import annotations

import pytest
import torch
from torch import nn

from sslkit import JointEmbedding
from sslkit.engine.operations import of_backbone, of_step

SHAPE = (3, 10, 12)
FIRST = 2 * 8 * 3 * 9 * 120  # a multiplication and an addition for each weight at each place
SECOND = 2 * 5 * 8 * 120


class Two(nn.Module):
    feature_dim = 5

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 5, 1)

    def forward(self, images):
        return self.second(self.norm(self.first(images)).relu()).mean(dim=(2, 3))


def pairs(projections):
    first, second = projections
    return (first @ second.T).square().mean()


def reads_a_number(projections):
    return pairs(projections) * (1 if projections[0].sum().item() > 0 else 2)


def test_a_backbone_is_counted_forward_and_backward():
    # Backward, the first layer has no gradient of its images to compute, only that of its weights.
    assert of_backbone(Two(), SHAPE) == (2 * FIRST + 3 * SECOND, FIRST + SECOND)


def test_counting_leaves_the_backbone_as_it_is():
    backbone = Two().eval().requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    of_backbone(backbone, SHAPE)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())
    assert not backbone.training
    assert "forward" not in vars(backbone.norm)


def test_a_step_has_all_views_the_head_and_the_objective():
    with torch.device("meta"):
        method = JointEmbedding(Two(), nn.Linear(5, 4), pairs)
    backbone = 2 * (2 * FIRST + 3 * SECOND)
    head = 2 * 3 * 2 * 5 * 4
    objective = 3 * 2 * 16 * 4  # an image's share of [16, 4] @ [4, 16] and of its two gradients
    assert of_step(method, [SHAPE, SHAPE], 16) == (backbone + head + objective, 2 * (FIRST + SECOND))


def test_an_objective_that_needs_numbers_is_left_out():
    with torch.device("meta"):
        method = JointEmbedding(Two(), nn.Linear(5, 4), reads_a_number)
    assert of_step(method, [SHAPE, SHAPE], 16).trained == 2 * (2 * FIRST + 3 * SECOND) + 2 * 3 * 2 * 5 * 4


def test_views_of_several_sizes_are_counted_at_theirs():
    with torch.device("meta"):
        method = JointEmbedding(Two(), None, lambda features: sum(part.square().mean() for part in features))
    half = (3, 5, 12)
    assert of_step(method, [SHAPE, half], 4).embedded == (FIRST + SECOND) * 1.5


def test_a_backbone_that_reads_a_number_is_counted_with_numbers():
    class Reading(Two):
        def forward(self, images):
            return super().forward(images * (1 if images.sum().item() > 0 else 2))

    assert of_backbone(Reading(), SHAPE) == of_backbone(Two(), SHAPE)


def test_a_resnet_50_takes_what_is_known_of_it():
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        backbone = timm.create_model("resnet50", num_classes=0)
    # 4.09 thousand million multiplications with additions, as its authors and torchvision count them.
    assert of_backbone(backbone, (3, 224, 224)).embedded == pytest.approx(2 * 4.09e9, rel=0.005)
