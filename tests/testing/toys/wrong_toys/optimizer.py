"""Of the kind optimizer, each wrong in one thing."""

import torch


def ascent(params):
    return torch.optim.SGD(params, maximize=True)


class _Steady(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] = 0.01
        super().step(closure)


def steady(params):
    return _Steady(params)


class _Undecayed(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            group["weight_decay"] = 0.0
        super().step(closure)


def undecayed(params):
    return _Undecayed(params)


class _Restless(torch.optim.SGD):
    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.mul_(1 - group["lr"])


def restless(params):
    return _Restless(params)


class _Counting(torch.optim.SGD):
    steps = 0

    def step(self, closure=None):
        self.steps += 1
        for group in self.param_groups:
            group["lr"] /= self.steps
        super().step(closure)
        for group in self.param_groups:
            group["lr"] *= self.steps


def counting(params):
    return _Counting(params)
