"""`sslkit preview`: two files, and one line for every mistake."""

import pytest

from sslkit.__main__ import main
from sslkit.registry.register import Component

RECIPE = """
schema = 1
name = "toy"
plugins = ["views.py"]
[pretrain]
epochs = 2
batch_size = 16
[pretrain.data]
name = "builtin.shapes"
image_size = 16
num_train = 8
[pretrain.views]
name = "local.whole"
[pretrain.backbone]
name = "builtin.timm"
model = "none such"
[pretrain.optimizer]
name = "builtin.sgd"
[[evaluate]]
name = "builtin.knn"
"""

VIEWS = """
import torch
from sslkit import hookimpl
SSLKIT_API = 1
@hookimpl
def sslkit_register(register):
    register.views("whole", "views:Whole", summary="noise over the image")
class Whole:
    def __init__(self, *, noise: int = 9): self.noise = noise
    def prepare(self, image): return [image // 2 + torch.randint(self.noise, image.shape, dtype=torch.uint8)] * 2
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "views.py").write_text(VIEWS)
    path = tmp_path / "toy.toml"
    path.write_text(RECIPE)
    return path


def test_it_writes_two_files_and_says_where(recipe, tmp_path, capsys):
    assert main(["preview", str(recipe), "--images", "2"]) == 0
    assert capsys.readouterr().out == "preview.png\npreview.html\n"
    first = (tmp_path / "preview.png").read_bytes()
    page = (tmp_path / "preview.html").read_text()
    assert "of images 0, 4 with seed 0 in epoch 0" in page
    for changed in (["--epoch", "1"], ["seed=1"], ["pretrain.views.noise=8"]):
        assert main(["preview", str(recipe), "--images", "2", *changed]) == 0
        assert (tmp_path / "preview.png").read_bytes() != first
    assert not (tmp_path / "preview.svg").exists()
    capsys.readouterr()
    assert main(["preview", str(recipe), "--indices", "0,4", "--histograms"]) == 0
    assert capsys.readouterr().out == "preview.png\npreview.html\npreview.svg\n"
    assert (tmp_path / "preview.png").read_bytes() == first
    assert "Histograms" in (tmp_path / "preview.html").read_text()


@pytest.mark.parametrize("output", ["new/look", "new/look.png", "new/look.html", "new/look.svg"])
def test_the_prefix_may_have_a_suffix_or_be_new(recipe, tmp_path, output):
    assert main(["preview", str(recipe), "--first", "7", "-o", output]) == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"look.png", "look.html"}


def test_a_folder_takes_both_files(recipe, tmp_path):
    (tmp_path / "there").mkdir()
    assert main(["preview", str(recipe), "--images", "1", "-o", "there"]) == 0
    assert {path.name for path in (tmp_path / "there").iterdir()} == {"preview.png", "preview.html"}


def test_only_data_and_views_are_imported(recipe, monkeypatch):
    loaded = set()
    load = Component.load
    monkeypatch.setattr(Component, "load", lambda component: (loaded.add(component.name), load(component))[1])
    assert main(["preview", str(recipe), "--images", "1"]) == 0
    assert loaded == {"builtin.shapes", "local.whole"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--first", "8"], "there is no image 8: the pretrain split has those from 0 to 7"),
        (["pretrain.views.nois=3"], 'pretrain.views.nois: unknown key; did you mean "noise"?'),
        (["pretrain.epoch=3"], 'pretrain.epoch: unknown key; did you mean "epochs"?'),
        (["pretrain.data={name='builtin.image_folder', folder='gone'}"], "gone: no such folder; see `folder`"),
        (["requires=['sslkit-none>=1']"], "requires.0: sslkit-none>=1 is not installed"),
        (["-o", "toy.toml/look"], "toy.toml: is a file, not a folder"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(recipe, tmp_path, capsys, arguments, reason):
    assert main(["preview", str(recipe), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert reason in line
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"toy.toml", "views.py"}


def test_a_recipe_that_only_evaluates_is_refused(recipe, capsys):
    recipe.write_text('schema = 1\nname = "scores"\nweights = "run"\n[[evaluate]]\nname = "builtin.knn"\n')
    assert main(["preview", str(recipe)]) == 2
    assert capsys.readouterr().err == (
        f"error: {recipe}: has no [pretrain] table, so no views; name a recipe that pretrains\n"
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--images 0", "from 1 to 100"),
        ("--images 101", "from 1 to 100"),
        ("--indices 1,x", "'x' should be a number"),
        ("--indices=", "should be a number"),
        ("--epoch=-1", "should be a number"),
        ("--first 1 --indices 2", "not allowed with"),
    ],
)
def test_wrong_arguments(recipe, capsys, line, reason):
    with pytest.raises(SystemExit) as caught:
        main(["preview", str(recipe), *line.split()])
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err
