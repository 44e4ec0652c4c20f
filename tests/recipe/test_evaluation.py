from __future__ import annotations

import pytest

from sslkit import RecipeError
from sslkit.recipe.evaluation import load_evaluation


@pytest.fixture
def recipe(light):
    return light()


def test_a_pretraining_recipe_lends_its_data_and_for_bare_weights_its_backbone(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = load_evaluation(recipe, "w.pth", ["backbone.input_size=16"])
    assert found.pretrain is None
    assert found.weights == str(tmp_path / "w.pth")
    assert [plan.data.component.name for plan in found.evaluate] == ["local.made"]
    assert found.backbone.component.name == "local.backbone"
    assert found.backbone.keys["input_size"] == 16


def test_weights_that_say_themselves_get_no_backbone(recipe, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "backbone.json").write_text("{}")
    for weights in (tmp_path / "run", tmp_path / "run" / "backbone.safetensors", "timm:resnet18.a1_in1k"):
        found = load_evaluation(recipe, str(weights))
        assert found.backbone is None
        assert found.weights == str(weights)


def test_random_is_no_path(recipe):
    assert load_evaluation(recipe, "random").weights == "random"


def test_a_recipe_without_evaluations_is_refused(light):
    with pytest.raises(RecipeError, match=r"has no \[\[evaluate\]\] table"):
        load_evaluation(light('[[evaluate]]\nname = "local.evaluation"\n'), "random")


@pytest.mark.parametrize(
    ("beside", "named", "lent"),
    [
        (("config.json",), "", False),  # a folder in timm's form
        (("backbone.json",), "mine.pth", True),  # some other file beside a card
        (("backbone.json",), "backbone.safetensors", False),
        ((), "", True),
    ],
)
def test_who_is_lent_a_backbone(recipe, tmp_path, beside, named, lent):
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in beside:
        (folder / name).write_text("{}")
    assert (load_evaluation(recipe, str(folder / named)).backbone is not None) == lent
