"""`sslkit report`: a table for people, the same rows for programs."""

import csv
import json
import shutil
import subprocess
import sys

import pytest

from sslkit.__main__ import main
from sslkit.recipe.sweep import load_sweep
from sslkit.studies.study import write_plan


@pytest.fixture
def runs(write_run, tmp_path):
    write_run("runs/toy/1", {"value": 0.5, "interval": [0.4, 0.6]})
    write_run("runs/toy/2", {"value": 0.7}, seed=1)
    write_run("runs/toy/3", status="failed")
    return tmp_path / "runs"


def said(capsys, *arguments, code=0):
    assert main([*map(str, arguments)]) == code
    return capsys.readouterr()


def test_seeds_are_one_line_and_a_failed_run_is_another(runs, capsys):
    assert [" ".join(line.split()) for line in said(capsys, "report", runs).out.splitlines() if line] == [
        f"toy, {runs}/toy (2 runs), finished",
        "builtin.knn on builtin.shapes, h top1 60.00 ± 14.14 % 2 seeds n = 4",
        f"toy, {runs}/toy/3, failed",
        "no scores: because",
    ]


def test_each_shows_every_run_with_its_interval(runs, capsys):
    shown = said(capsys, "report", "--each", runs).out
    assert " ".join(shown.split()).count("top1") == 2
    assert "50.00 %  40.00 to 60.00  n = 4" in shown


@pytest.mark.parametrize("ending", ["csv", "json", "md", "txt"])
def test_the_ending_chooses_the_format(runs, capsys, tmp_path, ending):
    path = tmp_path / "new" / f"scores.{ending}"
    assert said(capsys, "report", runs, "-o", path).out == f"{path}: 3 runs\n"
    text = path.read_text()
    if ending == "csv":
        assert [row["value"] for row in csv.DictReader(text.splitlines())] == ["0.6", ""]
    elif ending == "json":
        assert [row["value"] for row in json.loads(text)] == [0.6, None]
    else:
        assert text.startswith("| run | folder |" if ending == "md" else "toy, ")
        assert "60.00 ± 14.14 %" in text


@pytest.mark.parametrize("name", ["scores.foo", "scores"])
def test_an_unknown_ending_is_refused_unless_the_format_is_said(runs, capsys, tmp_path, name):
    path = tmp_path / name
    message = f"error: {path}: end its name in one of .txt, .csv, .md, .html, .json, or say --format\n"
    assert said(capsys, "report", runs, "-o", path, code=2).err == message
    assert not path.exists()
    said(capsys, "report", runs, "-o", path, "--format", "csv")
    assert path.read_text().startswith("run,folders,")


def test_a_format_goes_to_the_terminal_too(runs, capsys):
    assert said(capsys, "report", runs, "--format", "markdown").out.startswith("| run |")


def test_the_page_is_of_all_runs(runs, capsys, monkeypatch, tmp_path):
    asked = []

    def report_page(folders, *, title):
        asked.append((list(folders), title))
        return "<!doctype html>"

    monkeypatch.setattr("sslkit.studies.report_page.report_page", report_page)
    said(capsys, "report", runs, "-o", tmp_path / "scores.html")
    assert (tmp_path / "scores.html").read_text() == "<!doctype html>"
    assert asked == [([runs / "toy" / name for name in "123"], "Report of toy")]
    assert "--each is for tables" in said(capsys, "report", runs, "--each", "--format", "html", code=2).err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/nowhere"], "there is no such folder"),
        (["{}/toy/1/evaluate"], "holds no run"),
        (["{}", "-o", "{}"], "is a folder; name a file in it"),
    ],
)
def test_a_mistake_is_one_line(runs, capsys, arguments, message):
    shown = said(capsys, "report", *(word.format(runs) for word in arguments), code=2)
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1


def test_names_drive_no_terminal_and_are_no_markup(write_run, capsys, tmp_path):
    write_run("a", {"value": 0.5, "features": "[bold]:smile:\x1b[31m"})
    shown = said(capsys, "report", tmp_path).out
    assert r"[bold]:smile:\x1b[31m" in shown
    assert "\x1b" not in shown


def test_reports_and_comparisons_start_without_torch(runs):
    code = f"""
import sys
from sslkit.__main__ import main
main(["report", {str(runs)!r}])
main(["compare", {str(runs / "toy" / "1")!r}, {str(runs / "toy" / "2")!r}])
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0


def test_a_folder_of_studies_says_which_and_how_to_see_them(runs, light, capsys, tmp_path):
    write_plan(runs / "mine", load_sweep(light(more="\n[sweep.axes]\npretrain.epochs = [1, 2]\n")))
    told = f"{runs}/mine: a study, 0 of 2 runs are in, 2 not run yet; see: sslkit report {runs}/mine"
    both = said(capsys, "report", runs).out
    assert told in both
    assert f"toy, {runs}/toy (2 runs), finished" in both
    scores = tmp_path / "scores.csv"
    assert said(capsys, "report", runs, "-o", scores).out == f"{scores}: 3 runs that are part of no study\n"
    shutil.rmtree(runs / "toy")
    assert said(capsys, "report", runs).out.strip() == told
    assert f"such as: sslkit report {runs}/mine" in said(capsys, "report", runs, "-o", scores, code=2).err
    (runs / "mine" / "study.json").write_text("{}")
    assert "holds no study" in said(capsys, "report", runs).out
