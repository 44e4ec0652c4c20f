"""Charts of studies: where marks lie, worked out by hand; colours that can be read; what is said in words."""

import math
import re
from itertools import pairwise

import pytest

from sslkit.studies.study_report.charts import notes_of, panels_of
from sslkit.studies.study_report.colours import BY_DAY, BY_NIGHT, LEVELS, heat_colour, levels, luminance, readable_on
from sslkit.studies.study_report.facts import lacks_of
from sslkit.studies.study_report.layout import charts_of
from sslkit.studies.study_report.svg import cut, file_of, width_of


def panels(study):
    return [panel for chart in charts_of(study) for panel in panels_of(chart)]


def paper(*entries, **changes):
    return {
        "paper": {
            "title": "Paper",
            "unit": "percent",
            "values": [{"at": at, "value": v} for at, v in entries],
            **changes,
        }
    }


def lab(rgb):
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in rgb]
    rows = (
        (0.4122214708, 0.5363325363, 0.0514459929),
        (0.2119034982, 0.6806995451, 0.1073969566),
        (0.0883024619, 0.2817188376, 0.6299787005),
    )
    long, middle, short = (sum(a * b for a, b in zip(row, linear, strict=True)) ** (1 / 3) for row in rows)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


@pytest.mark.parametrize("scale", [BY_DAY, BY_NIGHT])
def test_every_number_of_a_heat_map_can_be_read(scale):
    for level in range(LEVELS):
        fill = luminance(heat_colour(level / (LEVELS - 1), scale))
        ink = {"#000000": 0.0, "#ffffff": 1.0}[readable_on(heat_colour(level / (LEVELS - 1), scale))]
        assert (max(fill, ink) + 0.05) / (min(fill, ink) + 0.05) >= 4.5


@pytest.mark.parametrize("scale", [BY_DAY, BY_NIGHT])
def test_equal_steps_of_the_colours_look_equal_and_grow_in_one_direction(scale):
    colours = [lab(heat_colour(level / (LEVELS - 1), scale)) for level in range(LEVELS)]
    lightness = [colour[0] for colour in colours]
    assert lightness in (sorted(lightness), sorted(lightness, reverse=True))  # also without any colour vision
    steps = [math.dist(a, b) for a, b in pairwise(colours)]
    assert max(steps) < 1.6 * min(steps)


def test_by_day_and_by_night_what_is_large_stands_out():
    assert luminance(heat_colour(1, BY_DAY)) < luminance(heat_colour(0, BY_DAY))
    assert luminance(heat_colour(1, BY_NIGHT)) > luminance(heat_colour(0, BY_NIGHT))
    assert ".q31 { fill: #" in levels(BY_DAY)


def test_a_heat_map_colours_from_the_least_to_the_largest(make_study):
    given = {("a", "a"): 0.1, ("a", "b"): 0.2, ("b", "a"): None, ("b", "b"): "out of memory"}
    study = make_study({"first": ["a", "b"], "second": ["a", "b"]}, lambda labels, seed: given[tuple(labels.values())])
    (panel,) = panels(study)
    assert re.findall(r'class="q(\d+)" x="[^"]*" y="[^"]*" width="40.0"', panel.body) == ["0", "31"]
    assert re.findall(r'class="(?:t\d+|bad)?"?[^>]*>([\d.]+|–|✗)</text>', panel.body)[:2] == ["10.0", "20.0"]
    assert panel.body.count('class="hole"') == 2
    assert "b, a: –, not run yet" in panel.body
    assert "b, b: –, failed: out of memory" in panel.body
    assert panel.body.count('class="ring"') == 1  # b, b has no value
    assert "2 of 4 values; lowest 10.00 (a, a); highest 20.00 (a, b)" in panel.summary


def test_bars_begin_at_zero_and_whiskers_reach_a_deviation(make_study):
    study = make_study(
        {"loss": ["a", "b"]}, lambda labels, seed: (0.4 if labels["loss"] == "a" else 0.8) + 0.1 * seed, seeds=(0, 1)
    )
    (panel,) = panels(study)
    bars = re.findall(r'<rect x="[\d.]+" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', panel.body)
    # The axis goes from 0 at 250 up to 100 % at 30: 2.2 a percent.
    assert [(float(y), float(height)) for y, height in bars] == [(151, 99), (63, 187)]
    deviation = 10 / math.sqrt(2)
    high, low = re.search(r'whisker over" d="M[\d.]+ ([\d.]+)V([\d.]+)', panel.body).groups()
    assert (float(high), float(low)) == pytest.approx((151 - 2.2 * deviation, 151 + 2.2 * deviation), abs=0.06)


def test_a_line_has_a_gap_where_a_value_is_missing(make_study):
    values = {"1": 0.1, "2": 0.2, "3": "diverged", "4": 0.4, "5": 0.5}
    (panel,) = panels(make_study({"size": list(values)}, lambda labels, seed: values[labels["size"]]))
    (path,) = re.findall(r'class="line" stroke="[^"]*" d="([^"]*)"', panel.body)
    assert [len(piece.split("L")) for piece in path.split("M")[1:]] == [2, 2]
    assert "3: –, failed: diverged" in panel.body


def test_wide_names_below_bars_slant_and_have_room(make_study):
    names = [f"margin triplet, semi-hard, {number}" for number in range(9)]
    (panel,) = panels(make_study({"loss": names}, lambda labels, seed: 0.5))
    assert all(f">{name}</text>" in panel.body for name in names)
    beyond = float(re.match(r'<g transform="translate\(([\d.]+) 0\)">', panel.body)[1])
    x = float(re.search(r'x="([\d.]+)" y="[\d.]+" text-anchor="end" transform="rotate\(-55', panel.body)[1])
    assert beyond + x >= width_of(names[0]) * math.cos(math.radians(55))
    assert panel.width == pytest.approx(400 + beyond, abs=0.1)


def test_points_of_a_line_lie_at_their_numbers(make_study):
    study = make_study({"size": ["1", "10", "100", "1000"]}, lambda labels, seed: 0.5)
    (panel,) = panels(study)
    (path,) = re.findall(r'class="line" stroke="[^"]*" d="M([^"]*)"', panel.body)
    places = [float(point.split()[0]) for point in path.split("L")]
    assert [b - a for a, b in pairwise(places)] == pytest.approx([places[1] - places[0]] * 3, abs=0.11)


def test_names_at_the_ends_of_lines_do_not_lie_over_each_other(make_study):
    heads = [f"head {number}" for number in range(8)]
    study = make_study(
        {"head": heads, "size": ["1", "2"]},
        lambda labels, seed: 0.5 + heads.index(labels["head"]) / 1e4,
        {"chart": "lines"},
    )
    (panel,) = panels(study)
    heights = sorted(float(y) for y in re.findall(r'y="([\d.]+)" class="ink">head \d', panel.body))
    assert len(heights) == 8
    assert min(b - a for a, b in pairwise(heights)) > 13
    assert 26 < heights[0] < heights[-1] < 26 + 220 + 8


def test_a_reference_of_the_same_range_is_a_dashed_line_and_any_other_a_panel(make_study):
    def drawn(*numbers):
        given = paper(*(({"size": str(2**place)}, number) for place, number in enumerate(numbers)))
        study = make_study(
            {"size": ["1", "2", "4"]},
            lambda labels, seed: 0.5 + int(labels["size"]) / 100,
            {"reference": "paper"},
            references=given,
        )
        (chart,) = charts_of(study)
        return (
            [panel.title for panel in panels_of(chart)],
            "stroke-dasharray" in panels_of(chart)[0].body,
            [*notes_of(chart)],
        )

    titles, dashed, notes = drawn(50, 52, 54)
    assert (titles, dashed) == ([""], True)
    assert any(note.startswith("Dashed, ref.: Paper") for note in notes)
    titles, dashed, notes = drawn(80, 82, 84)
    assert (titles, dashed) == (["this study", "Paper"], False)
    assert any(note.startswith("Paper") for note in notes)


def test_equal_names_have_equal_colours_in_all_panels(make_study):
    given = paper(({"size": "1", "head": "b"}, 90), ({"size": "1", "head": "c"}, 80))
    study = make_study(
        {"size": ["1"], "head": ["a", "b"]}, lambda labels, seed: 0.5,
        {"chart": "bars", "x": "size", "series": "head", "reference": "paper"}, references=given,
    )  # fmt: skip
    found = [re.findall(r'rx="1.5" fill="([^"]*)"', panel.body) for panel in panels(study)]
    assert found == [["var(--c0)", "var(--c1)"], ["var(--c1)", "var(--c2)"]]


def test_points_of_a_scatter_lie_by_two_measures_and_have_their_names(make_study, result):
    values = {"a": (0.5, 0.6), "b": (0.7, 0.8), "c": (0.7, None)}

    def found(labels, seed):
        linear, tuned = values[labels["network"]]
        rows = [result(linear, interval=None)]
        return rows + ([result(tuned, interval=None, index=1)] if tuned else [])

    measures = [{"label": "linear", "index": 0}, {"label": "fine-tuned", "index": 1}]
    study = make_study({"network": list(values)}, found, {"chart": "scatter", "measures": measures})
    (panel,) = panels(study)
    assert re.findall(r'class="ink">([abc])<', panel.body) == ["a", "b"]
    (turned,) = panels(
        make_study({"network": list(values)}, found, {"chart": "scatter", "x": "fine-tuned", "measures": measures})
    )
    assert "a: linear (%) 50.00, fine-tuned (%) 60.00" in panel.body
    assert "a: fine-tuned (%) 60.00, linear (%) 50.00" in turned.body


def test_families_of_a_scatter_are_named_in_a_legend_and_not_beside_their_points(make_study, result):
    def found(labels, seed):
        return [result(0.5 + int(labels["size"]) / 10), result(0.6, features="z")]

    measures = [{"label": "h"}, {"label": "z", "features": "z"}]
    chart = {"chart": "scatter", "series": "head", "measures": measures, "rename": {"head": "kind of head"}}
    (panel,) = panels(make_study({"size": ["1", "2"], "head": ["a", "b"]}, found, chart))
    legend = re.findall(r'<rect [^>]*fill="([^"]*)"/><text [^>]*class="ink">([^<]*)<', panel.body)
    assert legend == [("var(--c0)", "a"), ("var(--c1)", "b")]
    assert ">kind of head</text>" in panel.body
    assert re.findall(r'class="point" fill="([^"]*)"', panel.body) == ["var(--c0)", "var(--c1)"] * 2
    assert re.findall(r'class="ink">([^<]*)<', panel.body)[-4:] == ["1", "1", "2", "2"]
    assert "1, b: h (%) 60.00" in panel.body


def test_numbers_above_neighbouring_bars_do_not_touch(make_study):
    def drawn(amount):
        names = [f"loss {number}" for number in range(amount)]
        axes = {"loss": names, "head": ["a", "b"]}
        chart = {"chart": "bars", "x": "loss", "series": "head"}
        (panel,) = panels(make_study(axes, lambda labels, seed: 0.215, chart))
        return re.findall(r'x="([\d.]+)" y="[\d.]+"( text-anchor="middle")?[^>]*>21\.5<', panel.body)

    few = drawn(7)
    assert all(middle for _, middle in few)
    assert min(b - a for a, b in pairwise(float(x) for x, _ in few)) > width_of("21.5", 10) + 3
    assert not any(middle for _, middle in drawn(12))  # they are turned


def test_notes_say_what_bars_and_marks_mean(make_study):
    study = make_study(
        {"loss": ["a", "b", "c"]},
        lambda labels, seed: {"a": 0.5, "b": 0.5 if seed else None, "c": "x"}[labels["loss"]],
        {"notes": "Mind this."},
        seeds=(0, 1),
    )
    assert [*notes_of(charts_of(study)[0])] == [
        "Mind this.",
        "Error bars: one sample deviation between seeds to both sides; of a single run its 95 % bootstrap interval "
        "over test images.",
        "* not of every planned seed.",
        "✗: failed: x.",
    ]


def test_a_file_stands_alone(make_study):
    (panel,) = panels(make_study({"loss": ["a", "b"]}, lambda labels, seed: 0.5))
    svg = file_of("A & B", [panel, panel, panel], ["Words " * 60])
    assert "var(" not in svg
    assert svg.count("<g transform") == 3
    assert svg.count(">Words ") > 1  # a long note goes over several lines
    assert "<title>A &amp; B</title>" in svg


def test_a_note_says_why_numbers_are_missing_and_what_there_is_instead(make_study, result):
    row = result(0.5, metrics={"top1": 0.5, "top5": 0.9})
    outcomes = {"a": ([row], {"loss": 1.0}), "b": None}
    charts = [{"measures": [{"metric": "top9"}]}, {"measures": [{"pretraining": "los"}]}]
    study = make_study({"what": ["a", "b"]}, lambda labels, seed: outcomes[labels["what"]], *charts)
    notes = [[*notes_of(chart)][-1] for chart in charts_of(study)]
    assert notes == [
        "–: no top9 of evaluation on h, but top1, top5; not run yet.",
        "–: no los in its pretraining, but loss; not run yet.",
    ]
    assert lacks_of(study) == [
        "top9 by what: no top9 of evaluation on h, but top1, top5",
        "los by what: no los in its pretraining, but loss",
    ]
    assert not lacks_of(make_study({"what": ["a"]}, lambda labels, seed: None, *charts))  # nothing is known yet


def test_long_words_are_cut_to_their_room():
    assert cut("short", 100) == "short"
    shown = cut("a very long name indeed", 60)
    assert shown.endswith("…")
    assert width_of(shown) <= 60
