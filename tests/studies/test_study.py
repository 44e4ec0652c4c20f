"""A study's folder: what was planned and what came of it outlive kills, other sweeps and later versions."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from sslkit.errors import RunError
from sslkit.recipe.resolve import load_recipe
from sslkit.recipe.sweep import load_sweep
from sslkit.studies.records import Record, add_record, read_records, record_of
from sslkit.studies.study import is_study, point_name, point_recipe, read_study, write_plan


@pytest.fixture
def sweep(light):
    axes = '\n[sweep.axes]\npretrain.epochs = [1, 2]\nseed = [0, 1]\n[[sweep.report]]\ntitle = "A chart"\n'
    return load_sweep(light(more=axes), ["pretrain.batch_size=8"])


def test_a_plan_is_read_back_with_the_records_of_its_points_only(sweep, tmp_path):
    folder = tmp_path / "study"
    write_plan(folder, sweep)
    assert is_study(folder)
    ids = [point.id for point in sweep.points]
    add_record(folder, Record(ids[1], {"epochs": "2"}, 0, results=({"value": 0.5},), pretraining={"loss": 1.0}))
    add_record(folder, Record("of a former recipe"))
    study = read_study(folder)
    assert [point["id"] for point in study.points] == ids
    assert [axis.labels for axis in study.axes] == [("1", "2")]
    assert study.seeds == (0, 1)
    assert study.charts[0]["title"] == "A chart"
    assert study.overrides == ("pretrain.batch_size=8",)
    assert study.recipe["pretrain"]["batch_size"] == 8
    (record,) = study.records
    assert record == Record(ids[1], {"epochs": "2"}, 0, results=({"value": 0.5},), pretraining={"loss": 1.0})


def test_each_point_has_a_recipe_of_its_own_that_is_that_very_run(sweep, tmp_path):
    write_plan(tmp_path / "study", sweep)
    for point in sweep.points:
        recipe = load_recipe(point_recipe(tmp_path / "study", point))
        assert (recipe.seed, recipe.pretrain.epochs) == (point.recipe.seed, point.recipe.pretrain.epochs)


def test_the_last_line_of_a_run_counts(tmp_path):
    add_record(tmp_path, Record("a", status="failed", reason="crash"))
    add_record(tmp_path, Record("b"))
    add_record(tmp_path, Record("a", seconds=3.0))
    records = read_records(tmp_path)
    assert list(records) == ["b", "a"]
    assert (records["a"].status, records["a"].seconds) == ("finished", 3.0)


def test_a_label_may_hold_what_some_take_for_the_end_of_a_line(tmp_path):
    labels = ["a", "non\u2028breaking", "next\x85line"]
    for label in labels:
        add_record(tmp_path, Record(label, {"axis": label}))
    assert [record.labels["axis"] for record in read_records(tmp_path).values()] == labels


def test_a_line_that_a_kill_has_cut_is_lost_and_no_other(tmp_path):
    add_record(tmp_path, Record("a"))
    add_record(tmp_path, Record("b"))
    path = tmp_path / "results.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    add_record(tmp_path, Record("c"))
    assert list(read_records(tmp_path)) == ["a", "c"]


def test_what_is_no_record_is_left_out_and_unknown_keys_too(tmp_path):
    (tmp_path / "results.jsonl").write_text('nothing\n[1]\n{"id": "a", "later": 1}\n{"id": "b", "results": 3}\n\xff\n')
    assert list(read_records(tmp_path)) == ["a"]


def test_many_may_add_at_the_same_time(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: add_record(tmp_path, Record(str(number), reason="x" * 5000)), range(200)))
    assert len(read_records(tmp_path)) == 200


def test_a_finished_run_becomes_a_record_with_the_means_of_its_last_tenth(sweep, tmp_path):
    point = sweep.points[0]
    run = tmp_path / "run"
    run.mkdir()
    assert record_of(point, run, None) is None
    (run / "metrics.jsonl").write_text(
        '{"step":18,"epoch":1,"loss":9.0}\n{"step":19,"epoch":1,"loss":3.0,"contrastive_accuracy":0.5}\n'
        '{"step":20,"epoch":1,"loss":1.0,"contrastive_accuracy":0.7}\n'
    )
    (run / "resolved.toml").write_text("[derived]\nnum_images = 640\n")
    (run / "environment.json").write_text('{"torch": "2.14", "threads": 2, "commit": "abc", "command": ["x"]}')
    (run / "summary.json").write_text('{"status": "stopped"}')
    assert record_of(point, run, None) is None
    row = {"index": 0, "features": "h", "weights": "pretrained", "seed": 0, "value": 0.25}
    summary = {"status": "finished", "seconds": 4.0, "parameters": 7, "results": [row]}
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "evaluate" / "0-builtin.linear").mkdir(parents=True)
    results = [row | {"metrics": {"top5": 0.75}}, row | {"features": "z", "metrics": {"top5": 0.5}}]
    (run / "evaluate" / "0-builtin.linear" / "metrics.json").write_text(json.dumps({"results": results}))
    record = record_of(point, run, None)
    assert record.pretraining == {"parameters": 7, "images": 640, "loss": 2.0, "contrastive_accuracy": 0.6}
    assert record.environment == {"torch": "2.14", "threads": 2, "commit": "abc"}
    assert (record.id, record.labels, record.results) == (
        point.id,
        {"epochs": "1"},
        (row | {"metrics": {"top5": 0.75}},),
    )


def test_names_of_files_are_safe_and_tell_runs_apart(light):
    point = '[[sweep.axes.a]]\nlabel = "{}"\nset.pretrain.epochs = {}\n'
    lines = "\n" + point.format("../../etc/passwd <b>ü</b>" + "x" * 200, 1) + point.format("../../etc/passwd <b>ü", 3)
    names = [point_name(point) for point in load_sweep(light(more=lines)).points]
    assert len(set(names)) == 2
    assert all(len(name) < 100 and "/" not in name and name.isascii() and not name.startswith(".") for name in names)


@pytest.mark.parametrize("text", ["{}", '{"schema": 1}', '{"schema": 2}', "[]", "nothing"])
def test_a_broken_plan_is_one_line(tmp_path, text):
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(RunError, match=r"study\.json") as caught:
        read_study(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_plan_is_no_study(tmp_path):
    assert not is_study(tmp_path)
    with pytest.raises(RunError, match="holds no study; name the folder that `sslkit sweep` has written"):
        read_study(tmp_path)


def test_the_folder_of_other_runs_or_of_another_study_is_left_alone(sweep, light, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "report.md").write_text("written by hand")
    with pytest.raises(RunError, match="holds other files and no study; name a new or empty folder with --into"):
        write_plan(tmp_path / "mine", sweep)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["report.md"]
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "results.jsonl").write_text("")  # brought along, to go on from
    write_plan(tmp_path / "kept", sweep)
    write_plan(tmp_path / "study", sweep)
    other = load_sweep(light('name = "light"', 'name = "other"', more="\n[sweep.axes]\npretrain.epochs = [1]\n"))
    with pytest.raises(RunError, match="holds the study light, not other"):
        write_plan(tmp_path / "study", other)


def test_the_plugins_of_a_study_are_those_of_its_beginning(sweep, tmp_path):
    write_plan(tmp_path / "study", sweep)
    (tmp_path / "light.py").write_text("nothing")  # edited while the study runs
    (kept,) = load_recipe(point_recipe(tmp_path / "study", sweep.points[0])).plugins
    assert "a light" in kept.read_text()
