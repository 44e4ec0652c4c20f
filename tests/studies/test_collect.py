"""Run folders read back: real ones, unfinished ones, and whatever else lies there."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from sslkit import RunError
from sslkit.studies.collect import read_runs

STORED = {"predicted": np.array([0, 1, 1, 1]), "label": np.array([0, 1, 0, 1])}
RIGHT = {"value": 0.75, "stored": STORED}


def only(path):
    (run,) = read_runs([path])
    return run


def test_a_real_run_comes_back_with_its_predictions(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    from toy_recipe import RECIPE

    from sslkit import run

    (tmp_path / "toy.toml").write_text(RECIPE.replace("[[evaluate]]", "[[evaluate]]\nnum_seeds = 2"))
    into = tmp_path / "run"
    results = run(tmp_path / "toy.toml", into=into, device="cpu", workers=0).results
    found = only(into)
    assert (found.name, found.status, found.seed, found.reason) == ("toy", "finished", 0, "")
    assert found.seconds > 0
    assert found.pretraining_data
    assert [(s.features, s.weights, s.seed) for s in found.scores] == [
        (features, weights, seed)
        for features, weights in [("h", "pretrained"), ("z", "pretrained"), ("h", "random"), ("pixels", "none")]
        for seed in (0, 1)
    ]
    for score, result in zip(found.scores, results, strict=True):
        assert score.value == result.outcome.metrics["top1"] == score.metrics["top1"]
        assert score.interval == result.interval
        assert score.n == 41
        stored = score.predictions()
        assert stored.keys() == result.outcome.predictions.keys()
        assert (stored["predicted"] == stored["label"]).mean() == pytest.approx(score.value)
    assert found.scores[6].title == "builtin.knn on builtin.shapes, raw pixels"
    assert found.scores[4].title == "builtin.knn on builtin.shapes, h, random backbone"
    sys.modules.pop("toy_recipe", None)


def test_folders_of_runs_are_looked_through_and_no_run_comes_twice(write_run):
    first, second = write_run("runs/a/1", RIGHT), write_run("runs/b/2", RIGHT)
    assert [run.folder for run in read_runs([first.parents[1], second])] == [first, second]


def test_what_is_no_run_is_a_mistake(tmp_path):
    with pytest.raises(RunError, match="there is no such folder"):
        read_runs([tmp_path / "nowhere"])
    with pytest.raises(RunError, match="holds no run"):
        read_runs([tmp_path])


@pytest.mark.parametrize("status", ["running", "stopped", "failed"])
def test_a_run_that_did_not_finish_has_its_status_and_the_scores_so_far(write_run, status):
    run = only(write_run("a", RIGHT, status=status))
    assert (run.status, run.reason, run.scores[0].value) == (status, "because", 0.75)


def test_a_run_that_only_has_a_recipe_has_begun(write_run):
    folder = write_run("a")
    (folder / "summary.json").unlink()
    assert only(folder).status == "begun"


BREAKS = {
    "resolved.toml": "name = \n",
    "summary.json": "{",
    "evaluate/0-builtin.knn/metrics.json": '{"results": [{"evaluation": "builtin.knn"}]}',
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_file_makes_a_broken_run_that_names_it(write_run, name):
    folder = write_run("a", RIGHT)
    (folder / name).write_text(BREAKS[name])
    run = only(folder)
    assert run.status == "broken"
    assert str(folder / name) in run.reason


@pytest.mark.parametrize("results", [3, ["x"], [{"value": "x"}], {"a": 1}, [None]])
def test_results_of_any_shape_are_no_traceback(write_run, results):
    folder = write_run("a", RIGHT)
    (folder / "evaluate" / "0-builtin.knn" / "metrics.json").write_text(json.dumps({"results": results}))
    assert only(folder).status == "broken"


@pytest.mark.parametrize("recipe", ["evaluate = 3", "evaluate = ['x']", "name = 3\nseed = 'x'", "a = inf"])
def test_a_recipe_of_any_shape_is_no_traceback(write_run, recipe):
    folder = write_run("a", RIGHT)
    (folder / "resolved.toml").write_text(recipe)
    assert only(folder).scores[0].value == 0.75


def test_a_value_that_is_no_number_is_none(write_run):
    assert only(write_run("a", {"value": float("nan")})).scores[0].value is None


def test_a_summary_alone_has_the_scores_but_no_predictions(tmp_path):
    row = {"evaluation": "builtin.knn", "data": "d", "features": "h", "weights": "pretrained", "metric": "top1",
           "value": 0.5}  # fmt: skip
    (tmp_path / "summary.json").write_text(json.dumps({"status": "finished", "name": "old", "results": [row]}))
    run = only(tmp_path)
    assert (run.name, run.scores[0].value, run.scores[0].predictions()) == ("old", 0.5, {})


def test_what_another_recipe_left_behind_does_not_count(write_run):
    folder = write_run("a", RIGHT)
    (folder / "evaluate" / "0-builtin.knn").rename(folder / "evaluate" / "1-builtin.knn")
    assert only(folder).scores == ()


def test_predictions_that_cannot_be_read_say_so(write_run):
    folder = write_run("a", RIGHT)
    (folder / "evaluate" / "0-builtin.knn" / "predictions.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(RunError, match=r"predictions\.npz: cannot be read"):
        only(folder).scores[0].predictions()


def test_predictions_of_a_layer_are_not_those_of_the_layer_inside_it(write_run):
    inner = {"predicted": np.array([1, 1, 1, 1]), "label": STORED["label"]}
    folder = write_run(
        "a",
        RIGHT | {"features": "layer3"},
        {"value": 0.5, "features": "layer3.0", "stored": inner},
        {"value": 0.5, "features": "layer3.0", "stored": inner, "seed": 1},
    )
    outer = only(folder).scores[0].predictions()
    assert outer.keys() == STORED.keys()
    assert outer["predicted"].tolist() == STORED["predicted"].tolist()


def test_predictions_without_a_seed_in_their_names_are_found(write_run):
    folder = write_run("a", RIGHT)
    of_index = folder / "evaluate" / "0-builtin.knn"
    rows = json.loads((of_index / "metrics.json").read_text())
    del rows["results"][0]["predictions"]
    (of_index / "metrics.json").write_text(json.dumps(rows))
    np.savez(of_index / "predictions.npz", **{f"pretrained.h.{name}": array for name, array in STORED.items()})
    assert only(folder).scores[0].predictions().keys() == STORED.keys()


def test_evaluations_of_one_name_are_told_apart_by_what_differs(write_run):
    def of(index, options):
        return RIGHT | {"index": index, "options": f"features = ['h']\n{options}"}

    first = write_run("a", of(0, "k = 20\nt = 1"), of(1, "k = 200\nt = 1"))
    second = write_run("b", of(0, "k = 200\nt = 1"))
    runs = read_runs([first, second])
    assert [[score.setting for score in run.scores] for run in runs] == [["k=20", "k=200"], ["k=200"]]
    assert only(second).scores[0].setting == ""


def test_data_sets_of_one_component_are_told_apart_by_their_folder_or_name(write_run):
    def of(index, data):
        return RIGHT | {"index": index, "data": "builtin.sets", "options": f"[evaluate.data]\n{data}"}

    run = only(write_run("a", of(0, "folder = '/data/x/birds'"), of(1, "folder = '/data/x/food'")))
    assert [score.title for score in run.scores] == [
        "builtin.knn (birds) on builtin.sets, h",
        "builtin.knn (food) on builtin.sets, h",
    ]


def test_an_evaluation_without_data_of_its_own_has_those_of_the_pretraining(write_run):
    more = "[pretrain.data]\nname = 'builtin.sets'\nfolder = '/data/x/birds'"
    of = RIGHT | {"data": "builtin.sets"}
    other = "[evaluate.data]\nname = 'builtin.sets'\nfolder = '/data/x/food'"
    run = only(write_run("a", of, of | {"index": 1, "options": other}, more=more))
    assert [score.setting for score in run.scores] == ["birds", "food"]


def test_equal_tables_are_counted_and_what_differs_only_in_features_is_not(write_run):
    run = only(write_run("a", RIGHT, RIGHT | {"features": "z", "index": 1}, RIGHT | {"index": 2}))
    assert [score.setting for score in run.scores] == ["", "", "no. 2"]


def test_an_option_whose_name_begins_like_a_key_of_the_engine_tells_tables_apart(write_run):
    of = [RIGHT | {"index": index, "options": f"features_kept = {index}"} for index in (0, 1)]
    assert [score.setting for score in only(write_run("a", *of)).scores] == ["features_kept=0", "features_kept=1"]


@pytest.mark.parametrize(
    ("more", "baseline"),
    [('weights = "random"', False), ('weights = "elsewhere"', True), ('weights = "random"\n[pretrain]', True)],
)
def test_random_weights_are_a_baseline_but_where_the_run_is_about_them(write_run, more, baseline):
    run = only(
        write_run("a", RIGHT | {"weights": "random"}, RIGHT | {"weights": "none", "features": "pixels"}, more=more)
    )
    assert [score.is_baseline for score in run.scores] == [baseline, True]
