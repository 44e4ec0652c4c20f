"""Trials that must hold: numbers that run away are stopped in time, whoever made them; nothing of them is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sslkit import FrozenModel, NonFiniteError, Normalisation, RunError, hookimpl, run, timm_backbone
from sslkit.__main__ import main
from sslkit.engine.artifact import component_card, save_artifact

MILLION = """
from sslkit import hookimpl
SSLKIT_API = 1

@hookimpl
def sslkit_register(register):
    register.schedule("million", "million:million", summary="a learning rate of a million from the second epoch on")

def million(*, base: float = 0.1):
    return lambda progress: 1e6 / base if progress.epoch >= 1 else 1.0
"""
COSINE = '[pretrain.schedule.learning_rate]\nname = "builtin.cosine"\nwarmup_epochs = 1\n'


@pytest.fixture
def diverging(recipe_file, tmp_path):
    """Return a function that writes the toy recipe with that rate; four steps are an epoch."""

    def write(optimizer="builtin.sgd"):
        (tmp_path / "million.py").write_text(MILLION)
        path = recipe_file()
        text = path.read_text().replace("plugins = [", f"plugins = ['{tmp_path / 'million.py'}', ")
        assert COSINE in text
        text = text.replace(COSINE, '[pretrain.schedule.learning_rate]\nname = "local.million"\n')
        path.write_text(text.replace("epochs = 2", "epochs = 30").replace("builtin.sgd", optimizer))
        return path

    return write


def tensors_below(folder):
    return {
        f"{path}: {name}": tensor
        for path in Path(folder).rglob("*.safetensors")
        for name, tensor in load_file(path).items()
    }


def require_nothing_broken(folder):
    """All saved numbers are finite, and nobody takes the run for finished."""
    saved = tensors_below(folder)
    assert saved
    assert [name for name, tensor in saved.items() if not torch.isfinite(tensor.double()).all()] == []
    assert not (folder / "summary.json").exists()
    assert json.loads((folder / "status.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("optimizer", ["builtin.sgd", "builtin.adamw", "simclr.lars"])
def test_row_21_a_rate_of_a_million_is_stopped_and_leaves_the_last_good_checkpoint(diverging, tmp_path, optimizer):
    with pytest.raises(NonFiniteError) as caught:
        run(diverging(optimizer), into=tmp_path / "run")
    newest = max((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert str(caught.value).endswith(f"the last good checkpoint is {newest}")
    assert not (tmp_path / "run" / "backbone.safetensors").exists()
    require_nothing_broken(tmp_path / "run")


class Broken:
    """Counts the steps that left a weight or a running statistic that is not finite."""

    steps = 0

    @hookimpl
    def sslkit_step_end(self, state):
        self.steps += not all(torch.isfinite(tensor.double()).all() for tensor in state.method.state_dict().values())


def test_row_21_what_only_a_running_statistic_shows_is_stopped_within_a_step(diverging, tmp_path):
    """The loss and its gradient stay finite here for ever: the network is dead, and does not say so."""
    broken = Broken()
    with pytest.raises(NonFiniteError):
        run(diverging(), into=tmp_path / "run", overrides=["pretrain.checkpoint_every_epochs=30"], watchers=[broken])
    assert broken.steps <= 1


def test_row_21_the_command_says_so_in_one_line(diverging, tmp_path, command):
    said = command("run", diverging(), "--into", tmp_path / "run")
    assert said.returncode == 2
    errors = [line for line in said.stderr.splitlines() if "error" in line]
    assert len(errors) == 1
    assert "the last good checkpoint is " in errors[0]
    assert "Traceback" not in said.stdout + said.stderr
    require_nothing_broken(tmp_path / "run")


def test_row_21_a_probe_that_diverges_fails_the_run_and_is_named(recipe_file, tmp_path):
    probe = '[[evaluate]]\nname = "builtin.linear"\nlearning_rates = [1e30]\nweight_decays = [1e-3]\nepochs = 2\n'
    with pytest.raises(NonFiniteError, match=r"^evaluate\.1 \(builtin\.linear\): every classifier .* diverged"):
        run(recipe_file(probe), into=tmp_path / "run")
    require_nothing_broken(tmp_path / "run")
    assert not (tmp_path / "run" / "evaluate" / "1-builtin.linear" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("temperature", "reason"),
    [
        ("0", "should be greater than 0, got 0"),
        ("-0.1", "should be greater than 0, got -0.1"),
        ('"0.1"', 'should be a valid number, got "0.1"'),
        ("nan", "should be a finite number, got NaN"),
        ("inf", "should be a finite number, got Infinity"),
    ],
)
def test_row_21_temperatures_that_divide_by_nothing_are_refused_with_key_and_range(
    recipe_file, temperature, reason, capsys
):
    path = recipe_file()
    text = path.read_text().replace('"local.agreement"', f'"simclr.nt_xent"\ntemperature = {temperature}')
    path.write_text(text)
    assert main(["check", str(path)]) == 2
    line = text.splitlines().index(f"temperature = {temperature}") + 1
    assert f"{path}:{line} pretrain.objective.temperature: {reason}" in capsys.readouterr().err


@pytest.fixture
def four_channels(tmp_path):
    """Weights of a backbone for images of four channels, with the normalisation of four."""
    torch.manual_seed(0)
    backbone = timm_backbone(model="test_resnet", in_channels=4)
    model = FrozenModel(backbone, input_size=32, normalisation=Normalisation((0.5,) * 4, (0.2,) * 4))
    (tmp_path / "four").mkdir()
    return save_artifact(tmp_path / "four", model, backbone=component_card("builtin.timm", {"model": "test_resnet"}))


@pytest.mark.parametrize("declared", [True, False])
def test_weights_of_four_channels_start_a_run_of_three_only_on_request(recipe_file, tmp_path, four_channels, declared):
    overrides = [
        "pretrain.backbone={name='builtin.timm',model='test_resnet'}",
        "pretrain.data.image_size=32",
        "pretrain.epochs=1",
        "evaluate=[]",
        f"pretrain.weights='{four_channels}'",
        *(["pretrain.data.normalize={mean=[0.5],std=[0.2]}"] if declared else []),
    ]
    shapes = r"of another shape: conv1\.0\.weight \(is \[16, 4, 3, 3\], should be \[16, 3, 3, 3\]\)"
    with pytest.raises(RunError, match=rf"{shapes}.*set pretrain\.partial_weights = true"):
        run(recipe_file(), into=tmp_path / "run", overrides=overrides)
    assert not (tmp_path / "run").exists()
    overrides.append("pretrain.partial_weights=true")
    if not declared:  # four means came with the weights
        with pytest.raises(RunError, match="normalize has 4 channels, the views have 3"):
            run(recipe_file(), into=tmp_path / "run", overrides=overrides)
        return
    run(recipe_file(), into=tmp_path / "run", overrides=overrides)
    log = (tmp_path / "run" / "log.txt").read_text()
    total = len(load_file(four_channels))
    assert f"{total - 1} of {total} tensors match" in log
    assert "left as it was: of another shape: conv1.0.weight (is [16, 4, 3, 3], should be [16, 3, 3, 3])" in log
    run(tmp_path / "run" / "resolved.toml", into=tmp_path / "again")  # it repeats the run
