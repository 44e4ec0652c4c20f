"""`sslkit sweep`: what it says of a study, and what it does not run."""

import json

import pytest

from sslkit.__main__ import main
from sslkit.cli import forecast
from sslkit.cli.sweep import part
from sslkit.recipe.sweep import load_sweep
from sslkit.studies.records import Record, add_record
from sslkit.studies.study import write_plan

AXES = "\n[sweep.axes]\npretrain.epochs = [1, 2, 3]\nevaluate.0.k = [5, 9]\nseed = [0, 1]\n"


@pytest.fixture
def recipe(light):
    return light(more=AXES)


def chosen(recipe, *words):
    """Return the numbers of the points that a command line asks for."""
    from sslkit.cli import parser
    from sslkit.cli.sweep import _chosen

    arguments = parser().parse_args(["sweep", str(recipe), *words])
    return [point.number for point in _chosen(load_sweep(recipe), arguments.only, arguments.part)]


def test_parts_are_everything_once_and_keep_together_what_shares_a_pretraining(recipe):
    parts = [chosen(recipe, "--part", f"{number}/4") for number in range(1, 5)]
    assert sorted(number for numbers in parts for number in numbers) == list(range(1, 13))
    points = load_sweep(recipe).points
    shared = [{points[number - 1].pretraining for number in numbers} for numbers in parts]
    assert sum(map(len, shared)) == len(set().union(*shared))


def test_only_takes_labels_of_axes_and_seeds(recipe):
    assert chosen(recipe, "--only", "epochs=2", "--only", "seed=1") == [9, 10]
    assert chosen(recipe, "--only", "pretrain.epochs=2", "--only", "epochs=3", "--only", "k=9") == [4, 6, 10, 12]
    assert chosen(recipe, "--only", "0.k=9.0", "--only", "epochs=1") == [2, 8]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--only", "epoch=2"], "no axis is called 'epoch'; did you mean"),
        (["--only", "number=2"], "no axis is called 'number'; the axes are epochs, k, seed"),
        (["--only", "epochs"], "say which of its points, as AXIS=LABEL"),
        (["--only", "epochs=4"], "epochs has the points 1, 2, 3"),
        (["--only", "seed=7"], "seed has the points 0, 1"),
    ],
)
def test_what_is_not_there_is_a_line(recipe, capsys, words, says):
    assert main(["sweep", str(recipe), *words]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("text", ["3", "0/2", "3/2", "1/0", "a/b", "1/2/3"])
def test_a_part_is_a_number_of_a_number(text, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "x.toml", "--part", text])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: argument --part: '{text}' should be two whole numbers such as 3/20")
    assert part("3/20") == (3, 20)


def test_a_recipe_without_a_sweep_names_the_command_for_it(light, capsys):
    assert main(["sweep", str(light())]) == 2
    assert "has no [sweep] table; sslkit run" in capsys.readouterr().err


def toy(tmp_path, more):
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from toy_recipe import RECIPE

    path = tmp_path / "toy.toml"
    path.write_text(RECIPE + more)
    return path


def test_a_dry_run_lists_runs_with_what_they_cost_and_runs_nothing(tmp_path, capsys):
    recipe = toy(tmp_path, "[sweep.axes]\nevaluate.0.k = [3, 5]\npretrain.epochs = [1, 2]\n")
    folder = tmp_path / "study"
    done = load_sweep(recipe).points[0]
    folder.mkdir()
    add_record(folder, Record(done.id, done.labels, 0))
    assert main(["sweep", str(recipe), "--dry-run", "--into", str(folder), "--device", "cpu"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split(maxsplit=2) == ["1", "finished", "k 3, epochs 1, seed 0"]
    assert said[4] == "4 runs, 1 of them done"
    assert said[5].startswith("to do: ")
    assert "floating-point operations" in said[5]
    assert [path.name for path in folder.iterdir()] == ["results.jsonl"]


def dry(recipe, folder, *words, code=0):
    assert main(["sweep", str(recipe), "--dry-run", "--into", str(folder), "--device", "cpu", *words]) == code


def test_what_it_takes_to_start_is_in_the_estimate_as_it_was_in_runs_that_have_finished(tmp_path, capsys):
    recipe = toy(tmp_path, "[sweep.axes]\npretrain.epochs = [1, 2]\n")
    dry(recipe, tmp_path / "study")
    assert " for each run to start, as long as this command took" in capsys.readouterr().out
    for number, seconds in enumerate((600.0, 6000.0, None, 60_000.0)):
        add_record(tmp_path, Record(str(number), beside=seconds))
    dry(recipe, tmp_path)
    said = capsys.readouterr().out
    assert said.count("  1 h 40 min  epochs") == 2
    assert "3 h 20 min on this machine" in said
    assert "of that 1 h 40 min for each run to start and to write its page" in said
    dry(toy(tmp_path, "[sweep.axes]\nevaluate.0.k = [3, 5]\n"), tmp_path)
    assert "5 h 00 min on this machine" in capsys.readouterr().out  # the pretraining that both share is a third one


def test_a_dry_run_says_on_stderr_how_far_it_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(forecast, "_SAY_AGAIN", -1.0)
    dry(toy(tmp_path, "[sweep.axes]\npretrain.epochs = [1, 2]\n"), tmp_path / "study")
    assert capsys.readouterr().err == "estimated 1 of 2 runs\nestimated 2 of 2 runs\n"


def test_runs_that_cannot_begin_are_named_with_their_place_and_the_others_are_estimated(tmp_path, capsys):
    recipe = toy(tmp_path, "[sweep.axes]\npretrain.batch_size = [16, 128]\nseed = [0, 1]\n")
    line = recipe.read_text().splitlines().index("pretrain.batch_size = [16, 128]") + 1
    fault = f"error: {recipe}:{line} batch_size 128, seed 0 and 1 other: pretrain.batch_size = 128, but there are 64"
    dry(recipe, tmp_path / "study", code=2)
    said = capsys.readouterr()
    assert [row.split(maxsplit=1)[1][:12] for row in said.out.splitlines() if "128" in row] == ["cannot begin"] * 2
    assert "4 runs, 0 of them done\nto do: " in said.out
    assert " floating-point operations; " in said.out
    assert said.err.startswith(fault)
    assert main(["sweep", str(recipe), "--into", str(tmp_path / "study"), "--device", "cpu"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(fault)
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert not (tmp_path / "study").exists()


def test_data_that_are_not_there_are_missed_before_anything_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos = "{ name = 'builtin.image_folder', folder = 'photos' }"
    more = f"[[evaluate]]\nname = 'builtin.knn'\ndata = {photos}\n[sweep.axes]\npretrain.epochs = [1, 2]\n"
    recipe, folder = toy(tmp_path, more), tmp_path / "study"
    missed = "evaluate.1.data (builtin.image_folder): photos: no such folder"
    dry(recipe, folder)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: ")
    assert missed in line
    assert "say --data-root DIR" in line
    dry(recipe, folder, "--skip-absent")
    assert capsys.readouterr().err == ""
    assert main(["sweep", str(recipe), "--into", str(folder), "--data-root", "/nowhere"]) == 2
    said = capsys.readouterr()
    assert missed.replace("photos", "/nowhere/photos") in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert not folder.exists()


def test_results_of_a_recipe_that_has_changed_are_not_passed_over_in_silence(tmp_path, capsys):
    axes = "[sweep.axes]\npretrain.epochs = [1, 2]\n"
    before, folder = load_sweep(toy(tmp_path, axes)), tmp_path / "study"
    write_plan(folder, before)
    for point in before.points:
        add_record(folder, Record(point.id, point.labels, 0))
    recipe = toy(tmp_path, axes)
    recipe.write_text(recipe.read_text().replace("num_train = 64", "num_train = 65"))
    dry(recipe, folder)
    said = capsys.readouterr().out
    assert "note: 2 finished runs here belong to another recipe (pretrain.data.num_train was 64, is 65)" in said


@pytest.fixture
def finished(tmp_path, command):
    """Return a function that runs a small study to its end and returns what was said."""

    def sweep(more, *words):
        recipe = toy(tmp_path, more)
        return command("sweep", recipe, "--into", tmp_path / "study", "--device", "cpu", "--workers", "0", *words)

    return sweep


def test_a_study_runs_to_its_end_is_drawn_and_is_complete(finished, tmp_path):
    more = "[sweep.axes]\nevaluate.0.k = [3, 5]\n"
    done = finished(more)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (tmp_path / "study" / "results.jsonl").read_text().splitlines()]
    assert [record["labels"] for record in records] == [{"k": "3"}, {"k": "5"}]
    assert all(record["beside"] > 0 for record in records)
    assert len(list((tmp_path / "study" / "pretrained").iterdir())) == 2  # the pretraining they share, and its claim
    assert (tmp_path / "study" / "report.html").exists()
    again = finished(more)
    assert again.stdout.startswith(f"{tmp_path / 'study'}: 2 runs, 2 of them done")
    part = finished(more, "--only", "k=5").stdout.splitlines()
    assert part[0] == f"{tmp_path / 'study'}: 1 of the study's 2 runs, 1 of them done"
    assert part[1].startswith("1 of 1 run, 2 of the study's 2: ")


def test_a_study_of_a_users_own_option_in_five_lines(finished, tmp_path):
    chart = "[[sweep.report]]\ntitle = 'Wide'\nmeasures = [{ metric = 'top9' }]\n"
    done = finished("[sweep.axes]\npretrain.objective.temperature = [0.1, 0.4]\n" + chart)
    assert done.returncode == 0, done.stderr + done.stdout
    lines = done.stdout.splitlines()
    note = next(line for line in lines if line.startswith("note: Wide: no top9"))
    assert [line[:5] for line in lines[1:4]] == ["[1/2]", "note:", "[2/2]"], note  # after the first run, once
    assert "temperature" in (tmp_path / "study" / "report.md").read_text()


def test_a_run_that_fails_is_noted_and_tried_again_only_when_asked(finished, tmp_path):
    more = "[sweep.axes]\npretrain.optimizer.learning_rate = [1e38, 0.1]\n"
    done = finished(more)
    assert done.returncode == 1
    assert "failed: " in done.stdout
    records = [json.loads(line) for line in (tmp_path / "study" / "results.jsonl").read_text().splitlines()]
    assert [record["status"] for record in records] == ["failed", "finished"]
    again = finished(more)
    assert again.returncode == 1
    assert "2 of them done (1 failed: --retry-failed runs them once more)" in again.stdout
    assert "1 of them done" in finished(more, "--retry-failed").stdout


def test_a_mistake_in_all_runs_is_met_once(finished, tmp_path):
    done = finished("[sweep.axes]\npretrain.weights = ['a.pth', 'b.pth', 'c.pth']\n")
    assert done.returncode == 2
    assert done.stdout.count("failed: ") == 1
    assert "the mistake may be in all of them" in done.stdout
    assert not (tmp_path / "study" / "results.jsonl").exists()  # once mended, the same command runs it
