"""The model card: what a run wrote down, no place of anybody's disk, nothing that could be markup."""

import json

import pytest

from sslkit import SslkitError
from sslkit.builtin.exporters.model_card import write_card

RECIPE = """
name = "birds"
description = "Birds, [click](javascript:alert(1)) <b>here</b> | or there"
[pretrain]
batch_size = 512
[pretrain.data]
name = "builtin.image_folder"
folder = "/home/anna/birds"
labels = "none"
[pretrain.objective]
name = "simclr.nt_xent"
temperature = 0.2
[[evaluate]]
name = "builtin.knn"
features = ["h"]
k = 20
[[evaluate]]
name = "builtin.linear"
epochs = 10
[evaluate.data]
name = "builtin.image_folder"
folder = "/home/anna/test"
[derived]
num_images = 12345
"""
LINEAGE = {"recipe": "birds", "seed": 3, "steps": 480, "epochs": 20, "started_from": "/home/anna/runs/owls/one"}
CARD = {
    "backbone": {"name": "builtin.timm", "options": {"model": "test_resnet", "timm_options": None}},
    "feature_dim": 96, "sha256": "ab" * 32, "sslkit": "0.1.0", "torch": "2.11", "lineage": LINEAGE,
}  # fmt: skip


def row(evaluation, value, **more):
    return {
        "evaluation": evaluation, "data": "birds", "split": "test", "features": "h", "weights": "pretrained",
        "metric": "top1", "value": value, "n": 101, "seed": 3, **more,
    }  # fmt: skip


@pytest.fixture
def a_run(tmp_path):
    folder = tmp_path / "run"
    scores = {
        "0-builtin.knn": [row("builtin.knn", 0.5), row("builtin.knn", 0.1, weights="random")],
        "1-builtin.linear": [row("builtin.linear", 0.75, interval=[0.7012, 0.8])],
    }
    for name, rows in scores.items():
        (folder / "evaluate" / name).mkdir(parents=True)
        (folder / "evaluate" / name / "metrics.json").write_text(json.dumps({"results": rows}))
    (folder / "resolved.toml").write_text(RECIPE)
    (folder / "backbone.json").write_text(json.dumps(CARD))
    return folder


@pytest.fixture
def card_of(tmp_path, make_pretrained):
    """Return a function that writes the card of weights from `source`, exported to `folder`, and returns its text."""

    def write(folder, source=None, **options):
        pretrained = make_pretrained()
        pretrained.source = source
        return write_card(pretrained, folder, tmp_path, "load('it')", **options).read_text(encoding="utf-8")

    return write


def test_it_says_what_the_run_wrote_down(a_run, card_of):
    text = card_of(a_run)
    assert text.startswith("# birds\n")
    assert "```python\nload('it')\n```" in text
    assert "float32 [N, 3, 32, 32]" in text
    for line in (
        "| objective | simclr.nt_xent (temperature = 0.2) |",
        '| data | builtin.image_folder (labels = "none") |',
        "| images | 12345 |",
        "| epochs | 20 |",
        "| batch size | 512 |",
        "| started from | one |",
        '| backbone | builtin.timm (model = "test_resnet") |',
        f"| weights | SHA-256 {'ab' * 32} |",
        "| builtin.knn | birds | test | h | top1 | 0.5000 |  | 101 | 3 |",
        "| builtin.linear | birds | test | h | top1 | 0.7500 | 0.7012 to 0.8000 | 101 | 3 |",
        "- builtin.knn (k = 20), on the images of the pretraining's data",
        "- builtin.linear (epochs = 10), on builtin.image_folder",
    ):
        assert line in text.splitlines(), line
    assert "0.1000" not in text  # a baseline is not what these weights score


def test_it_tells_no_place_and_nothing_becomes_markup(a_run, card_of):
    text = card_of(a_run)
    assert "anna" not in text
    assert r"[click]\(javascript:alert(1)) \<b\>here\</b\> \| or there" in text


def test_the_hubs_header_comes_first_and_names_no_licence(a_run, card_of):
    head, _, rest = card_of(a_run, for_hub=True).removeprefix("---\n").partition("---\n")
    assert "library_name: timm" in head.splitlines()
    assert [line for line in head.splitlines() if "license" in line] == [
        "# license: which one, is for the author to say"
    ]
    assert rest.strip().startswith("# birds")
    assert not card_of(a_run).startswith("---")


def test_an_export_elsewhere_takes_everything_from_where_the_weights_come_from(tmp_path, a_run, card_of):
    assert card_of(tmp_path / "elsewhere", source=a_run) == card_of(a_run)


def test_a_recipe_that_only_evaluates_adds_its_own_scores(tmp_path, a_run, card_of):
    later = tmp_path / "later"
    (later / "evaluate" / "0-simclr.transform_probe").mkdir(parents=True)
    rows = {"results": [row("simclr.transform_probe", 0.9, metric="mean_accuracy")]}
    (later / "evaluate" / "0-simclr.transform_probe" / "metrics.json").write_text(json.dumps(rows))
    (later / "resolved.toml").write_text('name = "later"\n[[evaluate]]\nname = "simclr.transform_probe"\n')
    text = card_of(later, source=a_run)
    assert "| epochs | 20 |" in text
    assert "| simclr.transform_probe | birds | test | h | mean_accuracy | 0.9000 |" in text
    assert "builtin.knn" not in text


def test_weights_that_nothing_is_known_of(tmp_path, card_of):
    text = card_of(tmp_path)
    assert text.startswith("# ResNet\n")
    assert "## Pretraining\n\nNot known.\n" in text
    assert "## Scores\n\nNone are known.\n" in text


def test_a_damaged_file_is_named(a_run, card_of):
    (a_run / "evaluate" / "0-builtin.knn" / "metrics.json").write_text("{")
    with pytest.raises(SslkitError, match=r"metrics\.json: cannot be read for the model card"):
        card_of(a_run)
