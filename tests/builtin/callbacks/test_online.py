"""The online callback: what it measures, that the training does not notice, and when it cries."""

import logging
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import normalize

from sslkit import (
    AbsentError,
    DataError,
    FrozenModel,
    ImageFolder,
    JointEmbedding,
    Normalisation,
    Online,
    Shapes,
    hookimpl,
    pretrain,
    rankme,
    sgd,
)

sys.path.insert(0, str(Path(__file__).parents[2]))  # toy_plugin is a module of the tests as well as a plugin file

import toy_plugin

torch.set_num_threads(1)

NORMALISATION = Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
LABELLED = Shapes(image_size=16, num_train=210, num_validation=60, num_test=41)  # three times the pretraining set


class Log:
    def __init__(self):
        self.records, self.rates = [], []

    @hookimpl
    def sslkit_step_end(self, state, metrics):
        self.rates.append(
            [(group["lr"], group["weight_decay"]) for group in state.pretraining.stepper.optimizer.param_groups]
        )

    @hookimpl
    def sslkit_metrics(self, record):
        self.records.append(record)

    def column(self, name):
        return [(record["step"], record[name]) for record in self.records if name in record]

    @property
    def online(self):
        return [{k: v for k, v in record.items() if k == "step" or k.startswith("online")} for record in self.records]


class Stop(Exception):
    pass


class StopAt:
    def __init__(self, step):
        self.step = step

    @hookimpl
    def sslkit_step_end(self, state):
        if state.step == self.step:
            raise Stop


class Attraction(nn.Module):
    """Pulls views together and pushes nothing apart."""

    def forward(self, projections):
        first, second = (normalize(projection, dim=1) for projection in projections)
        return -(first * second).sum(dim=1).mean()


class Wide(nn.Module):
    """A layer that keeps no statistics, one that stays in eval mode, and dropout."""

    out_dim = 16

    def __init__(self, in_dim=8):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_dim, 32), nn.BatchNorm1d(32, track_running_stats=False), nn.ReLU(), nn.Dropout(0.2),
            nn.Linear(32, 16),
        )  # fmt: skip
        self.fixed = nn.BatchNorm1d(16)

    def train(self, mode=True):
        super().train(mode)
        self.fixed.eval()
        return self

    def forward(self, features):
        return self.fixed(self.layers(features))


class Line(nn.Module):
    """Spreads images along the first direction and empties the others."""

    def forward(self, projections):
        joined = torch.cat(projections)
        return joined[:, 1:].square().mean() - joined[:, 0].std().log()


def method(objective=None, *, head=toy_plugin.LinearHead, dropout=0.3):
    torch.manual_seed(0)
    return JointEmbedding(toy_plugin.Pooled(dropout=dropout), head(8), objective or toy_plugin.Agreement())


def trained(callbacks=(), *, module=None, **changes):
    """Return weights and buffers after a pretraining on 70 images, and torch's, numpy's and Python's next numbers."""
    settings = {"steps": 24, "batch_size": 16, "learning_rate": 0.1, "weight_decay": 1e-4, "workers": 0}
    data = Shapes(image_size=16, num_train=70, num_validation=20, num_test=41)
    module = module or method()
    random.seed(5)
    np.random.seed(5)
    pretrain(module, data, toy_plugin.Brightness(), sgd, callbacks=callbacks, **(settings | changes))
    state = {name: value.clone() for name, value in module.state_dict().items()}
    return state | {"next": torch.tensor([float(torch.rand(())), np.random.random(), random.random()])}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"micro_batch_size": 8},
        {"precision": "bf16", "steps": 10},
        {"normalisation": NORMALISATION},
        {"schedules": {"learning_rate": lambda progress: 1 - progress.fraction}},
    ],
)
def test_the_training_is_bit_for_bit_the_same(changes):
    plain, log, watched = Log(), Log(), {}
    expected = trained([plain], **changes)
    watched = trained([Online(LABELLED, every=4, check_every=2, images=64), log], **changes)
    assert same(expected, watched)
    assert log.rates == plain.rates
    assert [record["loss"] for record in log.records] == [record["loss"] for record in plain.records]
    assert len(log.column("online_linear_top1")) == len(plain.rates) // 4 + (len(plain.rates) % 4 > 0)


def test_unusual_layers_are_left_as_they_are():
    expected = trained(module=method(head=Wide))
    assert same(expected, trained([Online(LABELLED, every=4, check_every=2, images=64)], module=method(head=Wide)))
    assert not torch.equal(expected["head.layers.0.weight"], method(head=Wide).head.layers[0].weight)


@pytest.mark.parametrize("step", [1, 7, 12, 23])
def test_the_curve_is_the_same_interrupted_or_not(tmp_path, step):
    whole, parts = Log(), [Log(), Log()]
    expected = trained([Online(LABELLED, every=4, check_every=2, images=64), whole])
    saving = {"checkpoints": tmp_path, "checkpoint_every_steps": 3}
    with pytest.raises(Stop):
        trained([Online(LABELLED, every=4, check_every=2, images=64), StopAt(step), parts[0]], **saving)
    done = trained([Online(LABELLED, every=4, check_every=2, images=64), StopAt(-1), parts[1]], **saving)
    expected.pop("next"), done.pop("next")
    assert same(expected, done)
    resumed = parts[1].online
    assert resumed == whole.online[len(whole.online) - len(resumed) :]
    before = parts[0].online
    assert before == whole.online[: len(before)]
    assert len(before) + len(resumed) >= len(whole.online)


def test_what_is_measured_is_what_an_evaluation_of_these_weights_sees(caplog):
    module, log = method(), Log()
    trained([Online(LABELLED, every=24, images=60), log], module=module, normalisation=NORMALISATION)
    model = FrozenModel(module.backbone, module.head, normalisation=NORMALISATION, input_size=16, workers=0)
    values = model.measuring("z").features(LABELLED, "train").values
    # Of 210 images, 60 are looked at: those of any 60 are about as many dimensions.
    assert log.column("online_rankme_z") == [(24, pytest.approx(rankme(values[:60]), rel=0.1))]
    everything = Online(LABELLED, every=1, images=210)
    again = Log()
    trained([everything, again], module=method(), normalisation=NORMALISATION)
    assert again.column("online_rankme_h")[-1][1] == pytest.approx(
        rankme(model.features(LABELLED, "train").values), rel=1e-5
    )


def test_accuracies_are_shares_of_the_validation_split(caplog):
    caplog.set_level(logging.INFO, "sslkit")
    log = Log()
    trained([Online(LABELLED, every=20, images=200), log], steps=60, module=method(dropout=0.0))
    assert "online: 200 images of train, scored on 60 others of validation, every 20 steps" in caplog.messages
    for name in ("online_linear_top1", "online_knn_top1"):
        steps, values = zip(*log.column(name), strict=True)
        assert steps == (20, 40, 60)
        assert all(value * 60 == pytest.approx(round(value * 60), abs=1e-4) for value in values)


def test_without_an_interval_it_costs_about_a_hundredth():
    log = Log()
    trained([Online(LABELLED, images=210), log], steps=291)
    # 210 + 60 images against 3 passes of 2 views of 16 images: 1 % is every 282 steps, in whole checks 290.
    assert [step for step, _ in log.column("online_knn_top1")] == [290, 291]
    assert len(log.column("online_std_z")) == 29


def test_a_finished_pretraining_reads_no_images(tmp_path):
    trained([Online(LABELLED, every=4, images=64)], checkpoints=tmp_path)
    trained([Online(None, every=4, images=64)], checkpoints=tmp_path)


class Only:
    """Data of one split, with labels of any kind."""

    class_names = None

    def __init__(self, labels, *, channels=3, split="train"):
        generator = torch.Generator().manual_seed(0)
        self.labels = labels
        self.images = torch.randint(0, 256, (len(labels), channels, 16, 16), dtype=torch.uint8, generator=generator)
        self.num_classes, self._split = None, split

    def split(self, name):
        if name != self._split:
            raise AbsentError(f"no split {name}")
        return self

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


@pytest.mark.parametrize(
    "data",
    [
        Only(torch.full((90,), -1), split="pretrain"),
        Only(torch.tensor([0, 1] * 10 + [-1] * 70)),
        Only(torch.zeros(90, 4, dtype=torch.int8)),
    ],
)
def test_without_one_class_for_each_image_there_is_health_only(data, caplog):
    caplog.set_level(logging.INFO, "sslkit")
    log = Log()
    trained([Online(data, every=8, images=40), log])
    assert len([message for message in caplog.messages if "no accuracy" in message]) == 1
    assert len(log.column("online_rankme_h")) == 3
    assert log.column("online_linear_top1") == log.column("online_knn_top1") == []


def test_other_channels_are_refused_before_the_first_step():
    log = Log()
    with pytest.raises(DataError, match="1 channels, but the backbone takes 3"):
        trained([Online(Only(torch.zeros(90, dtype=torch.int64), channels=1), images=40), log])
    assert log.records == []


def test_image_files_are_read_once(tmp_path, monkeypatch):
    for number in range(60):
        folder = tmp_path / ("train", "test")[number % 3 == 2] / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 90, (20, 24, 3), dtype=np.uint8) + 150 * np.uint8(number % 2)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    log = Log()
    data = ImageFolder(tmp_path)
    callback = Online(data, every=4, images=30)
    trained([callback, log], steps=40)
    assert len(log.column("online_linear_top1")) == 10
    assert log.column("online_knn_top1")[-1][1] > 0.8  # dark or bright: even a toy sees that


def test_a_method_without_a_head_is_watched_by_its_features():
    class Spread(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.backbone = toy_plugin.Pooled()

        def forward(self, batch):
            return sum(-self.backbone(view).var(dim=0).mean() for view in batch.views)

    log = Log()
    trained([Online(LABELLED, every=8, images=40), log], module=Spread(), learning_rate=1e-3)
    assert len(log.column("online_std_h")) == 2
    assert log.column("online_std_z") == []


@pytest.mark.parametrize(
    ("objective", "head", "how"),
    [(Attraction(), toy_plugin.LinearHead, "are all alike"), (Line(), Wide, "differ along one direction only")],
)
def test_a_collapsing_training_is_called_so_within_50_steps_and_once(caplog, objective, head, how):
    trained([Online(LABELLED, images=64)], module=method(objective, head=head, dropout=0.0), steps=80)
    (alarm,) = [record for record in caplog.records if "collapse" in record.getMessage()]
    assert alarm.levelno == logging.WARNING
    assert int(alarm.getMessage().split()[1].rstrip(":")) <= 50
    assert f"the embeddings z of 16 images {how}" in alarm.getMessage()


@pytest.mark.parametrize("head", [toy_plugin.LinearHead, Wide])
def test_a_healthy_training_is_not(caplog, head):
    trained([Online(LABELLED, images=64)], module=method(head=head, dropout=0.0), steps=80)
    assert not [message for message in caplog.messages if "collapse" in message]


def test_before_batch_norm_knows_its_statistics_the_alarm_is_silent(caplog):
    # In eval mode all features would be alike: they lie a hundred deviations from where the layer believes them to be.
    module, log = method(dropout=0.0), Log()
    with torch.no_grad():
        module.backbone.conv.bias += 100
    trained([Online(LABELLED, check_every=1, images=64), log], module=module, steps=5)
    assert min(value for _, value in log.column("online_std_h")) > 0.3
    assert not [message for message in caplog.messages if "collapse" in message]


def test_its_hooks_are_known():
    from sslkit.registry.hookspecs import callback_manager

    callback_manager([Online(LABELLED)])
