"""builtin's registration: every name the recipes use, and nothing heavy imported for it."""

import importlib
import subprocess
import sys

import pytest

from sslkit import Register
from sslkit.builtin import plugin

EXPECTED = {
    ("method", "builtin.joint_embedding"),
    ("backbone", "builtin.timm"),
    ("backbone", "builtin.timm_pretrained"),
    ("views", "builtin.crop_flip"),
    ("head", "builtin.classifier"),
    ("head", "builtin.mlp"),
    ("objective", "builtin.cross_entropy"),
    ("data", "builtin.shapes"),
    ("data", "builtin.image_folder"),
    ("data", "builtin.image_list"),
    ("data", "builtin.tar_shards"),
    ("data", "builtin.arrays"),
    ("data", "builtin.torchvision_sets"),
    ("data", "builtin.transfer_sets"),
    ("data", "builtin.imagenet"),
    ("evaluation", "builtin.linear"),
    ("evaluation", "builtin.knn"),
    ("evaluation", "builtin.logistic_regression"),
    ("evaluation", "builtin.feature_health"),
    ("evaluation", "builtin.linear_augmented"),
    ("evaluation", "builtin.own_classifier"),
    ("evaluation", "builtin.fine_tune"),
    ("evaluation", "builtin.factor_probe"),
    ("optimizer", "builtin.sgd"),
    ("optimizer", "builtin.adamw"),
    ("schedule", "builtin.cosine"),
    ("schedule", "builtin.constant"),
    ("exporter", "builtin.timm"),
    ("exporter", "builtin.huggingface_folder"),
    ("exporter", "builtin.onnx"),
    ("exporter", "builtin.pt2"),
    ("callback", "builtin.console"),
    ("callback", "builtin.jsonl"),
    ("callback", "builtin.tensorboard"),
    ("callback", "builtin.online"),
}


@pytest.fixture(scope="module")
def components():
    register = Register("builtin", "sslkit test")
    plugin.sslkit_register(register)
    return register.components


def test_every_component_is_registered(components):
    assert {(component.kind, component.name) for component in components} == EXPECTED
    assert plugin.SSLKIT_API == 1


def test_every_target_is_in_a_file_of_the_component_s_name_and_loads(components):
    for component in components:
        module, _, attribute = component.target.partition(":")
        assert module.rpartition(".")[2] == component.name.partition(".")[2]
        assert callable(getattr(importlib.import_module(module), attribute)), component.target


def test_importing_the_plugin_imports_no_torch():
    code = "import sys, sslkit.builtin.plugin; print({'torch', 'timm', 'torchvision'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
