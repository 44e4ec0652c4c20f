"""Of the kind callback, each wrong in one thing."""

import torch
from right_toys.counter import Counter

from sslkit import hookimpl


class Misspelt(Counter):
    @hookimpl
    def sslkit_step_ends(self, state):
        """No hook has this name."""


class Raising(Counter):
    @hookimpl
    def sslkit_epoch_end(self, state):
        raise ValueError("no room on the board")


class Meddling(Counter):
    @hookimpl
    def sslkit_step_end(self, state):
        self.steps += 1
        with torch.no_grad():
            next(state.method.parameters()).mul_(0.999)


class Forgetful(Counter):
    def load_state_dict(self, state):
        """Forget it."""
