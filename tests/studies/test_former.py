"""Results of a recipe that has changed since: said, with what differs."""

import shutil

import pytest

from sslkit.recipe.sweep import load_sweep
from sslkit.studies.former import former_results
from sslkit.studies.records import Record, add_record
from sslkit.studies.study import write_plan


@pytest.fixture
def study(light, tmp_path):
    """Return a folder with two results, and a function that reads the study as it is after a change."""

    def read(old="", new="", axes="pretrain.epochs = [1, 2]"):
        return load_sweep(light(old, new, more=f"\n[sweep.axes]\n{axes}\n"))

    folder, first = tmp_path / "study", read()
    write_plan(folder, first)
    for point in first.points:
        add_record(folder, Record(point.id, point.labels, point.recipe.seed))
    return folder, read


def test_an_unchanged_recipe_and_one_with_more_values_have_no_former_results(study):
    folder, read = study
    assert former_results(folder, read()) == ""
    assert former_results(folder, read(axes="pretrain.epochs = [2, 3]")) == ""
    assert former_results(folder, read('name = "light"', 'name = "light"\ndescription = "new"')) == ""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("batch_size = 4", "batch_size = 8", "(pretrain.batch_size was 4, is 8)"),
        ('model = "tiny"', 'model = "huge"\ndepth = 2', '(pretrain.backbone.model was "tiny", is "huge")'),
        ("batch_size = 4", "batch_size = 4\nmicro_batch_size = 2", "(pretrain.micro_batch_size was not set, is 2)"),
        ('name = "local.evaluation"', 'name = "local.evaluation"\nk = 5', "(evaluate.0.k was 20, is 5)"),
    ],
)
def test_the_first_key_that_differs_is_named(study, old, new, told):
    folder, read = study
    line = former_results(folder, read(old, new))
    assert line == f"2 finished runs here belong to another recipe {told}"


def test_what_all_runs_had_in_common_tells_it_where_only_the_two_files_are_kept(study):
    folder, read = study
    shutil.rmtree(folder / "points")
    assert "(pretrain.batch_size was 4, is 8)" in former_results(folder, read("batch_size = 4", "batch_size = 8"))


def test_runs_that_failed_or_have_been_repeated_are_not_missed(study):
    folder, read = study
    changed = read("batch_size = 4", "batch_size = 8")
    first = changed.points[0]
    add_record(folder, Record(first.id, first.labels, first.recipe.seed))
    assert former_results(folder, changed).startswith("1 finished run here belongs to")
    old = read().points[1]
    add_record(folder, Record(old.id, old.labels, old.recipe.seed, "failed"))
    assert former_results(folder, changed) == ""
