"""What a recipe is said to do, against what a backbone really sees in a small run."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from sslkit import Work, load_recipe, run
from sslkit.engine.cost import Estimator

OTHER = "data = { name = 'builtin.shapes', image_size = 16, num_train = 50, num_validation = 50, num_test = 30 }"

EVALUATIONS = f"""
[[evaluate]]
name = "builtin.linear"
epochs = 1
num_seeds = 2
features = ["h", "z"]
[[evaluate]]
name = "builtin.logistic_regression"
l2_values = [0.1, 1.0]
max_iterations = 2
central_share = 1.0
baselines = ["random"]
[[evaluate]]
name = "builtin.linear_augmented"
epochs = 2
batch_size = 32
features = ["h", "z"]
num_seeds = 2
{OTHER}
[[evaluate]]
name = "builtin.fine_tune"
epochs = 2
batch_size = 16
learning_rates = [0.01, 0.1]
labels = 0.6
baselines = ["random"]
{OTHER}
[[evaluate]]
name = "builtin.fine_tune"
steps = 3
batch_size = 16
{OTHER}
[[evaluate]]
name = "builtin.feature_health"
view_images = 12
views_per_image = 3
split = "validation"
features = ["h", "z"]
baselines = ["random"]
{OTHER}
[[evaluate]]
name = "builtin.factor_probe"
epochs = 1
factors = ["polarity"]
"""


@pytest.fixture
def seen(monkeypatch):
    """Return a function that runs a recipe and counts the images that its backbone sees."""

    def count(recipe, folder):
        counts = Counter()
        backbone = recipe.pretrain.backbone.component.load()
        forward = backbone.forward

        def counting(self, images):
            if not images.is_meta:
                counts["trained" if torch.is_grad_enabled() and self.training else "embedded"] += len(images)
            return forward(self, images)

        monkeypatch.setattr(backbone, "forward", counting)
        monkeypatch.setattr("sslkit.engine.run.write_report", lambda folder: None)  # takes most of the time
        run(recipe, into=folder, workers=0)
        return counts

    return count


def said(recipe):
    cost = Estimator(data_root=None, device=torch.device("cpu"), measure=False).estimate(recipe)
    assert not cost.unknown
    return cost


def test_a_run_does_what_it_is_said_to_do(recipe_file, tmp_path, seen):
    recipe = load_recipe(recipe_file(EVALUATIONS))
    cost, counts = said(recipe), seen(recipe, tmp_path / "run")
    two_views = 2 * cost.pretraining.trained
    assert counts["trained"] == two_views + sum(part.trained for part in cost.evaluations)
    assert counts["embedded"] == sum(part.embedded for part in cost.evaluations)


def test_cached_gradients_embed_once_more(recipe_file, tmp_path, seen):
    recipe = load_recipe(recipe_file(), ["pretrain.micro_batch_size=4", "evaluate=[]"])
    cost, counts = said(recipe), seen(recipe, tmp_path / "run")
    # The very first micro-batch has a graph, to see which embeddings have a gradient.
    assert counts["embedded"] == 2 * (cost.pretraining.embedded - 4)
    assert counts.total() == 2 * (cost.pretraining.trained + cost.pretraining.embedded)


def test_an_epoch_has_full_batches_only(recipe_file):
    recipe = load_recipe(recipe_file(), ["pretrain.batch_size=24", "pretrain.epochs=3"])  # of 64 images
    assert said(recipe).pretraining.trained == 3 * 48


def test_an_evaluation_that_does_not_say_embeds_train_and_test_once(recipe_file, tmp_path):
    (tmp_path / "silent.py").write_text(
        "from sslkit import hookimpl\nSSLKIT_API = 1\n"
        "@hookimpl\ndef sslkit_register(register):\n"
        "    register.evaluation('silent', 'silent:silent', summary='says nothing')\n"
        "def silent():\n    return lambda pretrained, data: None\n"
    )
    path = recipe_file('[[evaluate]]\nname = "local.silent"\nbaselines = ["random"]\n')
    text = path.read_text().replace("plugins = [", "plugins = ['silent.py', ")
    path.write_text(text)
    cost = said(load_recipe(path))
    assert [part.embedded for part in cost.evaluations] == [2 * (64 + 41), 0]  # the first one's features serve both


@pytest.mark.parametrize(
    ("name", "options", "sizes", "expected"),
    [
        ("own_classifier", {}, {"train": 5, "test": 7}, Work(features=("test",))),
        ("feature_health", {"view_images": 10, "views_per_image": 2}, {"test": 7}, Work(0, 14, ("test",))),
        ("linear_augmented", {"epochs": 3, "batch_size": 64}, {"train": 100, "test": 9}, Work(0, 5 * 64, ("test",))),
        ("linear_augmented", {"epochs": 3, "batch_size": 512}, {"train": 100, "test": 9}, Work(0, 300, ("test",))),
        ("fine_tune", {"steps": 20, "batch_size": 256}, {"train": 1000, "test": 9}, Work(20 * 256, 9)),
        (
            "fine_tune",  # the paper's grid on CIFAR-10
            {"steps": 20_000, "learning_rates": (0.1,) * 7, "weight_decays": (0.0,) * 8},
            {"train": 45_000, "validation": 5_000, "test": 10_000},
            Work(57 * 20_000 * 256, 56 * 5_000 + 10_000),
        ),
    ],
)
def test_evaluations_say_what_they_do(name, options, sizes, expected):
    import sslkit

    assert getattr(sslkit, name)(**options).work(sizes) == expected
