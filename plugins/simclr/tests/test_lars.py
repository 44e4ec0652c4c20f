"""LARS against a float64 transcription of the paper's optimizer, and its limiting cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sslkit_simclr import LARS
from torch.utils._python_dispatch import TorchDispatchMode


def with_gradient(values, gradient, dtype=torch.float64):
    parameter = torch.nn.Parameter(torch.tensor(values, dtype=dtype))
    parameter.grad = torch.tensor(gradient, dtype=dtype)
    return parameter


def one_step(values, gradient, **group):
    parameter = with_gradient(values, gradient)
    LARS([{"params": [parameter], **group}]).step()
    return parameter.detach().tolist()


def test_one_step_by_hand():
    assert one_step([3.0, 4.0], [0.6, 0.8], lr=1.0, weight_decay=0.01) == pytest.approx([2.997, 3.996], abs=1e-12)


def test_weight_decay_enters_the_trust_ratio():
    # Along w the decay cancels in u / |u|, so the step is the same for any decay; outside the ratio it would not be.
    for decay in (0.0, 0.01, 1.0):
        assert one_step([3.0, 4.0], [0.6, 0.8], lr=1.0, weight_decay=decay) == pytest.approx([2.997, 3.996])


def test_groups_without_adaptation_take_plain_momentum_steps():
    parameter = with_gradient([3.0, 4.0], [0.6, 0.8])
    optimizer = LARS([{"params": [parameter], "lr": 0.1, "weight_decay": 0.0, "adapt": False, "name": "no decay"}])
    optimizer.step()
    assert parameter.tolist() == pytest.approx([2.94, 3.92])
    optimizer.step()
    assert parameter.tolist() == pytest.approx([2.94 - 0.114, 3.92 - 0.152])
    assert optimizer.param_groups[0]["name"] == "no decay"


@pytest.mark.parametrize(("rate", "expected"), [(0.001, 0.001), (0.1, 0.005)])
def test_a_clipped_rate_is_the_smaller_of_learning_rate_and_trust(rate, expected):
    parameter = with_gradient([3.0, 4.0], [0.6, 0.8])  # trust is 0.001 * 5 / 1
    LARS([{"params": [parameter], "lr": rate}], clip=True).step()
    assert parameter.tolist() == pytest.approx([3.0 - expected * 0.6, 4.0 - expected * 0.8], abs=1e-12)


@pytest.mark.parametrize(
    ("values", "gradient", "expected"),
    [
        ([0.0, 0.0], [0.6, 0.8], [-0.6, -0.8]),  # |w| = 0: trust 1
        ([3.0, 4.0], [0.0, 0.0], [3.0, 4.0]),  # |u| = 0: trust 1, nothing to step
        ([0.0, 0.0], [0.0, 0.0], [0.0, 0.0]),
    ],
)
def test_zero_lengths(values, gradient, expected):
    assert one_step(values, gradient, lr=1.0) == pytest.approx(expected)


def literal_steps(weights, gradients, rates, decay, adapt):
    """`lars_optimizer.py` of the paper's code, classic momentum, with numpy in float64."""
    w, v = weights.copy(), np.zeros_like(weights)
    for g, rate in zip(gradients, rates, strict=True):
        u = g + decay * w
        trust = 1.0
        if adapt:
            w_norm, u_norm = np.sqrt((w**2).sum()), np.sqrt((u**2).sum())
            trust = 0.001 * w_norm / u_norm if w_norm > 0 and u_norm > 0 else 1.0
        v = 0.9 * v + rate * trust * u
        w = w - v
    return w


def test_many_steps_with_a_changing_rate():
    random = np.random.default_rng(0)
    shapes = [(4, 3), (5,), (2, 3, 3, 3)]
    rates = [0.0, 2.0, 4.8, 3.0, 0.5, 0.01]
    weights = [random.normal(size=shape) for shape in shapes]
    gradients = [[random.normal(size=shape) for _ in rates] for shape in shapes]
    parameters = [torch.nn.Parameter(torch.tensor(weight)) for weight in weights]
    optimizer = LARS(
        [
            {"params": [parameters[0], parameters[2]], "weight_decay": 1e-2},
            {"params": [parameters[1]], "adapt": False},
        ]
    )
    for step, rate in enumerate(rates):
        for parameter, steps in zip(parameters, gradients, strict=True):
            parameter.grad = torch.tensor(steps[step])
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    for number, parameter in enumerate(parameters):
        adapt = number != 1
        expected = literal_steps(weights[number], gradients[number], rates, 1e-2 if adapt else 0.0, adapt)
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-12, atol=1e-14)


def test_state_dict_round_trip_continues_exactly():
    def run(resume_at):
        torch.manual_seed(0)
        parameter = torch.nn.Parameter(torch.randn(5, 4))
        gradients = torch.randn(6, 5, 4)
        optimizer = LARS([{"params": [parameter], "lr": 1.0, "weight_decay": 1e-3}])
        for step, gradient in enumerate(gradients):
            if step == resume_at:
                state = optimizer.state_dict()
                assert list(state["state"][0]) == ["momentum_buffer"]
                optimizer = LARS([{"params": [parameter], "lr": 0.0}])
                optimizer.load_state_dict(state)
            parameter.grad = gradient.clone()
            optimizer.step()
        return parameter.detach()

    assert torch.equal(run(resume_at=None), run(resume_at=3))


def test_parameters_without_gradient_stay_and_closures_are_called():
    still, moving = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimizer = LARS([{"params": [still, moving], "lr": 1.0}])

    def closure():
        optimizer.zero_grad()
        loss = moving.sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 2.0
    assert torch.equal(still, torch.ones(2))
    assert not torch.equal(moving, torch.ones(2))
    assert still not in optimizer.state


def test_a_step_never_waits_for_the_device():
    class Names(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.seen = set()

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.seen.add(function.overloadpacket.__name__)
            return function(*args, **(kwargs or {}))

    parameters = [with_gradient([1.0, 2.0], [0.1, 0.2]) for _ in range(3)]
    optimizer = LARS([{"params": parameters, "lr": 1.0, "weight_decay": 0.1}])
    with Names() as names:
        optimizer.step()
    assert names.seen
    assert not names.seen & {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero"}


@pytest.mark.parametrize("options", [{"momentum": 1.0}, {"momentum": -0.1}, {"trust_coefficient": 0.0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        LARS([torch.nn.Parameter(torch.ones(1))], **options)
