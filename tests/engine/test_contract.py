"""What a method is and returns: one line that names it, instead of torch's own error."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sslkit import PluginError
from sslkit.engine.contract import OWN_COLUMNS, loss_of, require_method


class Method(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(2, 2)

    def embed(self, batch): ...

    def loss(self, embeddings, batch): ...


def made(*names, **added):
    body = {name: vars(Method)[name] for name in ("embed", "loss") if name not in names}
    method = type("Made", (nn.Module,), {**body, **added})()
    if "backbone" not in names:
        method.backbone = nn.Linear(2, 2)
    return method


class Forgetful(nn.Module):
    def __init__(self):
        self.number = 1


WRONG = [
    (lambda: made("backbone"), "the method Made has no backbone: say which module is kept"),
    (lambda: made("loss"), "has neither forward nor both embed and loss; it lacks loss$"),
    (lambda: made("loss", losses=lambda self: 0), 'it lacks loss; did you mean "losses"'),
    (lambda: made("embed", "loss"), "has neither forward nor both embed and loss; it lacks embed"),
    (lambda: made(after_stp=lambda self, progress: 0), r'Made.after_stp is called by nobody: .*"after_step"'),
    (Forgetful, r"the method Forgetful calls no super\(\).__init__\(\)"),
    (object, "the method object is no torch.nn.Module"),
]


@pytest.mark.parametrize(("method", "said"), WRONG)
def test_what_is_no_method_is_refused(method, said):
    with pytest.raises(PluginError, match=said):
        require_method(method())


def test_a_hook_of_the_objective_is_looked_at_too():
    method = made()
    method.objective = type("Objective", (), {"after_backwards": lambda self, progress: 0})()
    with pytest.raises(PluginError, match=r'Objective.after_backwards .*did you mean "after_backward"'):
        require_method(method)


def test_a_method_is_accepted_in_both_forms():
    require_method(Method())
    require_method(made("embed", "loss", forward=lambda self, batch: 0))
    require_method(made("loss", forward=lambda self, batch: 0))  # embed is a part of its own


SCALAR = torch.tensor(1.0)
UNUSABLE = [
    (torch.ones(4), r"should be a tensor of no dimension, .* but is a tensor \[4\] of float32; take the mean"),
    ({"loss": SCALAR}, "but is a dict"),
    (1.0, "but is a float"),
    ((SCALAR, SCALAR), r"metrics of Made should be a table of tensors, but are a tensor \[\]"),
    ((SCALAR, {"spread": 0.5}), "the metric 'spread' of Made should be a tensor of no dimension, but is a float"),
    ((SCALAR, {"spread": torch.ones(3)}), r"but is a tensor \[3\]"),
    *(((SCALAR, {key: SCALAR}), f"the metric '{key}' of Made is a column of the engine's own") for key in OWN_COLUMNS),
]


@pytest.mark.parametrize(("returned", "said"), UNUSABLE)
def test_what_cannot_be_used_is_refused(returned, said):
    with pytest.raises(PluginError, match=said):
        loss_of(made(), returned)


def test_the_objective_is_named():
    method = made()
    method.objective = nn.MSELoss()
    with pytest.raises(PluginError, match="the loss of Made, of MSELoss, should be"):
        loss_of(method, torch.ones(4))


def test_both_forms_of_a_loss_are_one():
    assert loss_of(made(), SCALAR) == (SCALAR, {})
    assert loss_of(made(), (SCALAR, {"spread": SCALAR})) == (SCALAR, {"spread": SCALAR})
