"""A recipe with a [sweep] table: which runs it asks for, what each is called, when two are the same."""

import pytest

from sslkit.errors import RecipeError
from sslkit.recipe.resolve import load_recipe
from sslkit.recipe.sweep import load_sweep


@pytest.fixture
def study(light):
    """Return a function that reads the light recipe with lines of a sweep below."""

    def read(lines, *overrides, old="", new=""):
        return load_sweep(light(old, new, more=f"\n{lines}\n"), overrides)

    return read


def titles(sweep):
    return [point.title for point in sweep.points]


def test_every_combination_of_values_the_seeds_last_to_change(study):
    sweep = study("[sweep.axes]\nseed = [3, 4]\npretrain.epochs = [1, 2]\npretrain.objective.temperature = [0.1, 0.2]")
    assert titles(sweep) == [
        f"epochs {epochs}, temperature {temperature}, seed {seed}"
        for seed in (3, 4)
        for epochs in (1, 2)
        for temperature in (0.1, 0.2)
    ]
    last = sweep.points[-1].recipe
    assert (last.seed, last.pretrain.epochs, last.pretrain.objective.options["temperature"]) == (4, 2, 0.2)
    assert sweep.seeds == (3, 4)
    assert [axis.key for axis in sweep.axes] == ["pretrain.epochs", "pretrain.objective.temperature"]
    assert sweep.axes[1].values == (0.1, 0.2)


def test_axes_in_step(study):
    sweep = study(
        '[sweep]\ncombine = "zip"\n[sweep.axes]\nseed = [0, 1]\n"pretrain.epochs" = [1, 2]\n'
        '"pretrain.batch_size" = [8, 4]'
    )
    assert titles(sweep)[:2] == ["epochs 1, batch_size 8, seed 0", "epochs 2, batch_size 4, seed 0"]
    assert len(sweep.points) == 4


def test_keys_step_into_lists_by_number(study):
    axes = "[sweep.axes]\nevaluate.0.k = [5, 50]\npretrain.views.ratio.0 = [0.1, 0.2]"
    sweep = study(axes, old='name = "local.views"', new='name = "local.views"\nratio = [0.5, 1.0]')
    assert [point.recipe.evaluate[0].evaluation.options["k"] for point in sweep.points] == [5, 5, 50, 50]
    assert [point.recipe.pretrain.views.options["ratio"] for point in sweep.points] == [(0.1, 1.0), (0.2, 1.0)] * 2
    assert [axis.name for axis in sweep.axes] == ["k", "ratio.0"]


def test_named_points_are_pieces_of_recipe_that_merge_as_a_file_does(study):
    sweep = study(
        """
        [[sweep.axes.loss]]
        label = "warm"
        set.pretrain.objective.temperature = 2.0
        set.pretrain.epochs = 7
        [[sweep.axes.loss]]
        label = "other"
        set.pretrain.objective = { name = "local.other", margin = 3.0 }
        value = 0.5
        """,
        old='name = "local.objective"',
        new='name = "local.objective"\ntemperature = 0.1',
    )
    warm, other = (point.recipe.pretrain for point in sweep.points)
    assert (warm.objective.options, warm.epochs) == ({"temperature": 2.0}, 7)
    assert (other.objective.options, other.epochs) == ({"margin": 3.0}, 2)  # nothing is left over of the other loss
    (axis,) = sweep.axes
    assert (axis.name, axis.key, axis.labels, axis.values) == ("loss", "", ("warm", "other"), (None, 0.5))


def test_labels_that_are_numbers_lie_on_an_axis(study):
    lines = "\n".join(
        f'[[sweep.axes.s]]\nlabel = "{label}"\nset.pretrain.epochs = {n}'
        for n, label in enumerate(("1/8", "2", "x"), 1)
    )
    assert study(lines).axes[0].values == (0.125, 2.0, None)


def test_names_of_axes_are_as_short_as_they_can_be(study):
    sweep = study(
        "[sweep.axes]\npretrain.objective.name = ['local.objective']\npretrain.method.name = ['local.method']\n"
        "pretrain.epochs = [1]"
    )
    assert [axis.name for axis in sweep.axes] == ["objective.name", "method.name", "epochs"]


def test_the_identity_of_a_run_is_what_it_computes(study):
    axes = "[sweep.axes]\npretrain.epochs = [1, 2]"
    (one, two), again = study(axes).points, study(axes + "\n", old='name = "light"', new='name = "renamed"').points
    assert one.id != two.id
    assert [one.id, two.id] == [point.id for point in again]
    assert (
        study(axes, old='model = "tiny"', new='model = "tiny"\ndepth = 1').points[0].id == one.id
    )  # said or by default
    assert study(axes, old='model = "tiny"', new='model = "tiny"\ndepth = 2').points[0].id != one.id


def test_other_data_are_another_run(study):
    axes = "[sweep.axes]\npretrain.data.folder = ['cars', 'flowers']\nevaluate.0.k = [5, 9]"
    points = study(axes, old='name = "local.made"', new='name = "local.read"').points
    assert len({point.id for point in points}) == 4
    assert len({point.pretraining for point in points}) == 2


def test_of_weights_what_they_hold_counts_and_not_where_they_lie(study, tmp_path):
    for name, content in (("a/w.pth", "one"), ("b/w.pth", "two"), ("c/w.pth", "one")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(content)
    one, two = study("[sweep.axes]\npretrain.weights = ['a/w.pth', 'b/w.pth']").points
    assert one.id != two.id
    assert study("[sweep.axes]\npretrain.weights = ['c/w.pth']").points[0].id == one.id
    assert one.recipe.pretrain.weights == str(tmp_path / "a" / "w.pth")


def test_a_key_that_only_the_axes_give_is_given(study):
    sweep = study("[sweep.axes]\npretrain.batch_size = [8, 16]", old="batch_size = 4\n")
    assert [point.recipe.pretrain.batch_size for point in sweep.points] == [8, 16]


def test_many_axes_in_step_are_not_many_runs(study):
    keys = ("epochs", "batch_size", "checkpoint_every_steps", "checkpoint_every_epochs", "objective.temperature")
    axes = "\n".join(f"pretrain.{key} = {list(range(1, 11))}" for key in keys)
    axes = f'[sweep]\ncombine = "zip"\n[sweep.axes]\n{axes}\nevaluate.0.k = {list(range(10))}'
    assert len(study(axes).points) == 10


def test_an_axis_with_dots_or_quotes_is_the_same_axis_and_is_replaced_by_what_extends_it(light, tmp_path):
    light(more='\n[sweep.axes]\n"pretrain.epochs" = [1, 2, 3]\n', name="base.toml")
    (tmp_path / "child.toml").write_text('extends = "base.toml"\n[sweep.axes]\npretrain.epochs = [4]\n')
    (axis,) = load_sweep(tmp_path / "child.toml").axes
    assert axis.labels == ("4",)
    assert axis.places == (f"{tmp_path / 'child.toml'}:3",)


def test_a_study_elsewhere_that_extends_one_finds_its_numbers_and_weights(light, tmp_path):
    (tmp_path / "paper.toml").write_text("values = [{ at = { a = 'x' }, value = 64.5 }]")
    (tmp_path / "w.pth").write_text("weights")
    point = '\n[[sweep.axes.a]]\nlabel = "x"\nset.pretrain.weights = "w.pth"\n'
    light(more=point + '\n[[sweep.report]]\nreference = "paper.toml"\n', name="base.toml")
    (tmp_path / "elsewhere").mkdir()
    child = tmp_path / "elsewhere" / "child.toml"
    child.write_text('extends = "../base.toml"\nname = "child"\n')
    sweep = load_sweep(child)
    (name,) = sweep.references
    assert name == sweep.charts[0]["reference"] == f"{tmp_path.name}/paper.toml"
    assert sweep.points[0].recipe.pretrain.weights == f"{tmp_path}/elsewhere/../w.pth".replace("elsewhere/../", "")


def test_runs_that_differ_in_evaluations_only_share_their_pretraining(study):
    sweep = study("[sweep.axes]\nevaluate.0.k = [5, 50]\npretrain.epochs = [1, 2]\nseed = [0, 1]")
    pretrainings = [point.pretraining for point in sweep.points]
    assert len(set(pretrainings)) == 4
    assert all(pretrainings.count(name) == 2 for name in pretrainings)


def test_a_changed_plugin_file_is_another_run(study, tmp_path):
    axes = "[sweep.axes]\npretrain.epochs = [1]"
    before = study(axes).points[0]
    study_path = tmp_path / "light.toml"
    (tmp_path / "light.py").write_text((tmp_path / "light.py").read_text() + "\n# another\n")
    after = load_sweep(study_path).points[0]
    assert before.id != after.id
    assert before.pretraining != after.pretraining


EPOCHS = "[sweep.axes]\npretrain.epochs = [1]\n"
POINT = "[[sweep.axes.a]]\nlabel = 'x'\n"

MISTAKES = {
    "[sweep.axes]": "sweep.axes: is empty",
    "[sweep]\ncombine = 'sum'\naxes.seed = [1]": "sweep.combine: should be 'product' or 'zip'",
    "[sweep.axes]\npretrain.epochs = 3": "sweep.axes.pretrain.epochs: should be a list of values",
    "[sweep.axes]\npretrain.epochs = []": "should be a list of values, at least one",
    "[sweep.axes]\npretrain.epochs = [1, 2, 1]": "1 stands there twice",
    "[sweep.axes]\nseed = [0.5]": "should be whole numbers",
    "[sweep.axes]\npretrain.objectiv.temperature = [1.0]": 'unknown key; did you mean "objective"?',
    "[sweep.axes]\npretrain.objective.temperature = [1.0, 11.0]": "light.toml:33 pretrain.objective.temperature",
    "[sweep.axes]\nevaluate.3.k = [1]": "evaluate.3: is no place in a list of 1, counted from 0",
    f"{POINT}set.pretrain.epochs = 1\nvalu = 1": 'toml:35 sweep.axes.a.0.valu: unknown key; did you mean "value"?',
    f"{POINT}set.seed = 1\n[[sweep.axes.a]]\nset.seed = 2": "light.toml:35 sweep.axes.a.1.label: is required",
    f"{POINT}set.seed = 1\n[[sweep.axes.a]]\nlabel = ['y']\nset.seed = 2": "light.toml:36 sweep.axes.a.1.label: should",
    f"{POINT}pretrain.objective.temperature = 0.1": (
        "light.toml:34 sweep.axes.a.0.pretrain: unknown key of a point; did you mean "
        '"set.pretrain.objective.temperature"?'
    ),
    f"{POINT}value = 1": "light.toml:32 sweep.axes.a.0.set: is required",
    f"{POINT}set.pretrain.epochs = 3\n[sweep.axes]\nseed = [0]\npretrain.epochs = [1, 2]": (
        "light.toml:37 sweep.axes: pretrain.epochs is set by two axes, a ("
    ),
    "[sweep.axes]\nevaluate.0.k = [1]\n[[sweep.axes.a]]\nlabel = 'x'\nset.evaluate = []": (
        "light.toml:33) and a; leave it out of one of them"
    ),
    "[sweep]\ncombine = 'zip'\naxes.seed = [1]\naxes.pretrain.epochs = [1, 2]\naxes.pretrain.batch_size = [1]": (
        "epochs has 2, batch_size has 1"
    ),
    f"{POINT}set = {{}}\n[[sweep.axes.a]]\nlabel = 'y'\nset.pretrain.epochs = 2": "is the same run as a x",
    f"{EPOCHS}[[sweep.report]]\nmeasures = [{{ evaluation = 'local.evaluations' }}]": (
        "no run measures local.evaluations on h, pretrained weights; there is evaluate.0 local.evaluation on h"
    ),
    f"{EPOCHS}[[sweep.report]]\nmeasures = [{{ evaluation = 1 }}]": "no run measures 1 on h",
    f"{EPOCHS}[[sweep.report]]\nmeasures = [{{ features = 'z' }}]": "no run measures evaluation on z",
    f"{EPOCHS}[[sweep.report]]\nmeasures = [{{ weights = 'random' }}]": "no run measures evaluation on h, random",
    f"{POINT}set.extends = 'x.toml'": "a point cannot set extends; only the recipe itself has it",
    f"{EPOCHS}[[sweep.report]]\nx = 'epoch'": "no axis is called 'epoch'; did you mean \"epochs\"?",
    f"{EPOCHS}[[sweep.report]]\nwhere.epochs = ['2']": "epochs has no point '2'",
    f"{EPOCHS}[[sweep.report]]\nreference = 'no.toml'": "no.toml: there is no such file",
}


@pytest.mark.parametrize(("lines", "words"), MISTAKES.items())
def test_mistakes_are_one_line_with_a_place(study, lines, words):
    with pytest.raises(RecipeError) as caught:
        study(lines)
    assert any(words in problem for problem in caught.value.problems), caught.value.problems
    assert all("\n" not in problem for problem in caught.value.problems)


def test_a_forgotten_set_is_told_once(study):
    with pytest.raises(RecipeError) as caught:
        study(f"{POINT}pretrain.objective.temperature = 0.1")
    assert len(caught.value.problems) == 1


def test_problems_of_all_points_are_told_at_once_and_each_once(study):
    with pytest.raises(RecipeError) as caught:
        study("[sweep.axes]\npretrain.epochs = [0, 1, 'x']\npretrain.batch_size = [1, 2]\nseed = [0, 1]")
    assert len(caught.value.problems) == 2


def test_a_study_is_no_run_and_a_run_no_study(light):
    with pytest.raises(RecipeError, match="this is a study of many runs: sslkit sweep"):
        load_recipe(light(more="\n[sweep.axes]\npretrain.epochs = [1]\n"))
    with pytest.raises(RecipeError, match=r"has no \[sweep\] table; sslkit run"):
        load_sweep(light())


def test_overrides_change_what_all_runs_have_in_common_and_the_sweep_itself(study):
    sweep = study("[sweep.axes]\npretrain.epochs = [1, 2]", "pretrain.batch_size=16", "sweep.axes.seed=[5, 6]")
    assert {point.recipe.pretrain.batch_size for point in sweep.points} == {16}
    assert sweep.seeds == (5, 6)


@pytest.mark.parametrize(
    ("axes", "override"),
    [
        ("[sweep.axes]\npretrain.epochs = [1, 2]", "pretrain.epochs=5"),
        ("[sweep.axes]\nseed = [1, 2]", "seed=5"),
        ("[[sweep.axes.a]]\nlabel = 'x'\nset.pretrain.objective.temperature = 1.0", "pretrain.objective.temperature=5"),
        ("[[sweep.axes.a]]\nlabel = 'x'\nset.pretrain.epochs = 1", 'pretrain={name="x"}'),
        ("[[sweep.axes.a]]\nlabel = 'x'\nset.evaluate = [{ name = 'local.evaluation' }]", "evaluate.0.k=5"),
    ],
)
def test_an_override_that_an_axis_would_undo_is_refused(study, axes, override):
    with pytest.raises(RecipeError, match=r"the axis \S+ sets it; change the axis, in the recipe or by sweep\.axes\."):
        study(axes, override)


def test_numbers_beside_a_chart_are_aligned_by_axis_and_label(study, tmp_path):
    (tmp_path / "paper.toml").write_text('values = [{ at = { "pretrain.epochs" = 100 }, value = 64.5 }]')
    sweep = study(
        '[sweep.axes]\npretrain.epochs = [1]\n[[sweep.report]]\nx = "pretrain.epochs"\nreference = "paper.toml"'
    )
    assert sweep.charts[0]["x"] == "epochs"
    assert next(iter(sweep.references.values()))["values"] == [{"at": {"epochs": "100"}, "value": 64.5}]
