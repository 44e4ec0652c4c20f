"""Fine-tuning: which settings are tried on what, what is chosen, and that the weights it is lent stay as they are."""

import logging

import numpy as np
import pytest
import torch

from sslkit import Arrays, DataError, FrozenModel, NonFiniteError, RunError, Shapes, fine_tune
from sslkit.builtin.evaluations import fine_tune as module
from sslkit.builtin.evaluations import train_classifier as training
from sslkit.builtin.evaluations.fine_tune import _share
from sslkit.engine.stops import Stopped, Stops

SHAPES = {"image_size": 16, "num_train": 80, "num_validation": 20, "num_test": 31}


def model_of(network, head=None, **options):
    return FrozenModel(network, head, input_size=16, workers=0, **options)


def stripes(count, seed, num_classes=3):
    """Images of dark to bright classes."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % num_classes
    noise = generator.integers(0, 40, (count, 16, 16, 3))
    return (noise + 200 // num_classes * labels[:, None, None, None]).astype(np.uint8), labels


@pytest.fixture
def used(monkeypatch):
    """Images, options and models of every training."""
    seen = []

    def noting(title, backbone, num_classes, images, pretrained, **options):
        model = original(title, backbone, num_classes, images, pretrained, **options)
        seen.append((images, options, model))
        return model

    original = module.train_classifier
    monkeypatch.setattr(module, "train_classifier", noting)
    return seen


def test_a_new_head_for_other_classes_learns_them(tiny_network, caplog):
    caplog.set_level(logging.INFO, "sslkit")
    data = Arrays.of(train=stripes(60, 0), test=stripes(31, 1))
    model = model_of(tiny_network(), torch.nn.Linear(8, 10))  # as of a model that was fine-tuned on ten classes
    outcome = fine_tune(epochs=10, batch_size=20, learning_rates=(1.0,))(model, data)
    assert "builtin.fine_tune: 60 images, a new head for 3 classes" in caplog.text
    assert outcome.metrics["top1"] == 1.0
    assert outcome.metrics["n"] == 31
    assert set(outcome.predictions["predicted"].tolist()) == {0, 1, 2}


def test_the_weights_and_generators_are_left_alone(tiny_network, used):
    model = model_of(tiny_network())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    momenta = [module.momentum for module in model.backbone.modules() if hasattr(module, "momentum")]
    state = torch.get_rng_state()
    fine_tune(epochs=3)(model, Shapes(**SHAPES))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert momenta == [module.momentum for module in model.backbone.modules() if hasattr(module, "momentum")]
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    trained = used[0][2].backbone.backbone.state_dict()
    assert all(not torch.equal(before[f"backbone.{name}"], tensor) for name, tensor in trained.items())


def test_a_single_setting_holds_nothing_out(tiny_network, used):
    outcome = fine_tune(epochs=3, batch_size=48)(model_of(tiny_network()), Shapes(**SHAPES))
    ((images, options, model),) = used
    assert len(images) == outcome.metrics["num_train"] == 100
    assert options == {
        "steps": 6,  # three passes of 100 images
        "batch_size": 48,
        "learning_rate": 0.05 * 48 / 256,
        "weight_decay": 0.0,
        "normalisation": None,
        "precision": "float32",
        "name": "chosen",
    }
    logits = model.head(model(Shapes(**SHAPES).table("test").float() / 255))
    assert outcome.predictions["predicted"].tolist() == logits.argmax(dim=1).tolist()
    assert not any(name.startswith("validation") for name in outcome.metrics)


def test_the_best_on_validation_is_trained_again_on_everything(tiny_network, used):
    data = Arrays.of(train=stripes(80, 0, 8), validation=stripes(20, 1, 8), test=stripes(31, 2, 8))
    rates, decays = (1e-5, 0.4, 0.8), (0.0, 1e-3)
    evaluation = fine_tune(steps=7, batch_size=64, learning_rates=rates, weight_decays=decays)
    outcome = evaluation(model_of(tiny_network()), data)
    tried, (everything, options, _) = used[:-1], used[-1]
    assert [(o["learning_rate"] * 4, o["weight_decay"]) for _, o, _ in tried] == [(r, d) for r in rates for d in decays]
    assert {len(images) for images, _, _ in tried} == {80}
    assert {options["steps"] for _, options, _ in used} == {7}
    pixels, labels = data.table("validation").float() / 255, torch.from_numpy(data.split("validation").labels)
    scores = [float((m.head(m(pixels)).argmax(dim=1) == labels).double().mean()) for _, _, m in tried]
    assert len(set(scores)) > 1
    best = scores.index(max(scores))
    assert (options["learning_rate"], options["weight_decay"]) == (
        tried[best][1]["learning_rate"],
        tried[best][1]["weight_decay"],
    )
    assert len(everything) == 100
    assert outcome.metrics["validation_top1"] == scores[best]
    assert outcome.metrics["learning_rate"] == rates[best // 2]
    assert outcome.metrics["weight_decay"] == decays[best % 2]


def test_decays_are_divided_by_the_rate_on_request(tiny_network, used):
    grid = {"learning_rates": (0.4, 0.8), "weight_decays": (0.0, 0.02)}
    fine_tune(steps=1, batch_size=64, decay_over_rate=True, **grid)(model_of(tiny_network()), Shapes(**SHAPES))
    assert [(o["learning_rate"], o["weight_decay"]) for _, o, _ in used[:4]] == [
        (0.1, 0.0),
        (0.1, pytest.approx(0.2)),
        (0.2, 0.0),
        (0.2, pytest.approx(0.1)),
    ]


def test_where_there_is_no_validation_split_a_share_of_each_class_is_held_out(tiny_network, used):
    data = Arrays.of(train=stripes(60, 0), test=stripes(31, 1))
    fine_tune(steps=1, learning_rates=(0.1, 0.2))(model_of(tiny_network()), data)
    assert [len(images) for images, _, _ in used] == [54, 54, 60]
    assert torch.bincount(used[0][0].labels).tolist() == [18, 18, 18]


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5])
def test_a_share_of_the_labels_is_balanced_and_drawn_from_the_seed(fraction):
    labels = torch.arange(1000) % 10
    share = _share(labels, fraction, seed=3)
    assert torch.bincount(labels[share]).tolist() == [round(100 * fraction)] * 10
    assert torch.equal(share, _share(labels, fraction, seed=3))
    assert not torch.equal(share, _share(labels, fraction, seed=4))
    assert torch.equal(share, share.sort().values)


def test_a_share_has_an_image_of_every_class():
    labels = torch.tensor([0] * 50 + [1] * 3 + [2])
    assert torch.bincount(labels[_share(labels, 0.02, seed=0)]).tolist() == [1, 1, 1]
    assert torch.equal(_share(labels, 1.0, seed=0), torch.arange(54))


def test_a_few_labels_are_a_share_of_the_validation_images_too(tiny_network, used):
    data = Shapes(**SHAPES)
    outcome = fine_tune(steps=1, labels=0.25, learning_rates=(0.1, 0.2))(model_of(tiny_network()), data)
    assert [len(images) for images, _, _ in used] == [20, 20, 30]  # 2 of 8, and 1 of the 2 for validation
    assert outcome.metrics["num_train"] == 30
    assert used[0][1]["batch_size"] == 20
    assert outcome.metrics["n"] == 31


def test_what_comes_before_the_block_stays(tiny_network, used):
    model = model_of(tiny_network())
    fine_tune(steps=3, from_block="last")(model, Shapes(**SHAPES))
    trained = used[0][2].backbone.backbone.state_dict()
    changed = {name for name, tensor in model.backbone.state_dict().items() if not torch.equal(tensor, trained[name])}
    assert changed == {name for name in trained if name.startswith("last")}


def test_statistics_follow_as_fast_as_steps_an_epoch_ask(tiny_network, used):
    fine_tune(steps=1, batch_size=1)(model_of(tiny_network()), Shapes(**SHAPES | {"num_train": 180}))
    assert used[0][2].backbone.backbone.last[1].momentum == pytest.approx(10 / 200)


def test_a_setting_that_diverges_is_lost_and_all_are_an_error(tiny_network, caplog):
    caplog.set_level(logging.INFO, "sslkit")
    data = Shapes(**SHAPES)
    outcome = fine_tune(steps=3, learning_rates=(1e38, 0.1))(model_of(tiny_network()), data)
    assert outcome.metrics["learning_rate"] == 0.1
    assert "setting 1 of 2, learning_rate 1e+38, weight_decay 0: diverged" in caplog.text
    with pytest.raises(NonFiniteError, match="every setting of builtin.fine_tune diverged"):
        fine_tune(steps=3, learning_rates=(1e38, 1e37))(model_of(tiny_network()), data)
    with pytest.raises(NonFiniteError, match=r"diverged with learning_rate 1e\+38, weight_decay 0: lower"):
        fine_tune(steps=3, learning_rates=(1e38,))(model_of(tiny_network()), data)


def test_several_labels_an_image(tiny_network, make_tagged):
    evaluation = fine_tune(epochs=12, batch_size=20, learning_rates=(3.0, 1e-4))
    outcome = evaluation(model_of(tiny_network()), make_tagged("train", "validation", "test"))
    assert outcome.headline == "voc_map"
    assert outcome.metrics["validation_voc_map"] > 0.9
    assert outcome.metrics["learning_rate"] == 3.0
    for tag in range(2):
        scores, label = outcome.predictions["scores"][:, tag], outcome.predictions["label"][:, tag]
        assert ((scores > 0) == (label == 1)).mean() > 0.9


@pytest.mark.parametrize("measure", ["z", "pixels", "stem"])
def test_something_else_than_h_is_refused(tiny_network, measure):
    model = model_of(tiny_network(), torch.nn.Linear(8, 3)).measuring(measure)
    with pytest.raises(RunError, match=rf'not "{measure}"; set features = \["h"\]'):
        fine_tune()(model, Shapes(**SHAPES))


def test_data_without_labels_is_refused(tiny_network):
    data = Arrays.of(train=stripes(30, 0)[0], test=stripes(30, 0)[0])
    with pytest.raises(DataError, match='30 of 30 images of the split "train" have no label'):
        fine_tune()(model_of(tiny_network()), data)


def test_a_signal_that_stops_the_run_stops_it(tiny_network):
    evaluation, model = fine_tune(steps=1000), model_of(tiny_network())
    with Stops() as stops:
        stops.requested = "SIGTERM"
        with pytest.raises(Stopped, match="stopped by SIGTERM after step 1 of 1,000"):
            evaluation(model, Shapes(**SHAPES))


def test_settings_that_were_tried_before_a_stop_are_not_tried_again(tiny_network, used):
    evaluation = fine_tune(epochs=2, learning_rates=(0.1, 0.2, 0.4))
    notes = {"learning_rate 0.1, weight_decay 0": 0.9, "learning_rate 0.2, weight_decay 0": -1.0}
    outcome = evaluation(model_of(tiny_network()).lent(0, notes), Shapes(**SHAPES))
    assert [options["name"] for _, options, _ in used] == ["setting-3", "chosen"]
    assert outcome.metrics["learning_rate"] == pytest.approx(0.1)
    assert outcome.metrics["validation_top1"] == 0.9
    assert 0 <= notes["learning_rate 0.4, weight_decay 0"] <= 1


class Interruption(Exception):
    pass


def test_a_long_training_goes_on_after_a_stop_and_comes_to_the_same(tiny_network, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_CHECKPOINT_STEPS", 3)
    evaluation = fine_tune(steps=8, batch_size=20, learning_rates=(0.1, 0.4))
    network, data = tiny_network(), Shapes(**SHAPES)
    whole = evaluation(model_of(network).lent(0, {}, tmp_path / "whole"), data)
    applied, limit = [], [15]
    original = training.CropFlip.apply

    def apply(views, groups, draws):
        applied.append(1)
        if len(applied) == limit[0]:
            raise Interruption
        return original(views, groups, draws)

    monkeypatch.setattr(training.CropFlip, "apply", apply)
    notes = {}
    with pytest.raises(Interruption):
        evaluation(model_of(network).lent(0, notes, tmp_path / "kept"), data)
    assert len(notes) == 1  # the first setting is through: 9 calls, one of them to learn the shape; the second is not
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["setting-2"]
    limit[0], before = None, len(applied)
    again = evaluation(model_of(network).lent(0, notes, tmp_path / "kept"), data)
    assert len(applied) - before == 1 + 5 + 9  # the second from its third step on, then the chosen one
    assert np.array_equal(again.predictions["predicted"], whole.predictions["predicted"])
    assert again.metrics == whole.metrics


def test_what_it_cannot_do_shows_before_a_run(tiny_network):
    network, data = tiny_network(), Shapes(**SHAPES)
    check = fine_tune(from_block="last").check
    check(network, "h", data)
    with pytest.raises(RunError, match='set features = \\["h"\\]'):
        check(network, "z", data)
    with pytest.raises(RunError, match="the backbone has no such layer"):
        fine_tune(from_block="layer9").check(network, "h", data)


def test_labels_that_cannot_be_learned_from_show_before_a_run(tiny_network, make_tagged):
    few = Arrays.of(train=stripes(3, 0), test=stripes(3, 1))
    fine_tune().check(tiny_network(), "h", few)
    two = fine_tune(learning_rates=(0.1, 0.2))
    with pytest.raises(DataError, match="none can be held out"):
        two.check(tiny_network(), "h", few)
    two.check(tiny_network(), "h", Arrays.of(train=stripes(3, 0), validation=stripes(3, 0), test=stripes(3, 1)))
    six = Arrays.of(train=stripes(6, 0), test=stripes(3, 1))
    two.check(tiny_network(), "h", six)
    with pytest.raises(DataError, match="none can be held out"):
        fine_tune(labels=0.5, learning_rates=(0.1, 0.2)).check(tiny_network(), "h", six)
    with pytest.raises(DataError, match="does not know its labels without reading every image"):
        two.check(tiny_network(), "h", make_tagged("train", "test", knows=False))
