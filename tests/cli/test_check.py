"""`sslkit check`: says what is good, all that is not, and costs only the libraries that the recipe names."""

import json

from sslkit.__main__ import main


def test_a_good_recipe(light, capsys):
    assert main(["check", str(light()), "pretrain.epochs=3"]) == 0
    shown = capsys.readouterr().out
    assert "keys, types and ranges are good" in shown
    assert "components: local.made, local.views, local.method, local.backbone, local.objective" in shown


def test_a_recipe_without_torch_imports_none(light, command):
    path = light()
    with (path.parent / "light.py").open("a") as file:
        file.write("\nimport atexit, sys\nheavy = {'torch', 'numpy', 'rich', 'timm', 'PIL'}\n")
        file.write("atexit.register(lambda: sys.stderr.write(str(heavy & set(sys.modules))))\n")
    shown = command("check", path)
    assert (shown.returncode, shown.stderr) == (0, "set()")


def test_the_schema(capsys):
    assert main(["check", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "sslkit recipe"


def test_what_is_no_mistake_of_a_study_but_may_not_be_meant_is_noted(light, tmp_path, capsys):
    (tmp_path / "paper.toml").write_text("values = [{ at = { epochs = 9 }, value = 1 }]")
    study = light(more='\n[sweep.axes]\npretrain.epochs = [1]\n[[sweep.report]]\nreference = "paper.toml"\n')
    assert main(["check", str(study)]) == 0
    assert f"\nnote: {study}:35 sweep.report.0.reference: none of the values of" in capsys.readouterr().out
