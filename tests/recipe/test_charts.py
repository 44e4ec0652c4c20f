"""What a study's charts ask for: mistakes that can be known are told before its first run, with their place."""

import pytest

from sslkit.errors import RecipeError
from sslkit.recipe.sweep import load_sweep

AXES = """
[sweep.axes]
pretrain.epochs = [1, 2]
pretrain.objective.temperature = [0.1, 0.5]
seed = [0, 1]
[[sweep.report]]
"""
TWO = 'measures = [{ label = "k", evaluation = 0 }, { label = "loss", pretraining = "loss" }]\n'
BARS = 'chart = "bars"\n'
SCATTER = f'chart = "scatter"\n{TWO}'


@pytest.fixture
def study(light):
    """Return a function that reads the light recipe with two axes and a chart."""

    def read(chart, axes=AXES):
        return load_sweep(light(more=axes + chart))

    return read


def problems(study, chart, axes=AXES):
    with pytest.raises(RecipeError) as caught:
        study(chart, axes)
    assert all("light.toml:" in problem and "\n" not in problem for problem in caught.value.problems)
    return caught.value.problems


MISTAKES = {
    f'{BARS}y = "epochs"': "report.0.y: bars has no use for it, but for x, series; leave it out",
    f'{BARS}means = "rows"': "report.0.means: bars has no use for it",
    f"{BARS}log = true": "report.0.log: bars has no use for it",
    'chart = "heat_map"\nseries = "epochs"': "series: heat_map has no use for it",
    f'{BARS}x = "epochs"\nseries = "pretrain.epochs"': "report.0.series: is 'epochs', as x is; name another",
    'chart = "heat_map"\nx = "epochs"\ny = "epochs"': "report.0.y: is 'epochs', as x is",
    'chart = "scatter"': "scatter needs two measures, for x and y",
    f'{SCATTER}x = "epochs"': "report.0.x: no measure has the label 'epochs'; the labels are k, loss",
    f'{SCATTER}y = "los"': "report.0.y: no measure has the label 'los'; did you mean \"loss\"?",
    f'{SCATTER}x = "k"\ny = "k"': "report.0.y: is 'k', as x is",
    f'{SCATTER}series = "k"': "report.0.series: no axis is called 'k'",
    'measures = [{ label = "k" }, { label = "k", evaluation = 0 }]': "two have the label 'k'",
    'measures = [{ pretraining = "loss", evaluation = 0 }]': "leave out pretraining or evaluation",
    'measures = [{ pretraining = "loss", features = "h" }]': "leave out pretraining or features",
    'rename = { temperatur = "T" }': "rename.temperatur: no axis and no point is called 'temperatur'; did you mean",
    'where = { temperature = [0.1, 0.3] }': "where.temperature: temperature has no point 0.3; its points are 0.1, 0.5",
    'where = { temperatur = 0.1 }': "where.temperatur: no axis is called 'temperatur'; did you mean",
    'x = "seed"': "the seeds are no axis of a chart, which shows their mean and deviation; leave it out",
    'x = "objective.tempratur"': "report.0.x: no axis is called 'objective.tempratur'; did you mean \"temperature\"?",
}  # fmt: skip


@pytest.mark.parametrize(("chart", "words"), MISTAKES.items())
def test_a_mistake_in_a_chart_is_a_line_with_its_place(study, chart, words):
    (problem,) = problems(study, chart)
    assert words in problem


def test_a_heat_map_needs_two_axes(study):
    (problem,) = problems(study, 'chart = "heat_map"', AXES.replace("pretrain.epochs = [1, 2]\n", ""))
    assert "chart: heat_map needs two axes beside the seeds, here is temperature; draw lines or bars" in problem


def test_a_number_of_the_pretraining_needs_one(light):
    text = light().read_text()
    start, end = text.index("[pretrain]"), text.index("[[evaluate]]")
    more = 'data = { name = "local.made" }\n[sweep.axes]\nevaluate.0.k = [1, 2]\n[[sweep.report]]\n'
    path = light(text[start:end], 'weights = "random"\n', more=f"{more}measures = [{{ pretraining = 'loss' }}]\n")
    with pytest.raises(RecipeError, match=r"light\.toml:\d+ sweep\.report\.0\.measures\.0: no run pretrains"):
        load_sweep(path)


def test_points_that_axes_in_step_do_not_have_are_told(study):
    axes = AXES.replace("[sweep.axes]", '[sweep]\ncombine = "zip"\n[sweep.axes]')
    (problem,) = problems(study, "where = { epochs = 1, temperature = 0.5 }", axes)
    assert "where: no run is at such a point" in problem


def test_a_measure_is_looked_for_in_the_runs_of_its_chart(light):
    point = '\n[[sweep.axes.what]]\nlabel = "{}"\nset.evaluate = [{{ name = "local.evaluation", features = ["{}"] }}]'
    chart = '\n[[sweep.report]]\nwhere = {{ what = "{}" }}\nmeasures = [{{ features = "z" }}]\n'
    both = point.format("one", "h") + point.format("two", "z")
    assert load_sweep(light(more=both + chart.format("two")))
    with pytest.raises(RecipeError, match="no run measures evaluation on z"):
        load_sweep(light(more=both + chart.format("one")))


def test_all_mistakes_are_told_at_once(study):
    chart = f'{BARS}y = "x"\nx = "epoch"\n[[sweep.report]]\nwhere = {{ epochs = 3 }}\nrename = {{ a = "b" }}'
    assert len(problems(study, chart)) == 5


@pytest.mark.parametrize("name", ["temperature", "objective.temperature", "pretrain.objective.temperature"])
def test_an_axis_is_called_by_any_end_of_its_key(study, name):
    (chart,) = study(f'x = "{name}"\nwhere = {{ "{name}" = 0.10 }}\nrename = {{ "{name}" = "T" }}').charts
    assert (chart["x"], chart["where"], chart["rename"]) == (
        "temperature", {"temperature": ["0.1"]}, {"temperature": "T"}
    )  # fmt: skip


def test_an_end_that_two_axes_have_calls_neither(study):
    axes = AXES.replace("pretrain.epochs = [1, 2]", "evaluate.0.k = [1, 2]\npretrain.views.size = [1, 2]")
    assert study('x = "views.size"\nseries = "0.k"', axes).charts[0]["series"] == "k"
    doubled = AXES.replace("pretrain.epochs = [1, 2]", 'pretrain.views.name = ["local.views"]').replace(
        "pretrain.objective.temperature = [0.1, 0.5]", 'pretrain.objective.name = ["local.objective", "local.other"]'
    )
    (problem,) = problems(study, 'x = "name"', doubled)
    assert "no axis is called 'name'" in problem


@pytest.mark.parametrize(
    ("given", "labels"),
    [("0.1", ["0.1"]), ('"0.10"', ["0.1"]), ("[0.5, '0.1']", ["0.5", "0.1"]), ("0.50", ["0.5"])],
)
def test_points_are_called_by_numbers_or_texts_one_or_several(study, given, labels):
    assert study(f"where = {{ temperature = {given} }}").charts[0]["where"] == {"temperature": labels}


def test_points_of_words_and_switches_too(light):
    axes = "\n[sweep.axes]\npretrain.backbone.options.fast = [true, false]\n[[sweep.report]]\n"
    assert load_sweep(light(more=f"{axes}where = {{ fast = true }}")).charts[0]["where"] == {"fast": ["true"]}


def test_labels_of_a_reference_may_be_renamed_and_points_by_their_numbers(study, tmp_path):
    (tmp_path / "paper.toml").write_text("values = [{ at = { temperature = 9 }, value = 1 }]")
    (chart,) = study('reference = "paper.toml"\nrename = { 9 = "nine", "0.50" = "half" }').charts
    assert chart["rename"] == {"9": "nine", "0.5": "half"}


def refused(study, tmp_path, text, chart=""):
    (tmp_path / "paper.toml").write_text(text)
    return problems(study, f'{chart}reference = "paper.toml"')


def test_mistakes_in_a_reference_name_the_study_and_the_file_and_the_row(study, tmp_path):
    rows = (
        "[[values]]\nat = { epochs = 1 }\nvalue = 1.0\n[[values]]\nat = { epochs = 2 }\nvalue = 'x'\n"
        "[[values]]\nat = 3\nvalue = 1\nmesure = 'h'\n"
    )
    found = refused(study, tmp_path, rows)
    assert all(f"light.toml:37 sweep.report.0.reference: {tmp_path / 'paper.toml'}:" in problem for problem in found)
    assert [problem.rpartition("paper.toml:")[2] for problem in found] == [
        '6 values.1.value: should be a valid number, got "x"',
        "8 values.2.at: should be a table, got 3",
        '10 values.2.mesure: unknown key; did you mean "measure"?',
    ]


def test_an_axis_of_a_reference_is_one_of_the_study_s(study, tmp_path):
    (problem,) = refused(study, tmp_path, "values = [{ at = { temperatur = 0.1 }, value = 1.0 }]")
    assert "paper.toml:1 values.0.at: the study has no axis 'temperatur'; did you mean \"temperature\"?" in problem


def test_a_reference_of_other_measures_only_would_never_be_seen(study, tmp_path):
    text = "values = [{ at = { epochs = 1 }, measure = 'q', value = 1.0 }]"
    (problem,) = refused(study, tmp_path, text, chart=TWO)
    assert "its values are of q; the measures of this chart have the labels k, loss" in problem
    (tmp_path / "paper.toml").write_text(text.replace("'q'", "'loss'"))
    assert study(f'{TWO}reference = "paper.toml"')


def test_a_reference_at_other_points_is_remarked_on_and_at_one_of_the_study_s_is_not(study, tmp_path):
    path = tmp_path / "paper.toml"
    path.write_text("values = [{ at = { temperature = 0.9, epochs = 1 }, value = 1.0 }]")
    (remark,) = study('reference = "paper.toml"').remarks
    assert "reference: none of the values of" in remark
    path.write_text("values = [{ at = { temperature = 0.9 }, value = 1 }, { at = { temperature = 0.50 }, value = 2 }]")
    sweep = study('reference = "paper.toml"')
    assert not sweep.remarks
    assert [value["at"] for value in sweep.references[sweep.charts[0]["reference"]]["values"]] == [
        {"temperature": "0.9"}, {"temperature": "0.5"},
    ]  # fmt: skip


def test_a_study_has_a_description_of_its_own_or_none(light, tmp_path):
    light('name = "light"', 'name = "light"\ndescription = "The base."', more="", name="base.toml")
    child = tmp_path / "child.toml"
    child.write_text('extends = "base.toml"\n[sweep.axes]\npretrain.epochs = [1]\n')
    assert load_sweep(child).description == ""
    assert load_sweep(child, ["description='Said now.'"]).description == "Said now."
    child.write_text('extends = "base.toml"\ndescription = "Mine."\n[sweep.axes]\npretrain.epochs = [1]\n')
    assert load_sweep(child).description == "Mine."


def test_what_all_runs_have_in_common_is_known_and_nothing_of_what_varies(study):
    recipe = study("").recipe
    assert recipe["pretrain"]["batch_size"] == 4
    assert recipe["pretrain"]["backbone"] == {"name": "local.backbone", "model": "tiny", "depth": 1, "options": {}}
    assert "epochs" not in recipe["pretrain"]
    assert recipe["pretrain"]["objective"] == {"name": "local.objective"}
    assert "seed" not in recipe
    assert recipe["plugins"] == ["light.py"]  # not where it lies
    other = AXES.replace("objective.temperature = [0.1, 0.5]", 'objective.name = ["local.objective", "local.other"]')
    assert study("", other).recipe["pretrain"]["objective"] == {}  # there is one, and it varies
    assert "head" not in recipe["pretrain"]
    tables = (
        "evaluate = [[{ name = 'local.evaluation' }], [{ name = 'local.evaluation' }, { name = 'local.evaluation' }]]"
    )
    assert study("", AXES.replace("pretrain.epochs = [1, 2]", tables)).recipe["evaluate"] == []
