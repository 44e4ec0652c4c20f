"""The probe's network against torch's own layers and AdamW, and planted cases of what it may and may not find."""

import math

import pytest
import torch
from torch import nn

from sslkit import DataError, Features, MLPProbe, NonFiniteError
from sslkit.builtin.evaluations import mlp_probe
from sslkit.builtin.evaluations.mlp_probe import Probed, probe_outcome

CPU = torch.device("cpu")


def exclusive_or(count, seed=0):
    """Two features of which neither says anything alone, nor both to a linear classifier."""
    values = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
    return Features(values, (values[:, 0] * values[:, 1] > 0).long())


def literal_network(probe, networks, which, values, labels, kept, generator):
    """Train one of the networks with nn.Linear and AdamW, in float64, on the same batches."""
    width = probe.hidden_dim
    part = slice(which * width, (which + 1) * width)
    model = nn.Sequential(nn.Linear(values.shape[1], width), nn.ReLU(), nn.Linear(width, 3)).double()
    with torch.no_grad():
        model[0].weight.copy_(networks.inner[:, part].T)
        model[0].bias.copy_(networks.inner_bias[part])
        model[2].weight.copy_(networks.outer[which].T)
        model[2].bias.copy_(networks.outer_bias[which, 0])
    groups = [
        {"params": [model[0].weight, model[2].weight], "weight_decay": probe.weight_decays[which]},
        {"params": [model[0].bias, model[2].bias], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=probe.learning_rate)
    num_batches = math.ceil(len(kept) / probe.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, probe.epochs * num_batches)
    for _ in range(probe.epochs):
        order = kept[torch.randperm(len(kept), generator=generator)]
        for batch in order.tensor_split(num_batches):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(values[batch].double()), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    return model


def test_networks_side_by_side_are_torchs_own(make_blobs):
    values, labels = make_blobs(90, 3, 5, 1.5)
    kept = torch.arange(70)
    probe = MLPProbe(hidden_dim=8, epochs=3, batch_size=32, learning_rate=0.01, weight_decays=(0.0, 3.0))
    # With the training images as the held-out ones too, the last epoch is the best and is what comes back.
    found, _, epoch = probe._train(values, labels, kept, kept, 3, torch.Generator().manual_seed(1))
    assert epoch == 3
    for which in (0, 1):
        generator = torch.Generator().manual_seed(1)
        model = literal_network(probe, probe._fresh(values, 3, generator), which, values, labels, kept, generator)
        torch.testing.assert_close(found(values)[which].double(), model(values.double()), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(*found(values), atol=1e-3)


def test_it_finds_what_no_linear_classifier_finds():
    probed = MLPProbe(hidden_dim=64, learning_rate=0.01)(exclusive_or(600), exclusive_or(101, 1), seed=0, device=CPU)
    accuracy = probe_outcome({"sign": probed}).metrics["sign"]
    assert accuracy > 0.93
    assert accuracy * 101 == pytest.approx(round(accuracy * 101))


def test_the_test_images_take_no_part_in_any_choice():
    train, test = exclusive_or(300), exclusive_or(100, 1)
    probe = MLPProbe(hidden_dim=16, epochs=5)
    found = probe(train, test, seed=0, device=CPU)
    other = probe(train, Features(test.values, 1 - test.labels), seed=0, device=CPU)
    assert torch.equal(found.predicted, other.predicted)
    assert (found.weight_decay, found.epoch) == (other.weight_decay, other.epoch)


@pytest.mark.parametrize("decays", [(0.0, 100.0), (100.0, 0.0)])
def test_a_decay_that_keeps_the_weights_at_nothing_is_not_chosen(decays):
    train, test = exclusive_or(400), exclusive_or(100, 1)
    probed = MLPProbe(hidden_dim=32, learning_rate=0.01, weight_decays=decays)(train, test, seed=0, device=CPU)
    assert probed.weight_decay == 0.0


def test_the_networks_of_the_best_epoch_come_back(make_blobs, monkeypatch):
    values, labels = make_blobs(60, 3, 5, 1.5)
    planted = iter([(0, (3, -1.0)), (1, (5, -2.0)), (0, (5, -3.0)), (0, (4, -0.1))])
    seen = []

    def scored(scores, _):
        seen.append(scores)
        return next(planted)

    monkeypatch.setattr(mlp_probe, "_best", scored)
    probe = MLPProbe(hidden_dim=4, epochs=4, weight_decays=(0.0, 1.0))
    kept = torch.arange(60)
    found, which, epoch = probe._train(values, labels, kept, kept, 3, torch.Generator().manual_seed(0))
    assert (which, epoch) == (1, 2)
    assert torch.equal(found(values), seen[1])


def test_chance_is_always_naming_what_training_shows_most(make_blobs):
    values, _ = make_blobs(100, 2, 4, 1.0)
    train = Features(values, torch.tensor([0] * 70 + [1] * 30))
    test = Features(values[:40], torch.tensor([0] * 10 + [1] * 25 + [2] * 5))
    probed = MLPProbe(hidden_dim=4, epochs=1)(train, test, seed=0, device=CPU)
    assert probed.chance == 0.25


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_a_dimension_does_not_matter(scale):
    train, test = exclusive_or(600), exclusive_or(200, 1)
    factors = torch.tensor([scale, 1.0])
    moved = [Features(part.values * factors + 7 * factors, part.labels) for part in (train, test)]
    probe = MLPProbe(hidden_dim=64, learning_rate=0.01)
    probed = probe(
        *[Features(part.values * scale + 7 * scale, part.labels) for part in (train, test)], seed=0, device=CPU
    )
    assert (probed.predicted == probed.label).double().mean() > 0.9
    # A dimension a million times smaller than the rest is rounding, and is not blown up.
    lost = probe(*moved, seed=0, device=CPU)
    assert (lost.predicted == lost.label).double().mean() < 0.7


def test_collapsed_features_are_named_by_chance():
    train, test = (Features(torch.full((count, 3), 0.1), torch.arange(count) % 5 // 4) for count in (200, 100))
    probed = MLPProbe(hidden_dim=8, epochs=20, learning_rate=0.01)(train, test, seed=0, device=CPU)
    assert (probed.predicted == probed.label).double().mean() == probed.chance == 0.8


def test_the_same_seed_gives_the_same_bits_and_torchs_generator_stays(make_blobs):
    train, test = (Features(*make_blobs(150, 4, 6, 2.0, seed)) for seed in (0, 1))
    state = torch.random.get_rng_state()
    probe = MLPProbe(hidden_dim=16, epochs=3)
    first, again = (probe(train, test, seed=3, device=CPU) for _ in range(2))
    other = probe(train, test, seed=4, device=CPU)
    assert torch.equal(first.predicted, again.predicted)
    assert first[2:] == again[2:]
    assert not torch.equal(first.predicted, other.predicted)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_cannot_be_probed_is_said(make_blobs):
    train, test = (Features(*make_blobs(20, 2, 3, 1.0, seed)) for seed in (0, 1))
    broken = Features(test.values.clone(), test.labels)
    broken.values[3, 1] = math.inf
    with pytest.raises(NonFiniteError, match="features of 1 of 20 test images are not finite"):
        MLPProbe()(train, broken, seed=0, device=CPU)
    with pytest.raises(DataError, match="two training images"):
        MLPProbe()(Features(train.values[:1], train.labels[:1]), test, seed=0, device=CPU)
    with pytest.raises(NonFiniteError, match="diverged; lower its learning_rate"):
        MLPProbe(learning_rate=1e30)(train, test, seed=0, device=CPU)


def test_the_outcome_holds_every_name():
    found = {
        "a": Probed(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 1, 1]), 0.5, 0.1, 3),
        "b": Probed(torch.tensor([2, 1, 0, 0]), torch.tensor([2, 0, 1, 1]), 0.25, 0.0, 1),
    }
    outcome = probe_outcome(found)
    assert outcome.headline == "mean_accuracy"
    assert outcome.metrics == {
        "mean_accuracy": 0.5, "n": 4.0,
        "a": 0.75, "chance_a": 0.5, "weight_decay_a": 0.1, "epoch_a": 3.0,
        "b": 0.25, "chance_b": 0.25, "weight_decay_b": 0.0, "epoch_b": 1.0,
    }  # fmt: skip
    assert {name: array.tolist() for name, array in outcome.predictions.items()} == {
        "predicted_a": [0, 1, 1, 0], "label_a": [0, 1, 1, 1], "predicted_b": [2, 1, 0, 0], "label_b": [2, 0, 1, 1],
    }  # fmt: skip
