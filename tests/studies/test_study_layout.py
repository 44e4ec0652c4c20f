"""Where cells stand: which axis goes across, down, into panels, and where the reference's numbers find their place."""

import pytest

from sslkit.studies.study_report.grids import is_geometric
from sslkit.studies.study_report.layout import charts_of

OPERATIONS = {"first": ["crop", "blur"], "second": ["crop", "blur"]}


def tens(labels, seed):
    """Return a value that tells where it is from: tens by the first axis, ones by the second."""
    return sum(
        ("crop", "blur", "rotate").index(label) * step
        for label, step in zip(labels.values(), (0.1, 0.01), strict=False)
    )


def values(grid):
    return [[cell.value if cell.value is None else round(cell.value, 4) for cell in row] for row in grid.cells]


@pytest.mark.parametrize(
    ("axes", "kind"),
    [
        ({"first": ["a", "b"], "second": ["c", "d"]}, "heat_map"),
        ({"first": ["a", "b"], "second": ["1", "2"]}, "lines"),
        ({"first": ["0.5", "1"], "second": ["1", "2"]}, "lines"),
        ({"size": ["1", "2"]}, "lines"),
        ({"loss": ["a", "b"]}, "bars"),
        ({"a": ["a"], "b": ["b"], "c": ["c"]}, "table"),
        ({}, "table"),
    ],
)
def test_without_a_chart_one_that_suits_the_axes_is_drawn(make_study, axes, kind):
    (chart,) = charts_of(make_study(axes, lambda labels, seed: 0.5))
    assert chart.kind == kind
    assert [cell.value for grid in chart.grids for _, cell in grid.named()]


def test_rows_are_the_first_axis_and_columns_the_second(make_study):
    chart = {"chart": "heat_map", "means": "rows", "rename": {"first": "1st", "blur": "Gaussian blur"}}
    (grid,) = charts_of(make_study(OPERATIONS, tens, chart))[0].grids
    assert (grid.row_axes, grid.column_axis) == (("1st",), "second")
    assert grid.rows == (("crop",), ("Gaussian blur",))
    assert grid.columns == ("crop", "Gaussian blur", "mean")
    assert values(grid) == [[0.0, 0.01, 0.005], [0.1, 0.11, 0.105]]
    (turned,) = charts_of(make_study(OPERATIONS, tens, {"chart": "heat_map", "y": "second", "x": "pretrain.first"}))[
        0
    ].grids
    assert values(turned) == [[0.0, 0.1], [0.01, 0.11]]


def test_a_mean_of_too_few_is_none(make_study):
    study = make_study(
        OPERATIONS, lambda labels, seed: None if set(labels.values()) == {"blur"} else 0.5, {"means": "rows"}
    )
    assert values(charts_of(study)[0].grids[0]) == [[0.5, 0.5, 0.5], [0.5, None, None]]


def test_an_axis_that_is_left_makes_panels(make_study):
    study = make_study(
        {**OPERATIONS, "model": ["small", "large"]},
        tens,
        {"chart": "heat_map"},
        {"chart": "heat_map", "where": {"model": ["large"]}},
    )
    every, some = charts_of(study)
    assert [grid.title for grid in every.grids] == ["model: small", "model: large"]
    assert [grid.title for grid in some.grids] == [""]
    assert all(values(grid) == [[0.0, 0.01], [0.1, 0.11]] for grid in (*every.grids, *some.grids))


def test_axes_in_step_make_no_panels(make_study):
    pairs = [("1", "0.1"), ("2", "0.2"), ("4", "0.4")]
    axes = {"batch": ["1", "2", "4"], "rate": ["0.1", "0.2", "0.4"]}
    study = make_study(
        axes, lambda labels, seed: float(labels["rate"]), {"chart": "lines", "x": "batch"}, combinations=pairs
    )
    (grid,) = charts_of(study)[0].grids
    assert values(grid) == [[0.1, 0.2, 0.4]]


def test_what_a_study_leaves_out_is_blank_and_not_missing(make_study):
    pairs = [("crop", "crop"), ("crop", "blur"), ("blur", "crop")]
    (grid,) = charts_of(make_study(OPERATIONS, tens, {"chart": "bars"}, combinations=pairs))[0].grids
    assert [cell.is_blank for _, cell in grid.named()] == [False, False, False, True]


def test_lines_go_by_their_numbers_and_are_logarithmic_where_these_grow_so(make_study):
    study = make_study({"size": ["4", "1", "2"]}, lambda labels, seed: int(labels["size"]) / 10, {}, {"log": False})
    first, second = charts_of(study)
    assert first.grids[0].columns == ("1", "2", "4")
    assert values(first.grids[0]) == [[0.1, 0.2, 0.4]]
    assert (first.log, second.log) == (True, False)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0.05, 0.1, 0.5, 1), True), ((100, 200, 400, 800), True), ((0.1, 0.2, 0.5), True), ((1, 2, 4), True),
        ((1, 2, 3), False), ((100, 200, 300, 400), False), ((1, 10), False), ((0, 1, 10, 100), False), ((), False),
    ],
)  # fmt: skip
def test_geometric_growth_is_seen(numbers, expected):
    assert is_geometric(numbers) is expected


def test_measures_of_one_unit_share_a_panel_unless_an_axis_needs_it(make_study, result):
    def found(labels, seed):
        return [result(0.6), result(0.4, features="z")], {"entropy": 3.0}

    both = [{"label": "h"}, {"label": "z", "features": "z"}]
    study = make_study(
        {"size": ["1", "2"], "head": ["a", "b"]}, found,
        {"chart": "bars", "x": "size", "where": {"head": ["a"]}, "measures": both},
        {"chart": "bars", "x": "size", "series": "head", "measures": both},
        {"chart": "bars", "x": "size", "where": {"head": ["a"]}, "measures": [both[0], {"pretraining": "entropy"}]},
    )  # fmt: skip
    together, apart, units = charts_of(study)
    assert [(grid.rows, values(grid)) for grid in together.grids] == [((("h",), ("z",)), [[0.6, 0.6], [0.4, 0.4]])]
    assert [(grid.title, grid.rows) for grid in apart.grids] == [("h", (("a",), ("b",))), ("z", (("a",), ("b",)))]
    assert [values(grid) for grid in units.grids] == [[[0.6, 0.6]], [[3.0, 3.0]]]


def test_a_table_has_a_column_for_each_label_or_for_each_measure(make_study):
    axes = {"size": ["1", "2"], "head": ["a", "b"], "rate": ["low", "high"]}
    across, long = charts_of(
        make_study(axes, lambda labels, seed: 0.5, {"chart": "table", "x": "size"}, {"chart": "table"})
    )
    assert across.grids[0].rows == (("a", "low"), ("a", "high"), ("b", "low"), ("b", "high"))
    assert across.grids[0].columns == ("1", "2")
    assert len(long.grids[0].rows) == 8
    assert long.grids[0].columns == ("top-1 accuracy (%)",)


def reference(*entries, **changes):
    values = [{"at": at, "value": value, **more} for at, value, more in entries]
    return {"paper": {"title": "Paper", "source": "page 1", "unit": "percent", "values": values, **changes}}


def test_a_reference_stands_beside_by_label_or_number_and_keeps_what_the_study_lacks(make_study):
    given = reference(
        ({"size": 8, "head": "b"}, 80, {}),
        ({"pretrain.size": "1.0", "head": "a"}, 10, {}),
        ({"size": "2", "head": "c"}, 20, {}),
    )
    study = make_study(
        {"size": ["1", "2"], "head": ["a", "b"]}, lambda labels, seed: 0.5,
        {"chart": "bars", "x": "size", "series": "head", "reference": "paper"}, references=given,
    )  # fmt: skip
    own, paper = charts_of(study)[0].grids
    assert [cell.paper.value if cell.paper else None for _, cell in own.named()] == [0.1, None, None, None]
    assert (paper.title, paper.is_reference, paper.columns) == ("Paper", True, ("1", "2", "8"))
    assert paper.rows == (("b",), ("a",), ("c",))  # as the file has them, for the study has not all of them
    assert values(paper) == [[None, None, 0.8], [0.1, None, None], [None, 0.2, None]]
    assert (own.series, paper.series) == ((0, 1), (1, 0, 2))  # equal names have equal colours


def test_values_of_a_reference_are_of_a_measure_and_only_fractions_are_percent(make_study):
    given = reference(
        ({"what": "a"}, 64, {}),
        ({"what": "a"}, 4.5, {"measure": "entropy"}),
        ({"what": "a"}, 0.5, {"measure": "x", "unit": ""}),
    )
    measures = [{"label": "top-1"}, {"label": "entropy", "pretraining": "entropy"}, {"label": "x"}]
    study = make_study(
        {"what": ["a", "b"]}, lambda labels, seed: 0.5, {"chart": "table", "measures": measures, "reference": "paper"},
        references=given,
    )  # fmt: skip
    (grid,) = charts_of(study)[0].grids  # all its values stand beside the study's own: no table of their own
    assert [cell.paper.value for cell in grid.cells[0]] == [0.64, 4.5, 0.5]


def test_a_reference_whose_points_the_study_has_too_is_in_the_study_s_order(make_study):
    letters = {"what": ["a", "b", "c"]}
    given = reference(({"what": "b"}, 80, {}), ({"what": "a"}, 10, {}))
    chart = {"chart": "bars", "reference": "paper"}
    own, paper = charts_of(make_study(letters, lambda labels, seed: 0.5, chart, references=given))[0].grids
    assert (own.columns, paper.columns) == (("a", "b", "c"), ("a", "b"))
    lacking = reference(({"what": "b"}, 80, {}), ({"what": "x"}, 70, {}), ({"what": "a"}, 10, {}))
    _, paper = charts_of(make_study(letters, lambda labels, seed: 0.5, chart, references=lacking))[0].grids
    assert paper.columns == ("b", "x", "a")


def test_recalled_values_are_known_as_such(make_study):
    given = reference(({"what": "a"}, 10, {}), ({"what": "b"}, 20, {"recalled": False}), recalled=True)
    study = make_study(
        {"what": ["a", "b"]}, lambda labels, seed: 0.5, {"chart": "bars", "reference": "paper"}, references=given
    )
    chart = charts_of(study)[0]
    assert [cell.recalled for _, cell in chart.grids[1].named()] == [True, False]
    assert chart.reference.has_recalled


def test_families_of_a_scatter_have_colours_in_all_panels(make_study, result):
    def found(labels, seed):
        return [result(0.5), result(0.6, features="z")]

    measures = [{"label": "h"}, {"label": "z", "features": "z"}]
    values = [{"at": {"size": "9", "head": head}, "value": 50, "measure": measure} for head in "ba" for measure in "hz"]
    study = make_study(
        {"size": ["1", "2"], "head": ["a", "b"]}, found,
        {"chart": "scatter", "series": "head", "measures": measures, "reference": "paper"},
        {"chart": "scatter", "measures": measures},
        references={"paper": {"title": "Paper", "unit": "percent", "values": values}},
    )  # fmt: skip
    coloured, plain = charts_of(study)
    own, paper = coloured.grids
    assert (own.rows, own.series) == ((("1", "a"), ("1", "b"), ("2", "a"), ("2", "b")), (0, 1, 0, 1))
    assert (paper.rows, paper.series) == ((("9", "b"), ("9", "a")), (1, 0))
    assert not plain.grids[0].family_axis
