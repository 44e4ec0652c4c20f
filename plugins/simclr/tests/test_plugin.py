"""The plugin's door: light imports, registered targets that exist."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from typing import ClassVar

import pytest
import sslkit_simclr
from sslkit_simclr import plugin


class Recorder:
    """Takes what the plugin registers."""

    kinds: ClassVar = ("views", "backbone", "head", "objective", "method", "optimizer", "evaluation")

    def __init__(self):
        self.rows = {}

    def __getattr__(self, kind):
        assert kind in self.kinds

        def register(name, target, *, summary=""):
            assert name not in self.rows
            self.rows[name] = (kind, target, summary)

        return register


@pytest.mark.parametrize("module", ["sslkit_simclr", "sslkit_simclr.plugin"])
def test_importing_the_front_page_and_the_plugin_stays_light(module):
    code = f"import sys, {module}; print([name for name in ('torch', 'timm', 'kornia') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_fused_views_do_not_import_kornia():
    code = "import sys, sslkit_simclr; sslkit_simclr.TwoCrops(); print('kornia' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_registered_components():
    recorder = Recorder()
    plugin.sslkit_register(recorder)
    assert plugin.SSLKIT_API == 1
    assert {name: row[0] for name, row in recorder.rows.items()} == {
        "two_crops": "views",
        "multi_crop": "views",
        "one_branch": "views",
        "resnet": "backbone",
        "mlp": "head",
        "nt_xent": "objective",
        "nt_logistic": "objective",
        "margin_triplet": "objective",
        "lars": "optimizer",
        "distillation": "method",
        "transform_probe": "evaluation",
        "histogram_shortcut": "evaluation",
        "head_spectrum": "evaluation",
    }
    for name, (_, target, summary) in recorder.rows.items():
        module, _, attribute = target.partition(":")
        assert module.startswith("sslkit_simclr.")
        assert module.endswith(f".{name}")
        component = getattr(importlib.import_module(module), attribute)
        assert summary
        parameters = inspect.signature(component).parameters.values()
        assert all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters)
        for parameter in parameters:
            if parameter.kind is parameter.KEYWORD_ONLY:  # every option is documented under its name
                assert re.search(rf"^ +{parameter.name}: \S", inspect.getdoc(component), re.MULTILINE)


def test_front_page_names():
    for name in sslkit_simclr.__all__:
        assert getattr(sslkit_simclr, name).__name__ == name
    assert set(sslkit_simclr.__all__) <= set(dir(sslkit_simclr))
    assert inspect.ismodule(importlib.import_module("sslkit_simclr.resnet"))
    assert callable(sslkit_simclr.simclr_resnet)
    with pytest.raises(AttributeError, match="nothing"):
        _ = sslkit_simclr.nothing
