"""`sslkit sweep`: what it says of a study, and what it does not run."""

import json

import pytest

from sslkit.__main__ import main
from sslkit.cli.sweep import part
from sslkit.recipe.sweep import load_sweep
from sslkit.studies.study import Record, add_record

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


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--only", "epoch=2"], "no axis is called 'epoch'; did you mean"),
        (["--only", "epochs=4"], "epochs has the points 1, 2, 3"),
        (["--only", "seed=7"], "seed has the points 0, 1"),
    ],
)
def test_what_is_not_there_is_a_line(recipe, capsys, words, says):
    assert main(["sweep", str(recipe), *words]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("text", ["3", "0/2", "3/2", "1/0", "a/b", "1/2/3"])
def test_a_part_is_a_number_of_a_number(text, capsys):
    with pytest.raises(SystemExit):
        main(["sweep", "x.toml", "--part", text])
    assert "two whole numbers such as 3/20" in capsys.readouterr().err
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
    assert len(list((tmp_path / "study" / "pretrained").iterdir())) == 2  # the pretraining they share, and its claim
    assert (tmp_path / "study" / "report.html").exists()
    again = finished(more)
    assert again.stdout.startswith(f"{tmp_path / 'study'}: 2 runs, 2 of them done")


def test_a_study_of_a_users_own_option_in_five_lines(finished, tmp_path):
    done = finished("[sweep.axes]\npretrain.objective.temperature = [0.1, 0.4]\n")
    assert done.returncode == 0, done.stderr + done.stdout
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
    done = finished("[sweep.axes]\npretrain.batch_size = [4096, 8192, 16384]\n")
    assert done.returncode == 2
    assert done.stdout.count("failed: ") == 1
    assert "the mistake may be in all of them" in done.stdout
    assert not (tmp_path / "study" / "results.jsonl").exists()  # once mended, the same command runs it
