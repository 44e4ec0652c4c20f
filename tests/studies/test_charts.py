"""Charts: where things are drawn, checked against numbers worked out by hand."""

import json
import re
import time

import numpy as np
import pytest

from sslkit.studies.charts import Axis, line_chart, short
from sslkit.studies.confusion import Confusion, heat_map
from sslkit.studies.curves import Curve, read_curves
from sslkit.studies.maps import Classes, scatter
from sslkit.studies.tracks import Reference, bar, scale, track


def curve(values, steps=None):
    return Curve.of(np.arange(len(values), dtype=float) if steps is None else np.array(steps), np.array(values))


def paths(html, look):
    return re.findall(rf'<path class="{look}"[^>]* d="([^"]*)"', html)


def test_an_axis_ends_at_round_numbers():
    axis = Axis.of(2.3, 6.9, 164, 10, whole=True)
    assert (axis.low, axis.high, axis.ticks) == (2, 8, (2, 4, 6, 8))
    assert axis.at(5.0) == 164 - 154 / 2
    assert Axis.of(0.00012, 0.00031, 0, 1, whole=True).ticks == (0.0001, 0.00015, 0.0002, 0.00025, 0.0003, 0.00035)
    assert Axis.of(-3, 1, 0, 1, whole=True).ticks == (-3, -2, -1, 0, 1)


def test_an_axis_of_steps_ends_at_the_last_one():
    axis = Axis.of(0, 1104, 46, 348)
    assert (axis.high, axis.ticks) == (1104, (0, 500, 1000))
    assert axis.at(1104.0) == 348


def test_a_logarithmic_axis_has_equal_decades():
    axis = Axis.of(0.02, 700, 0, 100, log=True)
    assert axis.ticks == (0.01, 0.1, 1, 10, 100, 1000)
    np.testing.assert_allclose(axis.at(np.array([0.01, 1.0, 1000.0])), [0, 40, 100])


@pytest.mark.parametrize(("low", "high"), [(0, 0), (5, 5), (-2, -2), (0, 1e-300), (-1e300, 1e300), (1, 1 + 1e-12)])
def test_no_range_breaks_an_axis(low, high):
    axis = Axis.of(low, high, 0, 100, whole=True)
    assert np.isfinite(axis.at(np.array([low, high], dtype=float))).all()
    assert 1 <= len(axis.ticks) <= 12


def test_numbers_are_short():
    numbers = [0, 0.25, 1500, 25_000, 2.5e6, 3e9, 1e-5, 1e20]
    assert [short(number) for number in numbers] == ["0", "0.25", "1,500", "25k", "2.5M", "3G", "1e-05", "1e+20"]


def test_a_curve_goes_through_its_values():
    html = line_chart("loss", {"loss": curve([4.0, 2.0, 0.0])})
    # From 46 to 348 across, from 164 (for 0) up to 10 (for 4).
    assert paths(html, "curve")[0] == "M46.0 10.0L197.0 87.0L348.0 164.0"
    assert "curve ends at 0, from 0 to 4" in html


def test_only_ratios_of_very_different_sizes_get_a_logarithmic_axis():
    values = [1000.0, 1.0]
    assert "logarithmic" in line_chart("loss", {"loss": curve(values)}, ratios=True)
    assert "logarithmic" not in line_chart("rate", {"rate": curve(values)})
    assert "logarithmic" not in line_chart("loss", {"loss": curve([40.0, 1.0])}, ratios=True)
    assert "logarithmic" not in line_chart("loss", {"loss": curve([1000.0, 0.0])}, ratios=True)
    assert paths(line_chart("loss", {"loss": curve(values)}, ratios=True), "curve")[0] == "M46.0 10.0L348.0 164.0"


def test_what_is_not_finite_is_a_gap_with_a_cross():
    html = line_chart("loss", {"loss": curve([1.0, 2.0, np.nan, np.inf, 4.0])})
    assert len(paths(html, "curve")) == 2 + 2  # two pieces, each with its dots
    assert paths(html, "gap") == ["M194.0 158l6 6m0 -6l-6 6M269.5 158l6 6m0 -6l-6 6"]
    assert "2 of 5 values are not finite" in html
    assert "No finite value" in line_chart("loss", {"loss": curve([np.nan])})


def test_several_curves_differ_without_colour():
    html = line_chart("loss", {f"run {number}": curve([1.0, float(number)]) for number in range(4)})
    looks = re.findall(r'class="curve" stroke="var\(--c(\d)\)"( stroke-dasharray="[^"]*")? d=', html)
    assert len(set(looks[:4])) == 4
    assert "<span>run 3</span>" in html


def test_thinning_keeps_extremes_and_means():
    values = np.sin(np.arange(10_000) / 300)
    values[5_000], values[7_000], values[9_000] = 50.0, -50.0, np.nan
    thin = Curve.of(np.arange(10_000.0), values).thinned(100)
    assert len(thin.steps) == 100
    assert (thin.high[50], thin.low[70]) == (50.0, -50.0)
    assert thin.values[50] == pytest.approx(values[5_000:5_100].mean())
    assert thin.values[90] == pytest.approx(np.nanmean(values[9_000:9_100]))
    assert thin.missing.tolist() == [number == 90 for number in range(100)]
    assert thin.steps[0] == 49.5
    sparse = curve([np.nan, 3.0, np.nan, np.nan, np.nan, np.nan]).thinned(2)
    np.testing.assert_array_equal([sparse.values, sparse.low, sparse.high], [[3.0, np.nan]] * 3)
    assert curve([1.0, 2.0]).thinned(100).values.tolist() == [1.0, 2.0]


def test_thinned_curves_show_the_range_they_leave_out():
    values = np.zeros(10_000)
    values[5_000] = 100.0
    (band,) = paths(line_chart("speed", {"speed": Curve.of(np.arange(10_000.0), values)}), "band")
    assert " 10.0L" in band  # up to the peak


def test_metrics_are_read_whatever_they_hold(tmp_path):
    lines = [
        {"step": 2, "loss": 1.5, "note": "text"},
        {"step": 1, "loss": None, "rate": 10**400, "online": 0.5},
        {"step": 3, "loss": True},
        {"loss": 1.0},
        [1],
    ]
    text = (
        "\n".join(map(json.dumps, lines)) + '\n\n{"step": 4, "loss": 0.25}\n{"step": NaN, "loss": 7}\n{"step": 5, "lo'
    )
    (tmp_path / "metrics.jsonl").write_text(text)
    curves, num_broken = read_curves(tmp_path / "metrics.jsonl")
    assert num_broken == 4
    assert curves.keys() == {"loss", "rate", "online"}
    assert curves["loss"].steps.tolist() == [1, 2, 4]
    np.testing.assert_array_equal(curves["loss"].values, [np.nan, 1.5, 0.25])
    assert np.isnan(curves["rate"].values).all()
    assert curves["online"].values.tolist() == [0.5]
    assert read_curves(tmp_path / "nowhere") == ({}, 0)


def test_many_lines_are_read_quickly_and_drawn_small(tmp_path):
    text = "".join(f'{{"step":{n},"loss":{n % 7},"rate":0.5,"speed":100.0}}\n' for n in range(100_000))
    (tmp_path / "metrics.jsonl").write_text(text)
    start = time.process_time()
    curves, _ = read_curves(tmp_path / "metrics.jsonl")
    html = line_chart("loss", {"loss": curves["loss"]})
    assert time.process_time() - start < 5
    assert len(curves["loss"].values) == 100_000
    assert len(html) < 20_000


def test_a_track_places_value_interval_and_references():
    references = [Reference("chance", 0.1, "2 3")]
    svg = track(0.612, "h: 61.2 %", interval=(0.598, 0.6255), references=references)
    assert 'cx="61.20%"' in svg
    assert 'class="interval" x1="59.80%" x2="62.55%"' in svg
    assert 'stroke-dasharray="2 3" x1="10.00%" x2="10.00%"' in svg
    assert 'cx="25.00%"' in track(10.0, "RankMe", low=-10.0, high=70.0)
    assert 'cx="100.00%"' in track(1.7, "beyond")
    assert 'class="hollow"' in track(0.5, "random", baseline=True)
    assert 'x1="0" x2="38.40%"' in bar(0.384, "a class")
    assert re.findall(r'x="([^"]*)"', scale(["0 %", "50 %", "100 %"])) == ["0%", "50%", "100%"]


def test_points_of_a_map_keep_their_proportions():
    positions, labels = np.array([[0.0, 0.0], [10.0, 5.0], [5.0, 0.0]]), np.array([0, 1, -1])
    svg = scatter("h", positions, labels, Classes.of(labels, "class {}".format), axes="")
    # 336 units for 10, the middle (5, 2.5) at (180, 180), upwards is up.
    starts = re.findall(r'd="M([\d.]+) ([\d.]+)[^"]*"><title>([^<]*)', svg)
    expected = [("180.0", "264.0", "other classes"), ("12.0", "264.0", "class 0"), ("348.0", "96.0", "class 1")]
    assert starts == expected


def test_classes_of_a_map_differ_without_colour_and_rare_ones_share_grey():
    labels = np.repeat(np.arange(30), np.arange(30, 0, -1))
    classes = Classes.of(labels, "class {}".format)
    assert list(classes.shown) == list(range(20))
    assert classes.others == 10
    samples = re.findall(r"<path[^>]*>", classes.legend())
    assert len(set(samples)) == 21
    first = [re.search(r' d="([^"]*)"', sample).group(1) for sample in samples[:10]]
    assert len(set(first)) == 10
    assert "10 other classes" in classes.legend()


def test_confusion_counts_by_true_and_predicted_class():
    label, predicted = np.array([0, 0, 0, 2, 2, 7]), np.array([0, 2, 2, 2, 0, 3])
    found = Confusion.of(predicted, label)
    assert found.classes.tolist() == [0, 2, 3, 7]
    assert found.counts.tolist() == [[1, 2, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]
    np.testing.assert_allclose(found.recalls, [1 / 3, 1 / 2, np.nan, 0])


def test_the_most_confused_classes_are_kept():
    label = np.concatenate([np.arange(50), np.full(9, 40), np.full(5, 7)])
    predicted = np.concatenate([np.arange(50), np.full(9, 3), np.full(5, 8)])
    assert Confusion.of(predicted, label).most_confused(4).classes.tolist() == [3, 7, 8, 40]
    assert Confusion.of(predicted, label).most_confused(4).counts[3].tolist() == [9, 0, 0, 1]


def test_a_heat_map_shades_cells_by_their_share_of_the_row():
    found = Confusion.of(np.array([0, 0, 0, 1, 1, 0]), np.array([0, 0, 0, 0, 1, 1]))
    svg = heat_map(found, np.array([4, 2]), ["cat", "<dog>"].__getitem__, "Confusion")
    cells = re.findall(r'<rect class="(\w+)" fill-opacity="([\d.]+)" x="(\d+)" y="(\d+)"', svg)
    left, right = "112", "142"
    expected = [
        ("right", "0.75", left, left),
        ("wrong", "0.50", right, left),
        ("wrong", "1.00", left, right),
        ("right", "0.50", right, right),
    ]
    assert cells == expected
    assert "<title>cat taken for &lt;dog&gt;: 25.0% (1 of 4)</title>" in svg
