"""What a partly frozen network learns, and how fast statistics follow."""

import pytest
import torch
from torch import nn

from sslkit import RunError
from sslkit.builtin.evaluations.partly_frozen import PartlyFrozen, set_batch_norm_decay


def one_step(network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network.train()
    network(torch.rand(8, 3, 16, 16)).square().sum().backward()
    optimizer.step()
    return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}


def names_of(network, *prefixes):
    return {
        name for name in network.state_dict() if name.startswith(tuple(f"backbone.{prefix}" for prefix in prefixes))
    }


@pytest.mark.parametrize(
    ("from_block", "changing"),
    [
        (None, ["stem", "last"]),
        ("stem", ["stem", "last"]),
        ("last", ["last"]),
        ("stem.1", ["stem.1", "last"]),
        ("last.1", ["last.1"]),
    ],
)
def test_what_comes_before_the_block_neither_learns_nor_counts(tiny_network, from_block, changing):
    network = PartlyFrozen(tiny_network(), from_block)
    assert network.feature_dim == 8
    assert one_step(network) == names_of(network, *changing)
    network.eval()
    assert not any(module.training for module in network.modules())


def test_parameters_around_the_block_come_before_it():
    class Around(nn.Module):
        feature_dim = 2

        def __init__(self):
            super().__init__()
            self.position = nn.Parameter(torch.ones(2))
            self.blocks = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))

        def no_weight_decay(self):
            return {"position"}

    network = PartlyFrozen(Around(), "blocks.1")
    assert [name for name, p in network.named_parameters() if p.requires_grad] == [
        "backbone.blocks.1.weight",
        "backbone.blocks.1.bias",
    ]
    assert network.no_weight_decay() == {"backbone.position"}


@pytest.mark.parametrize("name", ["layer", "lasst", ""])
def test_a_block_that_is_not_there_is_refused(tiny_network, name):
    hint = r'; did you mean "last"\?' if name == "lasst" else ""
    with pytest.raises(RunError, match=f'from_block = "{name}": the backbone has no such layer{hint}'):
        PartlyFrozen(tiny_network(), name)


@pytest.mark.parametrize(("steps", "decay"), [(3, 0.9), (99.5, 0.9), (100, 0.9), (200, 0.95), (5000, 0.998)])
def test_statistics_keep_what_the_paper_says(tiny_network, steps, decay):
    network = tiny_network()
    set_batch_norm_decay(network, steps)
    before = network.stem[1].running_mean.clone()
    network.train()(images := torch.rand(8, 3, 16, 16))
    batch = network.stem[0](images).mean(dim=(0, 2, 3))
    torch.testing.assert_close(network.stem[1].running_mean, decay * before + (1 - decay) * batch)
