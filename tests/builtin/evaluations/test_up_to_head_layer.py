"""A backbone with the first layers of a head: what comes out, what of the head learns, and fine-tuning of both."""

import copy

import pytest
import torch
from torch import nn

from sslkit import FrozenModel, RunError, Shapes, fine_tune
from sslkit.builtin.evaluations import fine_tune as module
from sslkit.builtin.evaluations.partly_frozen import PartlyFrozen
from sslkit.builtin.evaluations.up_to_head_layer import UpToHeadLayer

SHAPES = {"image_size": 16, "num_train": 80, "num_validation": 20, "num_test": 31}


def three_layers():
    """A head of three layers: the ReLUs write over what the layers before them returned."""
    torch.manual_seed(3)
    first = nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=True)
    return nn.Sequential(*first, nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 4))


@pytest.mark.parametrize(("layer", "width"), [("0", 6), ("1", 6), ("2", 6), ("3", 5), ("5", 4)])
def test_features_are_those_of_the_layers_up_to_there(tiny_network, layer, width):
    head = three_layers()
    network = UpToHeadLayer(tiny_network(), head, layer).eval()
    images = torch.rand(4, 3, 16, 16)
    expected = tiny_network().eval()(images)
    for one in list(head)[: int(layer) + 1]:
        expected = one(expected).clone()
    assert network.feature_dim == width
    assert torch.equal(network(images), expected)
    assert not head[int(layer)]._forward_hooks


def test_the_head_learns_up_to_the_layer_only(tiny_network):
    network = UpToHeadLayer(tiny_network(), three_layers(), "2")
    before = copy.deepcopy(network.head.state_dict())
    assert all(torch.equal(tensor, three_layers().state_dict()[name]) for name, tensor in before.items())
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network.train()
    network(torch.rand(8, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
    optimizer.step()
    changed = {name for name, tensor in network.head.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean"} <= changed
    assert not any(name.startswith(("3", "5")) for name in changed)


def test_frozen_blocks_and_exemptions_of_the_backbone_stay(tiny_network):
    backbone = tiny_network()
    backbone.no_weight_decay = lambda: {"stem.0.weight"}
    network = UpToHeadLayer(PartlyFrozen(backbone, "last"), three_layers(), "2").train()
    assert network.no_weight_decay() == {"backbone.backbone.stem.0.weight"}
    assert not backbone.stem.training
    assert backbone.last.training
    assert network.head.training


def test_fine_tuning_goes_on_from_a_layer_of_the_head(tiny_network, monkeypatch):
    seen = []

    def noting(title, backbone, *rest, **options):
        seen.append(original(title, backbone, *rest, **options))
        return seen[-1]

    original = module.train_classifier
    monkeypatch.setattr(module, "train_classifier", noting)
    data = Shapes(**SHAPES)
    model = FrozenModel(tiny_network(), three_layers(), input_size=16, workers=0)
    before = model.digest()
    outcome = fine_tune(epochs=2, batch_size=32)(model.measuring("head.2"), data)
    assert model.digest() == before
    assert not any(p.requires_grad for p in model.parameters())
    trained = seen[0].backbone
    assert isinstance(trained, UpToHeadLayer)
    assert not torch.equal(trained.head[0].weight, model.head[0].weight)
    assert torch.equal(trained.head[3].weight, model.head[3].weight)
    assert seen[0].head.layer.in_features == 6
    logits = seen[0].head(seen[0](data.table("test").float() / 255))
    assert outcome.predictions["predicted"].tolist() == logits.argmax(dim=1).tolist()


def test_a_layer_of_the_backbone_called_head_is_none_of_the_head(tiny_network):
    backbone = tiny_network()
    backbone.head = nn.Sequential(nn.Identity())
    with pytest.raises(RunError, match=r'not "head\.0"; set features'):
        fine_tune().check(backbone, "head.0", Shapes(**SHAPES))
    fine_tune().check(backbone, "head.2", Shapes(**SHAPES))
