"""What a study's cells say: means, deviations and intervals worked out by hand, and why a number is missing."""

import math

import pytest

from sslkit.studies.study_report.cells import Cell, differs, seeds_interval, t_quantile
from sslkit.studies.study_report.plan import Plan
from sslkit.studies.study_report.values import cell_of, measures_of


def cell(study, chart=None, **labels):
    plan = Plan(study, chart or {})
    return cell_of(plan.runs(labels), plan.measures[0])


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.7062), (2, 4.3027), (10, 2.2281), (11, 2.2010), (15.9, 2.1314), (30, 2.0423), (100, 1.9840), (1e9, 1.9600)],
)
def test_quantiles_of_t_are_those_of_the_tables(freedom, expected):
    assert t_quantile(freedom) == pytest.approx(expected, abs=1e-4)


def test_the_interval_between_seeds_is_student_s():
    assert seeds_interval([0.60, 0.62, 0.64]) == pytest.approx((0.62 - 0.049683, 0.62 + 0.049683), abs=1e-6)
    assert seeds_interval([0.6]) is None


def of_seeds(*samples):
    mean = sum(samples) / len(samples)
    deviation = math.sqrt(sum((sample - mean) ** 2 for sample in samples) / (len(samples) - 1))
    return Cell(mean, samples=samples, deviation=deviation, planned=len(samples))


def test_only_what_differs_beyond_the_seeds_differs():
    assert differs(of_seeds(0.60, 0.61, 0.62), of_seeds(0.70, 0.71, 0.72))
    # Welch: 0.1 apart, standard error 0.0695, 2.03 degrees of freedom: t = 1.44.
    assert not differs(of_seeds(0.60, 0.61, 0.62), of_seeds(0.59, 0.71, 0.83))
    assert differs(of_seeds(0.5, 0.5), of_seeds(0.6, 0.6))
    assert not differs(of_seeds(0.5, 0.5), of_seeds(0.5, 0.5))


def test_single_runs_differ_beyond_their_intervals_and_nothing_else_is_compared():
    one, near, far = (
        Cell(value, samples=(value,), interval=(value - 0.03, value + 0.03)) for value in (0.5, 0.54, 0.55)
    )
    assert not differs(one, near)
    assert differs(one, far)  # 0.05 > hypot(0.03, 0.03)
    assert not differs(one, of_seeds(0.9, 0.9))
    assert not differs(one, Cell(0.9, deviation=0.01))  # a reference has no samples
    assert not differs(one, Cell(None))


def test_a_cell_is_the_mean_over_seeds_with_its_deviation(make_study):
    study = make_study({"size": ["1", "2"]}, lambda labels, seed: 0.5 + 0.02 * seed, seeds=(0, 1, 2))
    found = cell(study, size="1")
    assert found.shown() == "52.00 ± 2.00"
    assert found.sure == "3 seeds, 95 %: 47.03 to 56.97"
    assert found.bar == pytest.approx((50, 54))
    assert (found.problem, found.planned, len(found.samples)) == ("", 3, 3)


def test_a_single_run_has_its_bootstrap_interval_and_says_so(make_study):
    found = cell(make_study({"size": ["1"]}, lambda labels, seed: 0.5), size="1")
    assert (found.shown(), found.sure) == ("50.00", "95 % over test images: 40.00 to 60.00")
    assert found.bar == pytest.approx((40, 60))


def test_an_error_bar_of_a_fraction_ends_at_0_and_1_and_of_nothing_else():
    assert Cell(0.01, deviation=0.02, samples=(0.0, 0.02)).bar == pytest.approx((0.0, 3.0))
    assert Cell(0.99, interval=(0.9, 1.1), samples=(0.99,)).bar == pytest.approx((90.0, 100.0))
    assert Cell(1.0, percent=False, deviation=2.0).bar == (-1.0, 3.0)
    assert Cell(0.1, interval=(-0.027, 0.2), samples=(0.1, 0.1)).sure == "2 seeds, 95 %: 0.00 to 20.00"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (1 / 3, "0.3333"), (4096, "4,096"), (60000, "60,000"), (372700, "0.37 M"), (25e6, "25.00 M")],
)
def test_large_numbers_are_in_millions(value, shown):
    assert Cell(value, percent=False).shown() == shown


def test_without_a_measure_it_is_what_the_runs_measure(make_study, result):
    study = make_study({"what": ["a"]}, lambda labels, seed: [result(0.3, features="z", weights="random")])
    assert cell(study, what="a").value == 0.3


def test_why_a_number_is_missing_is_said(make_study, result):
    outcomes = {"a": None, "b": "loss is nan\nat step 3", "c": [result(0.5, features="z")], "d": 0.5}
    study = make_study({"what": list(outcomes)}, lambda labels, seed: outcomes[labels["what"]])
    found = {label: cell(study, what=label) for label in outcomes}
    assert [found[label].problem for label in "abcd"] == [
        "not run yet", "failed: loss is nan at step 3", "no result of evaluation on h", "",
    ]  # fmt: skip
    assert [found[label].failed for label in "abcd"] == [False, True, False, False]
    assert [found[label].value for label in "abcd"] == [None, None, None, 0.5]


def test_what_some_seeds_lack_is_said_beside_the_mean_of_the_others(make_study):
    outcomes = [0.5, 0.7, "out of memory", None]
    study = make_study({"what": ["a"]}, lambda labels, seed: outcomes[seed], seeds=(0, 1, 2, 3))
    found = cell(study, what="a")
    assert found.value == 0.6
    assert found.problem == "2 of 4 seeds; failed: out of memory; 1 not run yet"


def test_seeds_of_an_evaluation_are_averaged_first(make_study, result):
    def rows(labels, seed):
        return [result(0.4 + 0.1 * seed, seed=0), result(0.6 + 0.1 * seed, seed=1)]

    assert cell(make_study({"what": ["a"]}, rows, seeds=(0, 1)), what="a").samples == (0.5, 0.6)
    assert cell(make_study({"what": ["a"]}, rows), what="a").samples == (0.4, 0.6)  # of one run they are what varies


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ({}, 0.1),  # the first evaluation's headline, of h
        ({"features": "z"}, 0.2),
        ({"weights": "random"}, 0.3),
        ({"evaluation": "builtin.knn"}, 0.4),
        ({"evaluation": 2}, 0.5),
        ({"index": 2}, 0.5),
        ({"data": "builtin.other"}, 0.5),
        ({"metric": "top5"}, 0.9),
        ({"pretraining": "loss"}, 4.5),
        ({"features": "z", "evaluation": "builtin.knn"}, None),
        ({"pretraining": "entropy"}, None),
        ({"metric": "broken"}, None),
    ],
)
def test_a_measure_says_which_number_is_meant(make_study, result, measure, expected):
    rows = [
        result(0.5, index=2, data="builtin.other", evaluation="builtin.knn"),
        result(0.4, index=1, evaluation="builtin.knn"),
        result(0.1, metrics={"top5": 0.9, "broken": None}),
        result(0.2, features="z"),
        result(0.3, weights="random"),
    ]
    study = make_study({"what": ["a"]}, lambda labels, seed: (rows, {"loss": 4.5, "entropy": math.nan}))
    assert cell(study, {"measures": [{"label": "it", **measure}]}, what="a").value == expected


def test_fractions_are_percent_and_nothing_else_is(make_study, result):
    rows = [result(0.5), result(12.5, index=1, evaluation="builtin.feature_health", metric="rankme")]
    found = (rows, {"contrastive_accuracy": 0.9, "contrastive_entropy": 4.5})
    study = make_study({"what": ["a"]}, lambda labels, seed: found)
    wanted = [{}, {"index": 1}, {"pretraining": "contrastive_accuracy"}, {"pretraining": "contrastive_entropy"}]
    measures = measures_of(study, {"measures": wanted})
    assert [cell_of(study.records, measure).shown() for measure in measures] == ["50.00", "12.5", "90.00", "4.5"]
    assert [measure.named for measure in measures] == [
        "top-1 accuracy (%)", "RankMe, an effective number of dimensions", "contrastive accuracy (%)",
        "contrastive entropy",
    ]  # fmt: skip
