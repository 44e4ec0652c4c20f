from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit import ImageNet, RunError, Shapes, TorchvisionSets, TransferSets, load_recipe, run
from sslkit.engine.cost import Cost, Estimator, Part, total
from sslkit.engine.speed import Bench, Speed, _Timed

CPU = torch.device("cpu")
OPTIONS = {"image_size": 16, "num_train": 6, "num_validation": 3, "num_test": 4, "seed": 0}

# The paper's table 8 without its pretraining: a network and a set, of which nothing is here.
TRANSFER = """
schema = 1
name = "transfer"
weights = "random"
[backbone]
name = "builtin.timm"
model = "resnet50"
input_size = 224
[[evaluate]]
name = "builtin.logistic_regression"
data = { name = "builtin.transfer_sets", dataset = "pets" }
[[evaluate]]
name = "builtin.fine_tune"
steps = 20000
data = { name = "builtin.transfer_sets", dataset = "pets" }
"""


def estimator(data_root=None, *, measure=False):
    return Estimator(data_root=data_root, device=CPU, measure=measure)


@pytest.fixture
def tries(monkeypatch):
    """Return the sizes of the steps that a bench has tried, instead of trying them; views take 0.25 s an image."""
    tried = []

    def step(self, plan, seed, data, given, limit):
        tried.append(limit)
        return _Timed(0.5, 3, min(limit, 64))

    monkeypatch.setattr(Bench, "_try_step", step)
    monkeypatch.setattr(Bench, "_timed", lambda self, step, count: 0.25 * count)
    monkeypatch.setattr(Bench, "_try_backbone", lambda self, backbone, shape: Speed(0.25, "forward"))
    monkeypatch.setattr(Bench, "_rate", lambda self, precision: 1e9)
    return tried


def test_drawn_data_are_as_many_as_they_are_said_to_be():
    said, data = Shapes.nominal(OPTIONS), Shapes(**OPTIONS)
    assert said.sizes == {split: len(data.split(split)) for split in ("pretrain", "train", "validation", "test")}
    assert (said.num_classes, said.image_size) == (data.num_classes, data.table("test").shape[-1])


def test_public_sets_are_known_without_their_files():
    imagenet = {labels: ImageNet.nominal({"train_labels": labels}).sizes for labels in ("all", "10%", "1%")}
    assert imagenet["all"] == {"pretrain": 1_281_167, "train": 1_281_167, "test": 50_000}
    assert [imagenet[part]["train"] for part in ("10%", "1%")] == [128_116, 12_811]
    cifar = TorchvisionSets.nominal({"dataset": "cifar10", "pretrain_on": "all"})
    assert (cifar.sizes, cifar.image_size) == ({"pretrain": 50_000, "train": 50_000, "test": 10_000}, 32)
    stl = TorchvisionSets.nominal({"dataset": "stl10", "pretrain_on": "unlabelled"})
    assert stl.sizes["pretrain"] == 100_000
    pets = TransferSets.nominal({"dataset": "pets"})
    assert pets.sizes == {"pretrain": 2_940, "train": 2_940, "validation": 740, "test": 3_669}
    assert (pets.num_classes, pets.image_size, pets.name) == (37, None, "pets")


def test_a_transfer_is_reckoned_without_its_data(tmp_path):
    (tmp_path / "transfer.toml").write_text(TRANSFER)
    linear, fine_tuned = estimator().estimate(load_recipe(tmp_path / "transfer.toml")).parts
    assert linear.title == "builtin.logistic_regression on pets"
    assert (linear.trained, linear.embedded) == (0, 2_940 + 740 + 3_669)
    assert (fine_tuned.trained, fine_tuned.embedded) == (20_000 * 256, 3_669)
    assert fine_tuned.operations == pytest.approx(20_000 * 256 * 3 * 8.2e9, rel=0.02)


def test_data_that_are_here_count_as_they_are(recipe_file, tmp_path):
    for split, count in (("train", 40), ("test", 24)):
        for number in range(count):
            folder = tmp_path / "data" / split / f"class{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 16, 3), number, dtype=np.uint8)).save(folder / f"{number}.png")
    recipe = load_recipe(recipe_file(), ["pretrain.data={name='builtin.image_folder', folder='data'}"])
    here = estimator(tmp_path).estimate(recipe)
    assert here.pretraining.trained == 2 * 32
    assert here.evaluations[0].embedded == 2 * (40 + 24)
    gone = estimator(tmp_path / "elsewhere").estimate(recipe)
    assert gone.operations is None
    [reason] = gone.unknown
    assert reason.startswith("pretraining, builtin.knn on builtin.image_folder: unknown, the data are not there")
    assert "--data-root" in gone.describe()


def test_what_is_unknown_does_not_hide_what_is_known(recipe_file):
    folder = "data = { name = 'builtin.image_folder', folder = 'photos' }"
    recipe = load_recipe(recipe_file(f'[[evaluate]]\nname = "builtin.linear"\n{folder}\n'))
    cost = estimator().estimate(recipe)
    assert cost.operations == cost.pretraining.operations + cost.evaluations[0].operations
    assert cost.describe().startswith("at least ")
    assert "not counted: builtin.linear on builtin.image_folder: unknown" in cost.describe()


def test_weights_that_are_not_here_are_unknown_unless_the_recipe_says_which_network(tmp_path):
    text = TRANSFER.replace('"random"', '"nowhere/backbone.safetensors"')
    (tmp_path / "named.toml").write_text(text)
    assert not estimator().estimate(load_recipe(tmp_path / "named.toml")).unknown
    (tmp_path / "unnamed.toml").write_text(text[: text.index("[backbone]")] + text[text.index("[[evaluate]]") :])
    cost = estimator().estimate(load_recipe(tmp_path / "unnamed.toml"))
    assert cost.operations is None
    assert "[backbone]" in cost.describe()


def test_too_few_images_for_a_batch_stop_the_estimate(recipe_file):
    with pytest.raises(RunError, match="batch_size = 128"):
        estimator().estimate(load_recipe(recipe_file(), ["pretrain.batch_size=128"]))


def test_equal_parts_are_tried_once(recipe_file, tries):
    bench = estimator(measure=True)
    for change in ("seed=1", "pretrain.epochs=7", "pretrain.optimizer.learning_rate=0.5", "seed=2"):
        bench.estimate(load_recipe(recipe_file(), [change]))
    assert tries == [16]
    bench.estimate(load_recipe(recipe_file(), ["pretrain.batch_size=32"]))
    assert tries == [16, 32]


def test_of_other_views_only_they_are_tried(recipe_file, tries, monkeypatch):
    bench, crops = estimator(measure=True), "{{name='builtin.crop_flip', num_views=2, image_size=16, area=[{}, 1.0]}}"
    one, two = (load_recipe(recipe_file(), [f"pretrain.views={crops.format(least)}"]) for least in (0.1, 0.5))
    first = bench.estimate(one).pretraining
    assert first.seconds == pytest.approx(0.5 * first.trained, rel=0.1)  # what the CPU prepares comes to it
    monkeypatch.setattr(Bench, "_timed", lambda self, step, count: 0.75 * count)
    other = bench.estimate(two).pretraining
    assert other.seconds == pytest.approx((0.25 + 0.75) * other.trained, rel=0.1)
    assert other.measured == "1 images/s measured over 3 steps of 16"
    assert tries == [16]


def test_a_step_that_was_long_enough_with_fewer_images_stands_for_larger_batches(recipe_file, tries):
    bench, many = estimator(measure=True), "pretrain.data.num_train=512"
    for size in (128, 256, 64, 512, 32):
        bench.estimate(load_recipe(recipe_file(), [many, f"pretrain.batch_size={size}"]))
    assert tries == [128, 32]


def test_a_number_without_influence_on_a_step_is_no_reason_to_try_it_again(recipe_file, tries):
    bench = estimator(measure=True)
    for change in ("pretrain.objective.temperature=0.2", "pretrain.optimizer.momentum=0.5"):
        bench.estimate(load_recipe(recipe_file(), [change]))
    assert tries == [16]


def test_without_time_other_views_of_the_same_network_stand_in(recipe_file, tries):
    bench = estimator(measure=True)
    first = bench.estimate(load_recipe(recipe_file()))
    bench._bench._left = 0.0
    second = bench.estimate(load_recipe(recipe_file(), ["pretrain.batch_size=32"]))
    assert len(tries) == 1
    assert second.pretraining.seconds == first.pretraining.seconds == 0.5 * 128
    assert "other views" in second.pretraining.measured
    third = bench.estimate(load_recipe(recipe_file(), ["pretrain.backbone.width=16"]))
    assert third.pretraining.seconds == pytest.approx(third.pretraining.operations / 1e9)
    assert "no time left" in third.describe()


def test_what_takes_too_long_to_try_is_reckoned(tmp_path, tries):
    (tmp_path / "transfer.toml").write_text(TRANSFER.replace("resnet50", "resnet152"))  # 2 images of 23e9, at 1e9/s
    cost = estimator(measure=True).estimate(load_recipe(tmp_path / "transfer.toml"))
    assert cost.evaluations[0].seconds == pytest.approx(cost.evaluations[0].operations / 1e9, rel=0.1)
    assert "too large to try" in cost.describe()


def test_images_that_cannot_be_read_are_no_reason_not_to_say(recipe_file, tmp_path):
    for number in range(16):
        folder = tmp_path / "data" / "train" / f"class{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(b"broken")
    recipe = load_recipe(recipe_file(), ["pretrain.data={name='builtin.image_folder', folder='data'}", "evaluate=[]"])
    cost = estimator(tmp_path, measure=True).estimate(recipe)
    assert cost.pretraining.trained == 2 * 16
    assert "images/s measured" in cost.describe()


def test_a_network_that_does_not_take_the_views_is_refused_as_in_a_run(recipe_file):
    recipe = load_recipe(
        recipe_file(),
        ["pretrain.data.image_size=16", "pretrain.backbone={name='builtin.timm', model='vit_tiny_patch16_224'}"],
    )
    with pytest.raises(RunError, match="does not take"):
        estimator().estimate(recipe)


def test_what_cannot_be_tried_is_reckoned(recipe_file, monkeypatch):
    def broken(self, plan, seed, data, given, limit):
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(Bench, "_try_step", broken)
    cost = estimator(measure=True).estimate(load_recipe(recipe_file(), ["evaluate=[]"]))
    assert "not tried (no memory), reckoned at" in cost.describe()


def test_a_step_is_timed_where_it_runs(recipe_file):
    cost = estimator(measure=True).estimate(load_recipe(recipe_file()))
    assert "images/s measured over" in cost.pretraining.measured
    assert "of 16" in cost.pretraining.measured
    assert 0 < cost.pretraining.seconds < 60
    assert cost.seconds == pytest.approx(cost.pretraining.seconds + cost.evaluations[0].seconds)


def test_a_cost_reads_as_a_sentence():
    part = Part("pretraining", 100, 0, 1.3e21, 4.1 * 86_400, "11 images/s measured over 3 steps of 2")
    cost = Cost(part, (), "cpu, 2 threads")
    assert cost.describe() == (
        "1.3e+21 floating-point operations; 4.1 days on this machine (cpu, 2 threads; 11 images/s measured over "
        "3 steps of 2); 150.5 days on a device that sustains 100 TFLOP/s"
    )
    both = total([cost, Cost(None, (Part("other", operations=1e20, seconds=60.0, measured="2 images/s"),), "cpu")])
    assert both.operations == pytest.approx(1.4e21)
    assert "for the longest part 11 images/s" in both.describe()
    assert Cost(None, (), "cpu").describe() == "nothing to do"


@pytest.mark.slow
def test_the_estimate_of_a_run_is_near_what_it_takes(recipe_file, tmp_path):
    changes = ["pretrain.backbone.width=64", "pretrain.data.num_train=4096", "pretrain.data.image_size=64",
               "pretrain.batch_size=128", "pretrain.epochs=30"]  # fmt: skip
    recipe = load_recipe(recipe_file(), changes)
    said = estimator(measure=True).estimate(recipe).seconds
    began = time.perf_counter()
    run(recipe, into=tmp_path / "run")
    assert said == pytest.approx(time.perf_counter() - began, rel=0.4)
