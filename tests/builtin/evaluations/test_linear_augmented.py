"""The paper's linear evaluation: what it may learn from, what it must leave alone, and what it is scored on."""

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit import Arrays, DataError, FrozenModel, ImageFolder, NonFiniteError, Shapes, linear_augmented
from sslkit.builtin.evaluations import linear_augmented as module


def model_of(network, head=None, **options):
    return FrozenModel(network, head, input_size=16, workers=0, **options)


def stripes(count, seed, channels=3):
    """Images of three classes that crops and mirrors leave recognisable: dark, middle, bright."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    noise = generator.integers(0, 40, (count, 16, 16, channels))
    return (noise + 90 * labels[:, None, None, None]).astype(np.uint8), labels


@pytest.fixture
def used(monkeypatch):
    """The keyword arguments of every training, and the trained models."""
    seen = []

    def noting(*arguments, **options):
        seen.append((arguments, options, original(*arguments, **options)))
        return seen[-1][2]

    original = module.train_classifier
    monkeypatch.setattr(module, "train_classifier", noting)
    return seen


def test_classes_that_can_be_told_are_told(tiny_network):
    data = Arrays.of(train=stripes(90, 0), test=stripes(31, 1))
    outcome = linear_augmented(epochs=40, learning_rate=10.0)(model_of(tiny_network()), data)
    assert outcome.headline == "top1"
    assert outcome.metrics["top1"] == 1.0
    assert outcome.metrics["n"] == 31
    assert outcome.predictions["label"].tolist() == stripes(31, 1)[1].tolist()


@pytest.mark.parametrize("measure", ["h", "z", "stem"])
def test_the_score_is_that_of_the_last_classifier_on_the_features_of_the_test_images(tiny_network, used, measure):
    data = Shapes(image_size=16, num_train=40, num_validation=20, num_test=31)
    torch.manual_seed(0)
    model = model_of(tiny_network(), torch.nn.Linear(8, 5)).measuring(measure)
    outcome = linear_augmented(epochs=4, learning_rate=3.0)(model, data)
    ((_, options, trained),) = used
    features = model.features(data, "test").values
    assert trained.head.layer.in_features == features.shape[1] == {"h": 8, "z": 5, "stem": 6}[measure]
    scores = features @ trained.head.layer.weight.T + trained.head.layer.bias
    assert outcome.predictions["predicted"].tolist() == scores.argmax(dim=1).tolist()
    assert options["steps"] == 4
    assert options["batch_size"] == outcome.metrics["batch_size"] == 60  # train and validation, though 4096 are wanted
    assert options["learning_rate"] == pytest.approx(3.0 * 60 / 256)


def test_weights_statistics_and_generators_are_left_alone(tiny_network):
    data = Shapes(image_size=16, num_train=40, num_validation=20, num_test=31)
    model = model_of(tiny_network())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    linear_augmented(epochs=2)(model, data)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.backbone.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_three_runs_agree_and_the_seed_matters(tiny_network, used):
    data = Shapes(image_size=16, num_train=40, num_validation=20, num_test=31)
    for seed in (0, 0, 1):
        linear_augmented(epochs=3)(model_of(tiny_network(), seed=seed), data)
    first, second, third = (trained.head.layer.weight for _, _, trained in used)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_image_files_of_any_size(tiny_network, tmp_path):
    for split, count, seed in (("train", 30, 0), ("test", 9, 1)):
        for number, (pixels, label) in enumerate(zip(*stripes(count, seed), strict=True)):
            place = tmp_path / split / f"class {label}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((20 + number, 24)).save(place / f"{number}.png")
    outcome = linear_augmented(epochs=40, learning_rate=10.0)(model_of(tiny_network()), ImageFolder(tmp_path))
    assert outcome.metrics["top1"] == 1.0


def test_several_labels_an_image(tiny_network, make_tagged):
    data = make_tagged("train", "test")
    outcome = linear_augmented(epochs=60, learning_rate=7.0)(model_of(tiny_network()), data)
    assert outcome.headline == "voc_map"
    assert outcome.predictions["scores"].shape == outcome.predictions["label"].shape == (40, 3)
    for tag in range(2):
        scores, label = outcome.predictions["scores"][:, tag], outcome.predictions["label"][:, tag]
        assert ((scores > 0) == (label == 1)).all()


def test_a_training_that_diverges_says_what_to_lower(tiny_network):
    data = Shapes(image_size=16, num_train=40, num_validation=20, num_test=31)
    with pytest.raises(NonFiniteError, match="builtin.linear_augmented diverged: lower its learning_rate"):
        linear_augmented(learning_rate=1e38)(model_of(tiny_network()), data)


def test_an_image_without_a_label_is_refused(tiny_network):
    images, labels = stripes(30, 0)
    data = Arrays.of(train=(images, np.where(labels == 2, -1, labels)), test=(images, labels % 2))
    model = model_of(tiny_network())
    for used in (linear_augmented(), lambda model, data: linear_augmented().check(model.backbone, "h", data)):
        with pytest.raises(DataError, match='10 of 30 images of the split "train" have no label'):
            used(model, data)
