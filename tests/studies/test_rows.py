"""Runs that differ only in their seed are one row."""

import csv
import io
import json

import pytest

from sslkit.studies.collect import read_runs
from sslkit.studies.rows import gathered
from sslkit.studies.tables import csv_text, json_text, markdown_text


def rows(*folders, **options):
    return gathered(read_runs(folders), **options)


def test_seeds_become_mean_and_deviation(write_run):
    folders = [write_run(f"{seed}", {"value": value}, seed=seed) for seed, value in enumerate((0.5, 0.6, 0.7))]
    (row,) = rows(*folders)
    assert (row.value, row.deviation, row.seeds) == (pytest.approx(0.6), pytest.approx(0.1), 3)
    assert row.folders == tuple(folders)
    assert row.interval is None
    assert [(row.value, row.seeds) for row in rows(*folders, each=True)] == [(0.5, 1), (0.6, 1), (0.7, 1)]


def test_one_seed_has_an_interval_and_no_deviation(write_run):
    (row,) = rows(write_run("a", {"value": 0.5, "interval": [0.4, 0.6]}))
    assert (row.value, row.deviation, row.seeds, row.interval) == (0.5, None, 1, (0.4, 0.6))


@pytest.mark.parametrize("more", ["[pretrain]\nepochs = 2", "description = 'x'", "weights = 'elsewhere'"])
def test_another_recipe_is_another_row(write_run, more):
    assert len(rows(write_run("a", {"value": 0.5}), write_run("b", {"value": 0.6}, seed=1, more=more))) == 2


def test_other_test_images_are_another_row(write_run):
    first = write_run("a", {"value": 0.5})
    assert len(rows(first, write_run("b", {"value": 0.6, "data_fingerprint": "bbbb"}, seed=1))) == 2


def test_other_pretraining_images_are_another_row(write_run):
    folders = [write_run(name, {"value": 0.5}, seed=seed) for seed, name in enumerate("ab")]
    for folder in folders:
        (folder / "backbone.json").write_text(json.dumps({"lineage": {"data": folder.name}}))
    assert len(rows(*folders)) == 2


def test_where_data_lies_is_no_difference_but_which_data_is(write_run):
    def data(folder):
        return f"[pretrain.data]\nfolder = '{folder}'"

    first = write_run("a", {"value": 0.5}, more=data("/here/birds"))
    assert len(rows(first, write_run("b", {"value": 0.6}, seed=1, more=data("/there/birds")))) == 1
    assert len(rows(first, write_run("c", {"value": 0.6}, seed=1, more=data("/there/fish")))) == 2


def test_what_follows_from_the_recipe_is_no_difference(write_run):
    folders = [
        write_run(f"{world}", {"value": 0.5}, seed=world, more=f"[derived]\nworld_size = {world}") for world in (1, 2)
    ]
    assert len(rows(*folders)) == 1


def test_a_seed_that_was_run_twice_counts_once(write_run):
    folders = [write_run("a", {"value": 0.1}), write_run("b", {"value": 0.5}), write_run("c", {"value": 0.7}, seed=1)]
    (row,) = rows(*folders)
    assert (row.value, row.seeds, row.folders) == (pytest.approx(0.6), 2, tuple(folders[1:]))


def test_a_repetition_that_did_not_finish_hides_no_finished_run(write_run):
    finished, earlier = write_run("b", {"value": 0.5}), write_run("a", {"value": 0.1}, status="stopped")
    later = write_run("c", {"value": 0.2}, status="failed")
    (row,) = rows(earlier, finished, later)
    assert (row.value, row.folders, row.status) == (0.5, (finished,), "finished")
    (row,) = rows(earlier, later)
    assert (row.value, row.status) == (0.2, "failed")


@pytest.mark.parametrize("weights", ["random", "timm:resnet18"])
def test_weights_that_are_named_otherwise_are_no_folder(write_run, monkeypatch, weights):
    source = write_run("source")
    monkeypatch.chdir(source)
    named = write_run("a", {"value": 0.5}, more=f"weights = '{weights}'")
    assert len(rows(named, write_run("b", {"value": 0.6}, more=f"weights = '{source}'"))) == 2


def test_evaluations_of_weights_differ_by_the_seeds_of_the_weights(write_run):
    sources = [write_run(f"source{seed}", seed=seed) for seed in (0, 1)]
    folders = [write_run(f"of{s.name}", {"value": 0.5}, more=f"weights = '{s}'") for s in sources]
    (row,) = rows(*folders)
    assert row.seeds == 2
    other = write_run("other", seed=2, more="[pretrain]\nepochs = 9")
    assert len(rows(*folders, write_run("ofother", {"value": 0.5}, more=f"weights = '{other}'"))) == 2


def test_weights_that_name_their_own_run_come_to_an_end(write_run, tmp_path):
    folder = write_run("a", {"value": 0.5}, more=f"weights = '{tmp_path / 'a'}'")
    assert len(rows(folder)) == 1


def test_seeds_of_an_evaluation_are_averaged_in_each_run(write_run):
    def run(name, values, seed):
        return write_run(name, *({"value": value, "seed": s} for s, value in enumerate(values)), seed=seed)

    first = run("a", [0.4, 0.6], 0)
    (alone,) = rows(first)
    assert (alone.value, alone.deviation, alone.seeds) == (0.5, pytest.approx(0.1 * 2**0.5), 2)
    (row,) = rows(first, run("b", [0.6, 0.8], 1))
    assert (row.value, row.deviation, row.seeds) == (pytest.approx(0.6), pytest.approx(0.1 * 2**0.5), 2)
    assert [row.value for row in rows(first, each=True)] == [0.4, 0.6]


def test_a_seed_that_is_no_number_is_not_averaged_away(write_run):
    (row,) = rows(write_run("a", {"value": 0.5}), write_run("b", {"value": float("nan")}, seed=1))
    assert (row.value, row.seeds) == (None, 2)


def test_runs_without_a_score_have_a_row_each(write_run):
    found = rows(write_run("a", status="failed"), write_run("b", {"value": 0.5}), write_run("c", status="stopped"))
    assert [(row.status, row.reason, row.score is None) for row in found] == [
        ("failed", "because", True),
        ("finished", "", False),
        ("stopped", "because", True),
    ]


def test_different_statuses_are_counted(write_run):
    (row,) = rows(write_run("a", {"value": 0.5}), write_run("b", {"value": 0.5}, seed=1, status="stopped"))
    assert row.status == "1 finished, 1 stopped"


def test_text_from_outside_is_neither_formula_nor_markup(write_run):
    folder = write_run("a", {"value": 0.5, "evaluation": "=HYPERLINK(1)", "data": "a|b<c>\x1b[31m", "metric": "rankme"})
    found = rows(folder)
    (cell,) = csv.DictReader(io.StringIO(csv_text(found)))
    assert cell["evaluation"] == "'=HYPERLINK(1)"
    assert cell["data"] == r"a|b<c>\x1b[31m"
    line = markdown_text(found).splitlines()[2]
    assert r"a\|b\<c>" in line
    assert "\x1b" not in line
    assert line.count(" | ") == 7


def test_csv_and_json_say_the_same_unrounded(write_run):
    found = rows(
        write_run("a", {"value": 1 / 3, "interval": [-0.25, 0.5]}),
        write_run("b", {"value": float("nan")}, more="x = 1"),
    )
    lines = [*csv.DictReader(io.StringIO(csv_text(found)))]
    objects = json.loads(json_text(found))
    assert float(lines[0]["value"]) == objects[0]["value"] == 1 / 3
    assert (lines[0]["low"], lines[0]["high"]) == ("-0.25", "0.5")
    assert (lines[1]["value"], objects[1]["value"]) == ("", None)
    assert lines[0].keys() == objects[0].keys() == objects[1].keys()
