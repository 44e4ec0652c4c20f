"""The parts of the online callback, each alone."""

import numpy as np
import pytest
import torch
from torch import nn

from sslkit.builtin.callbacks.collapse_alarm import CollapseAlarm
from sslkit.builtin.callbacks.probe import Probe
from sslkit.builtin.callbacks.resident import Resident, balanced
from sslkit.builtin.callbacks.undisturbed import undisturbed


def test_images_are_chosen_class_by_class_and_always_the_same():
    labels = np.repeat(np.arange(5), [400, 300, 200, 90, 10])
    chosen = balanced(labels, 1000, 60)
    assert np.bincount(labels[chosen]).tolist() == [13, 13, 12, 12, 10]
    assert sorted(labels[chosen[:5]]) == [0, 1, 2, 3, 4]
    assert chosen == balanced(labels, 1000, 60)
    assert chosen[:20] == balanced(labels, 1000, 20)
    assert len(set(chosen)) == 60
    assert len(balanced(labels, 1000, 5000)) == 1000


def test_images_without_a_label_come_last():
    labels = np.array([-1] * 50 + [0] * 3 + [1] * 3)
    assert sorted(labels[balanced(labels, 56, 6)]) == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("labels", [None, np.zeros((500, 3), dtype=np.int8)])
def test_without_one_label_each_images_come_from_everywhere(labels):
    chosen = balanced(labels, 500, 50)
    assert len(set(chosen)) == 50
    assert min(chosen) < 50
    assert max(chosen) > 450


class Splits:
    class_names = None
    num_classes = 3

    def __init__(self, **sizes):
        self.sizes = sizes

    def split(self, name):
        from sslkit import AbsentError

        if name not in self.sizes:
            raise AbsentError(name)
        size = self.sizes[name]

        class Part:
            labels = torch.arange(size) % 3

            def __len__(self):
                return size

            def __getitem__(self, index):
                return torch.full((3, 8, 8), index, dtype=torch.uint8), int(self.labels[index])

        return Part()


@pytest.mark.parametrize(
    ("sizes", "asked", "origin"),
    [
        ({"train": 90, "validation": 30, "test": 40}, None, "20 images of train, scored on 10 others of validation"),
        ({"train": 90, "test": 40}, None, "20 images of train, scored on 10 others of test"),
        ({"train": 90, "test": 40}, "train", "20 images of train, scored on 10 others of train"),
        ({"train": 12}, None, "8 images of train, scored on 4 others of train"),
        ({"pretrain": 90}, None, "20 images of pretrain, scored on 10 others of pretrain"),
    ],
)
def test_scores_are_of_images_that_are_not_fitted(sizes, asked, origin):
    found = Resident.read(Splits(**sizes), 8, 20, asked, torch.device("cpu"))
    assert found.origin == origin
    assert found.is_labelled
    if origin.count("train") == 2:
        assert not {int(image[0, 0, 0]) for image in found.fit} & {int(image[0, 0, 0]) for image in found.score}


def test_one_image_is_not_enough():
    from sslkit import DataError

    with pytest.raises(DataError, match="needs two"):
        Resident.read(Splits(train=1), 8, 20, None, torch.device("cpu"))


def blobs(num, num_classes, dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(num_classes, dim, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(num_classes, (num,), generator=generator)
    return centres[labels] + 0.6 * torch.randn(num, dim, generator=generator), labels


def norms():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 6))
    module.append(nn.BatchNorm1d(6, track_running_stats=False))
    module[1].weight.data.uniform_(0.5, 2)
    return module.train()


def test_batch_statistics_are_those_of_training_and_leave_no_trace():
    module, images = norms(), torch.rand(9, 3, 8, 8)
    expected = norms()(images)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    statistics = module[1].running_mean, module[1].running_var
    with undisturbed(module, batch_statistics=True):
        assert not module.training
        found = module(images)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad
    assert module[1].running_mean is statistics[0]
    assert module[1].running_var is statistics[1]
    assert module[5].running_mean is None
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert module.training
    with undisturbed(module):
        other = module(images)
    assert not torch.allclose(other, expected, atol=1e-2)


def test_modes_come_back_one_by_one_and_after_an_error_too():
    module = norms()
    module[1].eval()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)

    def look():
        with undisturbed(module, batch_statistics=True):
            torch.rand(7)
            module(torch.rand(2, 5, 8, 8))

    with pytest.raises(RuntimeError):
        look()
    assert [part.training for part in module] == [True, False, True, True, True, True]
    assert module[1].running_mean is not None
    assert not module[1]._forward_pre_hooks
    assert torch.equal(torch.rand(2), expected)


def test_the_probe_follows_features_of_any_scale_and_goes_on_where_it_was():
    values, labels = blobs(300, 4, 8)
    others, truth = blobs(200, 4, 8, seed=1)
    scores = []
    for scale, shift in ((1.0, 0.0), (1e3, 50.0), (1e-3, -1.0)):
        probe = Probe(3.0)
        probe.follow((values + shift) * scale, labels, 4, seed=0)
        scores.append(float(probe.accuracy((others + shift) * scale, truth)))
    assert min(scores) > 0.9
    whole, first, second = Probe(3.0), Probe(3.0), Probe(3.0)
    assert first.state_dict() == {}
    for step in (10, 20):
        whole.follow(values, labels, 4, seed=step)
    first.follow(values, labels, 4, seed=10)
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    second.follow(values, labels, 4, seed=20)
    assert torch.equal(whole.state_dict()["weight"], second.state_dict()["weight"])
    assert not torch.equal(whole.state_dict()["weight"], first.state_dict()["weight"])


def test_a_probe_starts_anew_for_other_features():
    probe = Probe(3.0)
    probe.follow(*blobs(60, 4, 8), 4, seed=0)
    probe.follow(*blobs(60, 3, 5), 3, seed=0)
    assert probe.state_dict()["weight"].shape == (6, 3)


def test_the_alarm_rings_once_for_each_onset():
    alarm = CollapseAlarm()
    alike, line, good = (0.01, 1.0, 128), (0.8, 1.2, 128), (0.9, 9.0, 128)
    heard = [alarm.hear(*numbers) for numbers in (good, alike, line, alike, alike, good, line, good, line, line, line)]
    rung = [number for number, found in enumerate(heard) if found]
    assert rung == [2, 9]
    assert "one direction" in heard[2]
    assert alarm.hear(*good) is None
    alarm.hear(*alike)
    again = CollapseAlarm()
    again.load_state_dict(alarm.state_dict())
    assert "all alike (mean deviation 0.010" in again.hear(*alike)


def test_small_embeddings_may_have_few_directions():
    alarm = CollapseAlarm()
    assert [alarm.hear(0.8, 1.3, 4) for _ in range(5)] == [None] * 5
