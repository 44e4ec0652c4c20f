"""The transfer recipes, end to end, on miniatures of all twelve sets."""

import json
from pathlib import Path

import pytest
import torch

from sslkit import FrozenModel, run, timm_backbone
from sslkit.builtin.exporters.timm import export_timm
from sslkit.recipe.evaluation import load_evaluation

# Of each miniature, in the recipe's order: metric and number of test images.
SETS = {
    "food101": ("top1", 12),
    "cifar10": ("top1", 20),
    "cifar100": ("top1", 20),
    "birdsnap": ("top1", 6),
    "sun397": ("top1", 15),
    "cars": ("top1", 7),
    "aircraft": ("mean_per_class", 5),
    "voc2007": ("voc_map", 4),
    "dtd": ("top1", 4),
    "pets": ("mean_per_class", 9),
    "caltech101": ("mean_per_class", 10),
    "flowers102": ("mean_per_class", 5),
}
RECIPE = Path(__file__).parents[3] / "recipes" / "evaluate" / "transfer_12.toml"
SHORT = [
    override
    for number in range(12, 24)
    for override in (
        f"evaluate.{number}.steps=2",
        f"evaluate.{number}.learning_rates=[0.1]",
        f"evaluate.{number}.weight_decays=[1e-4]",
    )
]


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    export_timm()(FrozenModel(timm_backbone(model="test_resnet"), input_size=32), tmp_path)
    return str(tmp_path / "timm")


def test_all_twelve_sets_are_evaluated_linearly_and_fine_tuned_each_by_its_metric(miniature, weights, tmp_path):
    for dataset in SETS:
        miniature(dataset)
    run(load_evaluation(RECIPE, weights, SHORT), data_root=miniature.root, into=tmp_path / "run", workers=0)
    rows = json.loads((tmp_path / "run" / "summary.json").read_text())["results"]
    expected = [(name, metric, number) for name, (metric, number) in SETS.items()]
    assert [(row["data"], row["metric"], row["n"]) for row in rows] == expected * 2
    assert {row["evaluation"].partition(" ")[0] for row in rows[:12]} == {"builtin.logistic_regression"}
    assert {row["evaluation"].partition(" ")[0] for row in rows[12:]} == {"builtin.fine_tune"}
    intervals = [(row["interval"], row["value"]) for row in rows if row["metric"] != "voc_map"]
    assert all(0 <= low <= value <= high <= 1 for (low, high), value in intervals)


def test_sets_that_are_not_there_are_listed_and_the_others_evaluated(miniature, weights, tmp_path):
    for dataset in ("dtd", "voc2007"):
        miniature(dataset)
    recipe = load_evaluation(RECIPE.with_name("transfer_12_linear.toml"), weights)
    run(recipe, data_root=miniature.root, into=tmp_path / "run", workers=0, skip_absent=True)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {row["data"] for row in summary["results"]} == {"dtd", "voc2007"}
    assert len(summary["skipped"]) == 10
    assert "food" in summary["skipped"]["evaluate.0 (builtin.logistic_regression)"]
