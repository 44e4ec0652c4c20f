from __future__ import annotations

import json
import os
import signal
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_plugin
from PIL import Image

from sslkit import DataError, Features, PluginError, RecipeError, RunError, hookimpl, load_backbone, load_recipe, run
from sslkit.engine.check import check_build
from sslkit.engine.results import feature_sample
from sslkit.engine.stops import Stopped
from sslkit.recipe.evaluation import load_evaluation

PROBES = """
from pathlib import Path
import numpy as np
import torch
from sslkit import Outcome, hookimpl, needs_labels
SSLKIT_API = 1

@hookimpl
def sslkit_register(register):
    register.evaluation("counted", "probes:counted", summary="notes every call")
    register.evaluation("meddling", "probes:meddling", summary="changes a buffer of what it is lent")

def counted(*, add: float = 0.0):
    @needs_labels
    def evaluate(pretrained, data):
        with Path(__file__).with_name("calls").open("a") as file:
            file.write(f"{pretrained.measure} {pretrained.seed}\\n")
        features = pretrained.features(data, "test")
        predicted = (features.values.sum(1).abs() * 10 + pretrained.seed).long() % data.num_classes
        right = float((predicted == features.labels).double().mean())
        arrays = {"predicted": predicted.numpy(), "label": features.labels.numpy()}
        return Outcome("top1", {"top1": right, "n": float(len(predicted))}, arrays)
    return evaluate

def meddling():
    def evaluate(pretrained, data):
        pretrained.backbone.norm.running_mean += 1e-7
        return Outcome("top1", {"top1": 0.0})
    return evaluate
"""


@pytest.fixture
def asked(recipe_file, tmp_path):
    """Return the path of a toy recipe with evaluations of our own, and its plugin overrides."""

    def write(tables):
        (tmp_path / "probes.py").write_text(PROBES)
        path = recipe_file()
        toy = Path(toy_plugin.__file__)
        text = path.read_text().partition("[[evaluate]]")[0]
        path.write_text(text.replace(f"['{toy}']", f"['{toy}', '{tmp_path / 'probes.py'}']") + tables)
        return path

    return write


def calls(tmp_path):
    return (tmp_path / "calls").read_text().split("\n")[:-1]


COUNTED = "[[evaluate]]\nname = 'local.counted'\nfeatures = ['h', 'z']\nbaselines = ['random']\nnum_seeds = 2\n"


def test_seeds_are_rows_with_intervals_and_predictions_of_their_own(asked, tmp_path):
    info = run(asked(COUNTED), into=tmp_path / "run")
    rows = json.loads((tmp_path / "run" / "summary.json").read_text())["results"]
    assert [(row["features"], row["weights"], row["seed"]) for row in rows] == [
        ("h", "pretrained", 0), ("h", "pretrained", 1), ("z", "pretrained", 0), ("z", "pretrained", 1),
        ("h", "random", 0), ("h", "random", 1),
    ]  # fmt: skip
    for row, result in zip(rows, info.results, strict=True):
        low, high = row["interval"]
        assert low <= row["value"] <= high
        assert row["n"] == 41
        with np.load(tmp_path / "run" / "evaluate" / "0-local.counted" / "predictions.npz") as arrays:
            stored = arrays[f"{row['weights']}.{row['features']}.{row['seed']}.predicted"]
            label = arrays[f"{row['weights']}.{row['features']}.{row['seed']}.label"]
        assert row["value"] == (stored == label).mean()
        assert np.array_equal(stored, result.outcome.predictions["predicted"])


class StopDuringEvaluation:
    def __init__(self, number):
        self.left = number

    @hookimpl
    def sslkit_evaluation_end(self):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def test_what_was_evaluated_before_a_stop_is_not_evaluated_again(asked, tmp_path):
    path = asked(COUNTED + "[[evaluate]]\nname = 'local.counted'\nadd = 1.0\n")
    whole = run(path, into=tmp_path / "whole")
    (tmp_path / "calls").unlink()
    with pytest.raises(Stopped, match="during evaluation"):
        run(path, into=tmp_path / "run", watchers=[StopDuringEvaluation(3)])
    assert len(calls(tmp_path)) == 3
    resumed = run(path, into=tmp_path / "run")
    assert calls(tmp_path) == ["h 0", "h 1", "z 0", "z 1", "h 0", "h 1", "h 0"]  # 7 of both together
    assert [result.row() for result in resumed.results] == [result.row() for result in whole.results]
    for name in ("metrics.json", "predictions.npz"):
        folders = [tmp_path / run / "evaluate" / "0-local.counted" for run in ("whole", "run")]
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second or name.endswith("npz")  # zip files hold the time


def test_results_of_other_options_or_weights_are_not_taken(asked, tmp_path):
    path = asked(COUNTED)
    with pytest.raises(Stopped):
        run(path, into=tmp_path / "run", watchers=[StopDuringEvaluation(2)])
    (tmp_path / "calls").unlink()
    run(path, into=tmp_path / "run", overrides=["evaluate.0.add=0.5"])
    assert len(calls(tmp_path)) == 6


def test_a_damaged_result_is_evaluated_again(asked, tmp_path):
    path = asked(COUNTED)
    with pytest.raises(Stopped):
        run(path, into=tmp_path / "run", watchers=[StopDuringEvaluation(2)])
    (tmp_path / "run" / "evaluate" / "0-local.counted" / "predictions.npz").write_bytes(b"PK\x03\x04")
    (tmp_path / "calls").unlink()
    run(path, into=tmp_path / "run")
    assert len(calls(tmp_path)) == 6


def test_an_evaluation_that_changes_a_bit_of_the_weights_is_caught(asked, tmp_path):
    with pytest.raises(PluginError, match=r"local.meddling has changed the weights it was to measure"):
        run(asked("[[evaluate]]\nname = 'local.meddling'\n"), into=tmp_path / "run")


UNLABELLED = "data = {{ name = 'builtin.image_folder', folder = '{}', labels = 'none' }}\n"


@pytest.fixture
def photographs(tmp_path):
    for split in ("train", "test"):
        (tmp_path / "images" / split).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((16, 16, 3), 40 * number, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / split / f"{number}.png")
    return tmp_path / "images"


def test_labelled_evaluations_of_unlabelled_data_are_refused_before_anything_trains(asked, tmp_path, photographs):
    path = asked("[[evaluate]]\nname = 'local.counted'\n" + UNLABELLED.format(photographs))
    message = r"evaluate.0 \(local.counted\) needs labels, and builtin.image_folder has none: use data with labels"
    with pytest.raises(RunError, match=message):
        run(path, into=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(RunError, match=message):
        check_build(load_recipe(path), None)


def test_absent_sets_are_an_error_or_skipped_on_request_and_listed(asked, tmp_path):
    absent = "[[evaluate]]\nname = 'local.counted'\ndata = {name = 'builtin.transfer_sets', dataset = 'dtd'}\n"
    path = asked(COUNTED + absent)
    with pytest.raises(DataError, match=r"evaluate.1.data"):
        run(path, into=tmp_path / "run", data_root=tmp_path)
    run(path, into=tmp_path / "run", data_root=tmp_path, skip_absent=True)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert list(summary["skipped"]) == ["evaluate.1 (local.counted)"]
    assert "dtd" in summary["skipped"]["evaluate.1 (local.counted)"]
    assert run(path, into=tmp_path / "run", data_root=tmp_path, skip_absent=True).complete
    with pytest.raises(DataError, match=r"evaluate.1.data"):  # without the flag it is not complete
        run(path, into=tmp_path / "run", data_root=tmp_path)


def test_the_evaluate_command_gives_the_scores_of_the_run(asked, tmp_path):
    path = asked(COUNTED)
    first = run(path, into=tmp_path / "run")
    again = run(load_evaluation(path, str(tmp_path / "run")), into=tmp_path / "again")
    rows = [result.row() for result in first.results]
    assert [result.row() for result in again.results[:4]] == rows[:4]
    resolved = tomllib.loads((tmp_path / "again" / "resolved.toml").read_text())
    assert resolved["weights"] == str(tmp_path / "run")
    assert "pretrain" not in resolved


def test_random_weights_need_a_backbone_only(asked, tmp_path):
    path = asked(COUNTED.replace("['h', 'z']", "['h']").replace("['random']", "[]"))
    info = run(load_evaluation(path, "random", ["backbone.input_size=16"]), into=tmp_path / "run")
    assert [result.weights for result in info.results] == ["random", "random"]


def test_samples_for_the_report_are_written(asked, tmp_path):
    run(asked(COUNTED), into=tmp_path / "run")
    with np.load(tmp_path / "run" / "evaluate" / "features_sample.npz") as arrays:
        assert {name: arrays[name].shape for name in ("h", "z", "h_random", "label")} == {
            "h": (41, 8), "z": (41, 4), "h_random": (41, 8), "label": (41,),
        }  # fmt: skip
        assert len(arrays["class_names"]) > 1
    with np.load(tmp_path / "run" / "views.npz") as arrays:
        assert arrays["views"].shape == (6, 3, 3, 16, 16)


def test_a_sample_of_many_classes_is_of_ten_that_the_seed_draws():
    class Many:
        class_names = tuple(f"class {number}" for number in range(50))

        def features(self, data, split):
            return Features(torch.arange(6000.0)[:, None].repeat(1, 2) % 97, torch.arange(6000) // 120)

        def measuring(self, measure, data=None):
            return self

    def sampled(seed):
        model = Many()
        model.seed, model.head = seed, None
        return feature_sample(model, None, model)

    sample = sampled(0)
    drawn = set(sample["label"].tolist())
    assert len(drawn) == 10
    assert len(sample["label"]) == 1200
    assert sample["drawn_from"] == 50
    rows = np.flatnonzero(np.isin(np.arange(6000) // 120, list(drawn)))
    np.testing.assert_array_equal(sample["h"][:, 0], (rows % 97).astype(np.float16))
    assert set(sampled(0)["label"].tolist()) == drawn != set(sampled(1)["label"].tolist())


def test_a_baseline_that_cannot_be_measured_is_told_before_the_run(asked, tmp_path):
    path = asked("[[evaluate]]\nname = 'builtin.own_classifier'\nfeatures = ['z']\nbaselines = ['random']\n")
    with pytest.raises(RunError, match=r"evaluate\.0 \(builtin\.own_classifier\): .*not at \"h\""):
        run(path, into=tmp_path / "run", overrides=["pretrain.head.out_dim=10"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        ("builtin.own_classifier", "the head has 4 outputs, the data 10 classes; a new classifier"),
        ("simclr.head_spectrum", "needs a head of one linear layer as wide as the features, and this one has 8 to 4"),
    ],
)
def test_a_head_that_an_evaluation_cannot_use_is_told_before_the_run(asked, tmp_path, evaluation, said):
    path = asked(f"[[evaluate]]\nname = '{evaluation}'\nfeatures = ['z']\n")
    with pytest.raises(RunError, match=rf"evaluate\.0 \({evaluation}\): {said}"):
        run(path, into=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_layers_of_the_head_are_asked_for_by_name_and_random_weights_have_none(asked, tmp_path):
    path = asked(ONE + "features = ['head.layer', 'z']\nbaselines = ['random']\n")
    info = run(path, into=tmp_path / "run")
    found = [(result.features, result.weights) for result in info.results]
    assert found == [("head.layer", "pretrained"), ("z", "pretrained"), ("h", "random")]
    assert info.results[0].outcome.metrics == info.results[1].outcome.metrics  # the head is this one layer
    again = run(path, into=tmp_path / "run", overrides=[])
    assert again.complete
    assert [result.row() for result in again.results] == [result.row() for result in info.results]
    stored = json.loads((tmp_path / "run" / "evaluate" / "0-local.counted" / "metrics.json").read_text())
    assert [row["features"] for row in stored["results"]] == ["head.layer", "z", "h"]


def test_features_do_not_depend_on_the_batch(asked, tmp_path):
    run(asked(COUNTED), into=tmp_path / "run")
    model = load_backbone(tmp_path / "run")
    images = torch.rand(60, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    whole = model.embed(images)
    for size in (1, 7):
        assert torch.allclose(torch.cat([model.embed(part) for part in images.split(size)]), whole, atol=1e-5)


ONE = "[[evaluate]]\nname = 'local.counted'\n"


def test_an_evaluation_of_other_weights_is_not_called_complete(asked, tmp_path):
    path = asked(ONE)
    for name, seed in (("a", 0), ("b", 1)):
        run(path, into=tmp_path / name, overrides=[f"seed={seed}"])
    first = load_evaluation(path, str(tmp_path / "a"))
    run(first, into=tmp_path / "scores")
    assert run(first, into=tmp_path / "scores").complete
    for other in (
        load_evaluation(path, str(tmp_path / "b")),
        load_evaluation(path, str(tmp_path / "a"), ["seed=9"]),
    ):
        with pytest.raises(RunError, match=r"is complete, but (weights|seed) was"):
            run(other, into=tmp_path / "scores")
    for name in ("backbone.safetensors", "backbone.json"):
        (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    with pytest.raises(RunError, match=r"a has changed since"):
        run(first, into=tmp_path / "scores")


def test_results_of_another_input_size_or_plugin_file_are_not_taken(asked, tmp_path):
    path = asked(ONE + ONE)
    overrides = ["evaluate.0.baselines=[]"]

    def stopped(size):
        recipe = load_evaluation(path, "random", [f"backbone.input_size={size}", *overrides])
        with pytest.raises(Stopped):
            run(recipe, into=tmp_path / "run", watchers=[StopDuringEvaluation(1)])

    stopped(16)
    assert len(calls(tmp_path)) == 1
    stopped(16)
    assert len(calls(tmp_path)) == 1
    stopped(8)
    assert len(calls(tmp_path)) == 2
    with (tmp_path / "probes.py").open("a") as file:
        file.write("# changed\n")
    stopped(8)
    assert len(calls(tmp_path)) == 3


def test_results_that_were_there_are_kept_when_more_is_asked_for(asked, tmp_path):
    path = asked(COUNTED.replace("num_seeds = 2\n", ""))
    with pytest.raises(Stopped):
        run(path, into=tmp_path / "run", watchers=[StopDuringEvaluation(2)])  # h and z of seed 0
    with pytest.raises(Stopped):
        run(path, into=tmp_path / "run", overrides=["evaluate.0.num_seeds=3"], watchers=[StopDuringEvaluation(2)])
    before = len(calls(tmp_path))
    run(path, into=tmp_path / "run", overrides=["evaluate.0.num_seeds=3"])
    assert before == 3
    assert len(calls(tmp_path)) == 9  # three features, three seeds: each once
    assert not list((tmp_path / "run" / "evaluate").glob("*/unfinished*"))


def test_nothing_of_all_that_was_asked_for_is_no_success(asked, tmp_path):
    absent = "[[evaluate]]\nname = 'local.counted'\ndata = {name = 'builtin.transfer_sets', dataset = 'dtd'}\n"
    recipe = load_evaluation(asked(absent), "random", ["backbone.input_size=16"])
    with pytest.raises(RunError, match="no data of any evaluation is there"):
        run(recipe, into=tmp_path / "run", data_root=tmp_path, skip_absent=True)


def test_an_image_that_cannot_be_read_spoils_no_sample_of_views(asked, tmp_path, photographs):
    (photographs / "train" / "0.png").write_bytes(b"broken")
    path = asked("")
    text = path.read_text()
    shapes = text[text.index("[pretrain.data]") : text.index("[pretrain.views]")]
    data = f"[pretrain.data]\nname = 'builtin.image_folder'\nfolder = '{photographs / 'train'}'\nlabels = 'none'\n"
    data += "on_bad_image = 'replace'\nmax_bad_fraction = 0.5\n"
    path.write_text(text.replace(shapes, data))
    run(path, into=tmp_path / "run", overrides=["pretrain.batch_size=2"], workers=0)
    with np.load(tmp_path / "run" / "views.npz") as arrays:
        assert arrays["views"].shape[0] == 2


def test_two_tables_of_one_evaluation_share_its_name_and_not_its_place(asked, tmp_path):
    run(asked(ONE + ONE + "add = 1.0\n"), into=tmp_path / "run")
    rows = json.loads((tmp_path / "run" / "summary.json").read_text())["results"]
    assert [(row["evaluation"], row["index"]) for row in rows] == [("local.counted", 0), ("local.counted", 1)]
    assert {path.name for path in (tmp_path / "run" / "evaluate").glob("*-*")} == {"0-local.counted", "1-local.counted"}


def test_random_weights_are_their_own_baseline(asked, tmp_path):
    path = asked("[[evaluate]]\nname = 'local.counted'\nbaselines = ['random', 'pixels']\n")
    info = run(load_evaluation(path, "random", ["backbone.input_size=16"]), into=tmp_path / "run")
    assert [(result.features, result.weights) for result in info.results] == [("h", "random"), ("pixels", "none")]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("{'top1': 0.5}", r"local.odd returned dict; it should return sslkit.Outcome"),
        ("Outcome('acc', {'top1': 0.5})", r'the headline "acc" is not among its metrics: top1'),
        ("Outcome('top1', {'top1': float('nan')})", r"evaluate.0 \(local.odd\): local.odd: top1 is nan"),
    ],
)
def test_what_an_evaluation_returns_is_checked(asked, tmp_path, returned, message):
    path = asked("[[evaluate]]\nname = 'local.odd'\n")
    odd = f"\ndef odd():\n    return lambda pretrained, data: {returned}\n"
    line = '    register.evaluation("odd", "probes:odd", summary="odd")\n'
    head = "def sslkit_register(register):\n"
    text = (tmp_path / "probes.py").read_text().replace(head, head + line)
    (tmp_path / "probes.py").write_text(text + odd)
    with pytest.raises((PluginError, RunError), match=message):
        run(path, into=tmp_path / "run")


def test_what_stands_twice_is_refused(asked):
    with pytest.raises(RecipeError, match=r'evaluate.0.features: "h" stands there twice') as caught:
        load_recipe(asked(COUNTED.replace("['h', 'z']", "['h', 'h']").replace("['random']", "['random', 'random']")))
    assert 'evaluate.0.baselines: "random" stands there twice' in str(caught.value)
