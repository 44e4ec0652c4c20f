"""The studies that are shipped: every run is a valid recipe, what they draw exists, the paper's numbers are right."""

import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from sslkit.recipe.resolve import load_recipe
from sslkit.recipe.sweep import load_sweep

SWEEPS = Path(__file__).resolve().parents[2] / "recipes" / "sweeps"
FILES = sorted(SWEEPS.glob("*.toml"))
STUDIES = [path for path in FILES if "[sweep.axes" in path.read_text() or path.stem == "table_8"]
SMALL = [path for path in STUDIES if path.stem.endswith("_small")]
PAPER = sorted((SWEEPS / "paper").glob("*.toml"))

# Of the pretraining's metrics those that charts may show.
LOGGED = {"contrastive_accuracy", "contrastive_entropy", "teacher_agreement"}

# Whose small version another one's is.
SHARED = {"table_b2": "table_7", "table_b5": "table_8", "table_b5_random": "table_8", "table_8_random": "table_8"}

# Of every file: how many values, and their sum.
TOTALS = {
    "figure_5": (49, 1098.3),
    "figure_7": (7, 517.7),
    "figure_8": (15, 923.5),
    "figure_9": (36, 2392.1),
    "figure_b7": (2, 189.1),
    "simclrv2": (65, 4929.2),
    "table_1": (12, 830.4),
    "table_3": (12, 806.9),
    "table_4": (5, 281.8),
    "table_5": (18, 869.4),
    "table_6": (9, 715.4),
    "table_6_others": (14, 987.0),
    "table_7": (12, 897.4),
    "table_7_others": (24, 1643.8),
    "table_8_fine_tuned": (24, 2101.2),
    "table_8_linear": (24, 1878.2),
    "table_8_random": (12, 954.2),
    "table_b1": (48, 3171.2),
    "table_b2": (18, 1423.4),
    "table_b3": (18, 1389.8),
    "table_b5_fine_tuned": (24, 2059.2),
    "table_b5_linear": (24, 1773.4),
    "table_b5_random": (12, 948.2),
}


@cache
def study(path):
    return load_sweep(path, ["sweep.axes.seed=[0]"])


@cache
def paper(name):
    return tomllib.loads((SWEEPS / "paper" / f"{name}.toml").read_text())


def values(name, **at):
    """Return the values of a file that lie at some labels."""
    return [value["value"] for value in paper(name)["values"] if at.items() <= value["at"].items()]


def shows(evaluate, measure, weights):
    """Tell whether an [[evaluate]] table yields a measure."""
    subjects = {"random"} if weights == "random" else {"pretrained", *evaluate.get("baselines", ())}
    return measure["features"] in evaluate.get("features", ["h"]) and measure["weights"] in subjects


def measured(point, measure):
    """Tell whether a run measures what a chart shows."""
    if measure["pretraining"]:
        return measure["pretraining"] in LOGGED
    tables = list(enumerate(point.document.tree["evaluate"]))
    wanted = measure["evaluation"]
    named = [table for number, table in tables if wanted in (None, number, table["name"])]
    return any(shows(table, measure, point.document.tree.get("weights")) for table in named)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_run_of_a_study_is_a_valid_recipe(path):
    sweep = study(path)
    assert sweep.name == path.stem
    assert sweep.description
    assert sweep.charts


@pytest.mark.parametrize("path", [path for path in FILES if path not in STUDIES], ids=lambda path: path.stem)
def test_what_is_no_study_is_a_recipe(path):
    assert load_recipe(path).name == path.stem


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_comment_says_the_command_and_how_many_runs_there_are(path):
    text = path.read_text()
    data = "" if path in SMALL else " --data-root /data"
    assert f"\n#   sslkit sweep recipes/sweeps/{path.name}{data}\n" in text
    stated = re.search(r"(?:^# |: |\. |, )(\d+) runs(?: x (\d+) seeds)?", text, re.MULTILINE)
    axes = tomllib.loads(text).get("sweep", {}).get("axes", {})
    assert (int(stated[1]), int(stated[2] or 1)) == (len(study(path).points), len(axes.get("seed", [0])))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_measure_of_every_chart_is_measured_by_a_run(path):
    sweep = study(path)
    for chart in sweep.charts:
        shown = [
            point
            for point in sweep.points
            if all(point.labels[axis] in labels for axis, labels in chart["where"].items())
        ]
        for measure in chart["measures"]:
            assert any(measured(point, measure) for point in shown), (chart["title"], measure)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_numbers_beside_a_chart_are_of_its_axes_and_measures(path):
    sweep = study(path)
    axes = {axis.name: axis.labels for axis in sweep.axes}
    for chart in sweep.charts:
        if not chart["reference"]:
            continue
        at_points = 0
        for value in sweep.references[chart["reference"]]["values"]:
            assert value["at"].keys() <= axes.keys()
            labels = [measure["label"] for measure in chart["measures"]]
            fits = value.get("measure", labels[0]) in labels
            at_points += fits and any(value["at"].items() <= point.labels.items() for point in sweep.points)
        # A small study may have other batch sizes and lengths than the paper: then it is seen beside it, not in it.
        assert at_points or path in SMALL, chart["title"]


def test_every_study_has_a_small_version_that_needs_no_data():
    small = {path.stem.removesuffix("_small") for path in SMALL}
    large = {path.stem for path in STUDIES} - {path.stem for path in SMALL}
    assert {SHARED.get(name, name) for name in large} == small
    for path in SMALL:
        for point in study(path).points:
            tree = point.document.tree
            data = [table["data"]["name"] for table in tree["evaluate"] if "data" in table]
            pretrained_on = tree["pretrain"]["data"]["name"] if "pretrain" in tree else "builtin.shapes"
            assert {pretrained_on, *data} == {"builtin.shapes"}


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_small_studies_differ_from_their_base_only_in_what_they_say(path):
    """What all of them share is frozen in small.toml; figure 6 trains nothing."""
    base = load_recipe(SWEEPS / "small.toml").pretrain
    if path.stem == "figure_6_small":
        return
    for point in study(path).points:
        assert point.recipe.pretrain.data.options == base.data.options
        assert point.recipe.pretrain.backbone.component.name == base.backbone.component.name


@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_the_papers_numbers_are_numbers_with_a_source(path):
    file = paper(path.stem)
    assert re.search(r"arXiv:\d{4}\.\d{5}|github\.com/google-research/simclr", file["source"])
    assert file["title"]
    assert file["setting"]
    assert file["unit"] == "percent"
    seen = set()
    for value in file["values"]:
        assert 0 <= value["value"] <= 100
        assert value.keys() <= {"at", "measure", "value", "recalled", "deviation"}
        assert all(isinstance(label, str) and label for label in value["at"].values())
        place = (*sorted(value["at"].items()), value.get("measure"))
        assert place not in seen
        seen.add(place)


def test_only_figure_5_is_recalled():
    assert {path.stem for path in PAPER if "recalled" in paper(path.stem)} == {"figure_5"}


def test_the_recalled_cells_of_figure_5_have_the_recalled_means():
    means = {
        "crop": 39.2, "cutout": 29.4, "colour": 25.7, "sobel": 18.8, "noise": 15.5, "blur": 14.5, "rotate": 13.8,
    }  # fmt: skip
    for operation, mean in means.items():
        row = values("figure_5", **{"operations.0": operation})
        assert len(row) == 7
        assert sum(row) / 7 == pytest.approx(mean, abs=0.1)


def test_the_paper_files_hold_what_was_read():
    totals = {name: (len(values(name)), round(sum(values(name)), 1)) for name in (path.stem for path in PAPER)}
    assert totals == TOTALS
    assert values("table_1", strength="1 (+blur)") == [64.5, 75.4]
    assert values("table_3", target="rotation") == [67.6, 25.6, 25]
    assert values("table_4", loss="NT-Xent") == [63.9]
    assert values("table_5", temperature="0.1, l2") == [64.4, 87.8, 4.5]
    assert values("table_6", network="R50 (4x)", policy="default") == [76.5, 93.2]
    assert values("table_7", network="R50", labels="1 %") == [75.5, 48.3]
    assert values("table_8_fine_tuned", training="SimCLR")[:2] == [89.4, 98.6]
    assert values("table_b1", batch_size="8192", epochs="400") == [67.8, 68.3]
    assert values("table_b3", network="R50 (4x)", epochs="90") == [78.4, 78.9, 78.7]
    assert values("table_b5_linear", training="supervised")[-1] == 94.7
    assert values("figure_b7") == [94.0, 95.1]


def test_every_file_of_the_papers_is_used():
    used = {Path(chart["reference"]).stem for path in STUDIES for chart in study(path).charts if chart["reference"]}
    texts = "".join(path.read_text() for path in FILES)
    assert {path.stem for path in PAPER} == used | set(re.findall(r"paper/(\w+_others)\.toml", texts))
