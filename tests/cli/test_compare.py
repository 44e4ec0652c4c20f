"""`sslkit compare`: who is better, and what differs."""

import json

import numpy as np
import pytest

from sslkit.__main__ import main

LABEL = np.arange(100) % 4


def model(wrong, **more):
    predicted = LABEL.copy()
    predicted[:wrong] += 1
    return {"value": 1 - wrong / 100, "stored": {"predicted": predicted, "label": LABEL}, "n": 100} | more


def said(capsys, *arguments, code=0):
    assert main(["compare", *map(str, arguments)]) == code
    return capsys.readouterr()


@pytest.fixture
def pair(write_run):
    recipe = "[pretrain]\nbatch_size = "
    return write_run("a", model(40), more=recipe + "64"), write_run("b", model(30), seed=1, more=recipe + "128")


def test_the_table_says_who_is_better_and_what_differs(pair, capsys):
    lines = [line.split() for line in said(capsys, *pair).out.splitlines() if line]
    assert " ".join(lines[0]) == f"A {pair[0]}: toy, seed 0, finished"
    assert " ".join(lines[2]) == "builtin.knn on builtin.shapes, h: top1"
    # Ten images on which only B is right: p = 2 / 2**10.
    run, score, _, low, _, high, difference, swaps, exact, verdict = lines[4]
    assert (run, score, difference, exact, verdict) == ("A", "60.00", "-10.00", "0.0020", "worse")
    assert float(swaps) == pytest.approx(2 / 1024, abs=0.0006)
    assert float(low) < 60 < float(high)
    assert (lines[5][0], lines[5][1], lines[5][-1]) == ("B", "70.00", "best")
    assert lines[6:] == [["recipe", "A", "B"], ["seed", "0", "1"], ["pretrain.batch_size", "64", "128"]]


def test_json_has_everything(pair, capsys):
    found = json.loads(said(capsys, *pair, "--json").out)
    assert found["runs"]["B"] == {"folder": str(pair[1]), "recipe": "toy", "seed": 1, "status": "finished"}
    (comparison,) = found["comparisons"]
    assert (comparison["metric"], comparison["n"], comparison["problem"]) == ("top1", 100, "")
    worse = comparison["runs"]["A"]
    assert worse["mcnemar"] == pytest.approx(2 / 1024)
    assert worse["difference"] == pytest.approx(-0.1)
    assert (worse["verdict"], comparison["runs"]["B"]["verdict"]) == ("worse", "best")
    assert found["recipe"] == {"seed": {"A": 0, "B": 1}, "pretrain.batch_size": {"A": 64, "B": 128}}


def test_the_same_run_again_is_tied_and_recipes_say_the_same(write_run, capsys):
    shown = said(capsys, write_run("a", model(40)), write_run("b", model(40))).out
    assert shown.count("tied") == 2
    assert "the recipes say the same" in shown


def test_other_test_images_are_refused_in_a_line(write_run, capsys):
    shown = said(capsys, write_run("a", model(40)), write_run("b", model(30, data_fingerprint="bbbb")), code=1).out
    assert "  not tested: A and B were tested on different images" in shown.splitlines()
    assert "worse" not in shown


def test_different_protocols_are_called_so(write_run, capsys):
    runs = [write_run(name, model(40), model(30, features="z")) for name in "ab"]
    for run, options in zip(
        runs, ("k = 1\n[evaluate.data]\nsize = 8", "k = 50\n[evaluate.data]\nname = 'x'"), strict=True
    ):
        (run / "resolved.toml").write_text(f"[[evaluate]]\nname = 'builtin.knn'\n{options}\n")
    line = "  different protocols: k is 1 in A, 50 in B; data.size is 8 in A, absent in B"
    lines = said(capsys, *runs).out.splitlines()
    assert sum(shown.startswith(line) for shown in lines) == 2
    found = json.loads(said(capsys, *runs, "--json").out)
    assert found["comparisons"][0]["options"]["k"] == {"A": 1, "B": 50}


def test_weights_that_are_random_are_called_so(write_run, capsys):
    trained = write_run("a", model(10))
    untrained = write_run("b", model(60, weights="random"), more='weights = "random"')
    lines = said(capsys, untrained, trained).out.splitlines()
    assert "builtin.knn on builtin.shapes, h: top1" in lines
    assert [line.rstrip().split("  ")[-1].strip() for line in lines if line.startswith(("  A ", "  B "))] == [
        "worse, random weights",
        "best",
    ]
    found = json.loads(said(capsys, untrained, trained, "--json").out)["comparisons"][0]
    assert (found["weights"], found["runs"]["A"]["weights"]) == ("pretrained", "random")


def test_a_mistake_is_one_line(write_run, capsys):
    first, unfinished = write_run("a", model(40)), write_run("b", status="stopped")
    assert "1 run to compare: name 2 to 26" in said(capsys, first, code=2).err
    expected = "error: the runs share no evaluation: A has builtin.knn; B has none (stopped)\n"
    assert said(capsys, first, unfinished, code=2).err == expected
    several = write_run("c", *(model(40, index=i, options=f"k = {i}", features="z") for i in (0, 1)))
    assert "B has builtin.knn (k=0), builtin.knn (k=1)" in said(capsys, first, several, code=2).err


def test_values_of_recipes_drive_no_terminal(write_run, capsys):
    first = write_run("a", model(40), more='description = "[red]\\u001b[31m"')
    shown = said(capsys, first, write_run("b", model(40))).out
    assert "\x1b" not in shown
    assert "[red]" in shown
