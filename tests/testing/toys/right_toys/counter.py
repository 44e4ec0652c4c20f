"""Counts steps."""

from sslkit import hookimpl


class Counter:
    """Counts the steps that were done."""

    def __init__(self):
        self.steps = 0

    @hookimpl
    def sslkit_step_end(self, state):
        self.steps += 1

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]
