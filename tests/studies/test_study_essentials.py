"""What a study's report says of its runs: enough to tell one that was shortened from the paper's."""

from dataclasses import replace

from sslkit.studies.study_report.essentials import essentials_of
from sslkit.studies.study_report.page import study_page
from sslkit.studies.study_report.text import study_markdown

RECIPE = {
    "name": "toy",
    "pretrain": {
        "epochs": 3, "data": {"name": "builtin.shapes", "image_size": 32, "seed": 7},
        "views": {"name": "simclr.two_crops", "image_size": 24},
        "backbone": {"name": "builtin.timm", "model": "resnet18"},
        "objective": {"name": "simclr.nt_xent", "temperature": 0.5, "normalise": True},
        "optimizer": {"name": "local.sgd", "learning_rate": 0.3, "learning_rate_scaling": "linear", "weight_decay": 0},
        "schedule": {"learning_rate": {"name": "builtin.cosine", "warmup_epochs": 1.0}},
    },
    "evaluate": [{"name": "builtin.knn", "features": ["h"], "baselines": ["random"], "k": 20, "num_seeds": 1}],
}  # fmt: skip


def test_the_report_says_what_was_run(make_study, result):
    found = [result(0.5)], {"parameters": 11_200_000, "images": 640}
    study = make_study({"batch": ["64", "128"]}, lambda labels, seed: found, seeds=(0, 4))
    study = replace(study, recipe=RECIPE, overrides=("pretrain.epochs=3", "pretrain.data.num_train=640"))
    assert {name: text for name, text in essentials_of(study).items() if text} == {
        "overrides": "pretrain.epochs=3 pretrain.data.num_train=640",
        "network": "resnet18 (builtin.timm), 11.20 M parameters",
        "images": "builtin.shapes, image size 32, 640 in all, 100 to test on, views of 24 x 24 pixels",
        "training": "epochs 3, batch size varied",
        "objective": "simclr.nt_xent, temperature 0.5",
        "optimizer": "local.sgd, learning rate 0.3, scaling linear, weight decay 0, builtin.cosine, warmup epochs 1",
        "evaluation": "builtin.knn on h, random weights, k 20",
    }
    page = study_page(study)
    assert "<dt>seeds</dt><dd>2: 0, 4</dd>" in page
    assert "model = &quot;resnet18&quot;" in page[page.index("<details>") : page.index("</details>")]
    assert "- network: resnet18" in study_markdown(study)
    assert "varied" not in study_page(replace(study, recipe={}))  # of a plan by an older version


def test_a_study_that_pretrains_nothing_says_its_weights(make_study):
    study = replace(
        make_study({"what": ["a"]}, lambda labels, seed: 0.5),
        recipe={"weights": "random", "backbone": {"name": "builtin.timm", "model": "resnet18"}, "evaluate": []},
    )
    assert essentials_of(study)["weights"] == "random"
    assert essentials_of(study)["network"] == "resnet18 (builtin.timm)"
    assert essentials_of(study)["training"] == essentials_of(study)["objective"] == ""


def test_what_varies_is_told_from_what_there_is_not(make_study):
    plan = RECIPE["pretrain"] | {"backbone": {}, "objective": {}, "data": {}}
    study = make_study({"what": ["a"]}, lambda labels, seed: None)
    told = essentials_of(replace(study, recipe={"pretrain": plan, "evaluate": []}))
    assert (told["network"], told["objective"], told["evaluation"]) == ("varied", "varied", "varied")
    assert told["images"].startswith("varied, ")
    lacking = {key: value for key, value in RECIPE["pretrain"].items() if key not in ("backbone", "objective")}
    told = essentials_of(replace(study, recipe={"pretrain": lacking}))
    assert (told["network"], told["objective"], told["evaluation"]) == ("", "", "")
