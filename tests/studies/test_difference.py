"""Runs against the best of them, on stored predictions; and their recipes."""

import numpy as np
import pytest

from sslkit.studies.collect import read_runs
from sslkit.studies.difference import compare, recipe_difference
from sslkit.studies.scores import correct, score
from sslkit.studies.significance import mcnemar, permutation_test

LABEL = np.arange(200) % 5


def model(wrong, seed=0, **more):
    """Predictions that are wrong on so many images."""
    predicted = LABEL.copy()
    predicted[np.random.default_rng(seed).permutation(200)[:wrong]] += 1
    stored = {"predicted": predicted, "label": LABEL}
    return {"value": score("top1", stored), "stored": stored} | more


def compared(*folders):
    return compare(read_runs(folders), "ABCDEF")


def test_values_and_tests_are_those_of_the_stored_predictions(write_run):
    first, second = model(40), model(80, seed=1)
    (found,) = compared(write_run("a", first), write_run("b", second, seed=1))
    best, other = found.entries
    assert (best.value, best.difference, best.p, best.verdict) == (0.8, 0.0, None, "best")
    a, b = correct("top1", first["stored"]), correct("top1", second["stored"])
    assert other.value == pytest.approx(0.6)
    assert other.difference == pytest.approx(-0.2)
    assert (other.p, other.mcnemar) == (permutation_test(a, b), mcnemar(a, b))
    assert (other.verdict, found.problem) == ("worse", "")
    assert other.interval[0] < 0.6 < other.interval[1]


def test_who_is_not_significantly_worse_is_tied(write_run):
    folders = [write_run(str(seed), model(40 + seed, seed=seed), seed=seed) for seed in range(2)]
    (found,) = compared(*folders, write_run("c", model(150, seed=5), seed=5))
    assert [entry.verdict for entry in found.entries] == ["tied", "tied", "worse"]
    assert all(entry.p > 0.05 for entry in found.entries[1:2])


def test_other_test_images_are_not_paired(write_run):
    (found,) = compared(write_run("a", model(40)), write_run("b", model(80, data_fingerprint="bbbb")))
    assert found.problem == "A and B were tested on different images"
    assert [(entry.value, entry.p, entry.verdict) for entry in found.entries] == [(0.8, None, ""), (0.6, None, "")]


def test_other_labels_are_not_paired_even_where_no_fingerprint_is_known(write_run):
    first, second = model(40, data_fingerprint=None), model(80, data_fingerprint=None)
    second["stored"] = {name: array[::-1] for name, array in second["stored"].items()}
    (found,) = compared(write_run("a", first), write_run("b", second))
    assert found.problem == "A and B were tested on images with different labels"


def test_missing_predictions_are_not_made_up(write_run):
    (found,) = compared(write_run("a", model(40)), write_run("b", {"value": 0.7}))
    assert found.problem == "B has no stored predictions; evaluate it again"


def test_predictions_of_another_score_are_refused(write_run):
    (found,) = compared(write_run("a", model(40)), write_run("b", model(80) | {"value": 0.7}))
    assert found.problem.startswith("the stored predictions of B do not give its score")


def test_unreadable_predictions_are_a_problem_of_that_evaluation_only(write_run):
    second = write_run("b", model(80), model(70, index=1, evaluation="builtin.linear"))
    first = write_run("a", model(40), model(30, index=1, evaluation="builtin.linear"))
    (second / "evaluate" / "0-builtin.knn" / "predictions.npz").write_bytes(b"PK")
    knn, linear = compared(first, second)
    assert "cannot be read" in knn.problem
    assert linear.problem == ""


def test_what_is_no_score_of_images_is_shown_and_not_tested(write_run):
    def health(value):
        return {"value": value, "metric": "rankme", "stored": {"spectrum": np.ones(3)}}

    (found,) = compared(write_run("a", health(12.0)), write_run("b", health(14.0)))
    assert found.problem == "rankme is no score of single images"
    assert [entry.value for entry in found.entries] == [12, 14]


def test_only_shared_evaluations_are_compared(write_run):
    found = compared(write_run("a", model(40), model(40, features="z")), write_run("b", model(80, features="z")))
    assert [comparison.score.features for comparison in found] == ["z"]


def knn(wrong, index, k, more="temperature = 0.07"):
    return model(wrong, seed=wrong) | {"index": index, "options": f"k = {k}\n{more}"}


def values(comparison):
    return [entry.value for entry in comparison.entries]


def test_tables_are_paired_by_their_options_wherever_they_stand(write_run):
    first = write_run("a", knn(40, 0, k=1), knn(50, 1, k=50))
    second = write_run("b", knn(52, 0, k=50), knn(42, 1, k=1))
    found = compared(first, second)
    assert [(c.score.setting, values(c), c.options) for c in found] == [
        ("k=1", [0.8, 0.79], {}),
        ("k=50", [0.75, 0.74], {}),
    ]


def test_the_only_tables_are_paired_and_it_is_said_what_differs(write_run):
    (found,) = compared(write_run("a", knn(40, 0, k=1)), write_run("b", knn(52, 0, k=50, more="")))
    assert values(found) == [0.8, 0.74]
    assert found.options == {"k": [1, 50], "temperature": [0.07, None]}
    assert found.problem == ""


def test_of_what_pairs_by_the_telling_option_the_rest_is_said(write_run):
    first = write_run("a", knn(40, 0, k=1), knn(50, 1, k=50))
    (found,) = compared(first, write_run("b", knn(52, 0, k=50, more="temperature = 0.5")))
    assert (values(found), found.options) == ([0.75, 0.74], {"temperature": [0.07, 0.5]})


def test_a_table_that_a_run_has_twice_is_no_second_seed(write_run):
    (found,) = compared(write_run("a", knn(40, 0, k=1), knn(50, 1, k=1)), write_run("b", knn(42, 0, k=1)))
    assert values(found) == [0.8, 0.79]
    assert [entry.deviation for entry in found.entries] == [None, None]


def test_a_run_about_random_weights_is_compared_with_the_trained_ones(write_run):
    untrained = write_run("a", model(120, weights="random"), more='weights = "random"')
    trained = write_run("b", model(40, seed=1), model(100, seed=2, weights="random"))
    (found,) = compared(untrained, trained)
    assert values(found) == [0.4, 0.8]
    assert [entry.score.weights for entry in found.entries] == ["random", "pretrained"]
    assert found.score.weights == "pretrained"
    assert [entry.verdict for entry in found.entries] == ["worse", "best"]


def probe(wrong, seed=0):
    """Two targets, one of which is wrong so often; what is asked is drawn from the seed."""
    asked = np.random.default_rng(seed).integers(0, 2, 200)
    named = np.where(np.arange(200) < wrong, 1 - asked, asked)
    stored = {"predicted_a": named, "label_a": asked, "predicted_b": LABEL, "label_b": LABEL}
    return {"metric": "mean_accuracy", "value": score("mean_accuracy", stored), "stored": stored, "seed": seed}


def test_several_targets_are_tested_by_their_mean(write_run):
    (found,) = compared(write_run("a", probe(40)), write_run("b", probe(60)))
    best, other = found.entries
    assert (best.value, other.value) == (0.9, 0.85)
    a, b = (correct("mean_accuracy", probe(wrong)["stored"]) for wrong in (40, 60))
    assert (other.p, other.mcnemar, other.verdict) == (permutation_test(a, b), None, "worse")
    assert other.interval[0] < 0.85 < other.interval[1]


def test_what_is_asked_may_differ_between_repetitions_but_not_between_runs(write_run):
    first = write_run("a", probe(40, seed=0), probe(44, seed=1))
    assert compared(first, write_run("b", probe(60, seed=0), probe(64, seed=1)))[0].problem == ""
    (found,) = compared(first, write_run("c", probe(60, seed=2), probe(64, seed=3)))
    assert found.problem == "A and B were tested on images with different labels"


def test_seeds_of_an_evaluation_are_tested_by_their_average(write_run):
    first = [model(40, seed=0) | {"seed": 0}, model(42, seed=1) | {"seed": 1}]
    second = [model(80, seed=2) | {"seed": 0}, model(84, seed=3) | {"seed": 1}]
    (found,) = compared(write_run("a", *first), write_run("b", *second))
    means = [np.mean([correct("top1", one["stored"]) for one in group], axis=0) for group in (first, second)]
    best, other = found.entries
    assert best.value == pytest.approx(0.795)
    assert best.deviation == pytest.approx(0.005 * 2**0.5)
    assert best.interval is None
    assert other.p == permutation_test(*means)
    assert other.mcnemar is None


def test_the_mean_per_class_is_tested_with_weights_and_mcnemar_without(write_run):
    def of(given):
        return given | {"metric": "mean_per_class", "value": score("mean_per_class", given["stored"])}

    first, second = of(model(40)), of(model(60, seed=1))
    (found,) = compared(write_run("a", first), write_run("b", second))
    a, b = (correct("mean_per_class", given["stored"]) for given in (first, second))
    assert found.entries[1].p == permutation_test(a, b)
    plain = (correct("top1", given["stored"]) for given in (first, second))
    assert found.entries[1].mcnemar == mcnemar(*plain)


def test_of_many_labels_accuracy_is_tested(write_run):
    generator = np.random.default_rng(0)
    label = (generator.random((150, 3)) < 0.4).astype(np.int8)

    def of(noise, shift=0.0):
        scores = (2 * label - 1 + noise * generator.normal(size=label.shape) + shift).astype(np.float32)
        stored = {"scores": scores, "label": label}
        return {"metric": "voc_map", "stored": stored, "value": score("voc_map", stored)}

    good, bad, shifted = of(0.5), of(3.0), of(0.1, shift=10.0)
    better, worse = compared(write_run("a", good), write_run("b", bad))[0].entries
    assert (better.verdict, worse.verdict, worse.mcnemar) == ("best", "worse", None)
    # Ranked best, but every score is above 0: its accuracy is far below, so the other is not called worse.
    other, best = compared(write_run("c", good), write_run("d", shifted))[0].entries
    assert best.value > other.value
    assert other.p < 0.05
    assert (best.verdict, other.verdict) == ("tied", "tied")


def test_recipes_differ_leaf_by_leaf_without_places_and_what_follows(write_run):
    def more(folder, epochs, extra=""):
        data = f"[pretrain.data]\nfolder = '{folder}'\n{extra}"
        return f"[pretrain]\nepochs = {epochs}\n{data}[derived]\nsteps = {epochs}"

    runs = read_runs([
        write_run("a", model(40), more=more("/here/x", 2)),
        write_run("b", model(40), seed=1, more=more("/there/x", 3, "size = 8\n")),
    ])  # fmt: skip
    assert recipe_difference(runs) == {"seed": [0, 1], "pretrain.epochs": [2, 3], "pretrain.data.size": [None, 8]}
    assert recipe_difference(runs[:1] * 2) == {}
    (other,) = read_runs([write_run("c", model(40), more=more("/there/y", 2))])
    assert recipe_difference([runs[0], other]) == {"pretrain.data.folder": ["x", "y"]}
