"""Of the kind data, each wrong in one thing."""

import itertools

import numpy as np
from right_toys.squares import Plain, Squares

_numbers = itertools.count()


class Empty(Squares):
    def dataset(self, count):
        return Plain(0)


class Arrays(Squares):
    class dataset(Plain):
        def __getitem__(self, index):
            return self.images[index].numpy(), int(self.labels[index])


class Beyond(Squares):
    class dataset(Plain):
        def __init__(self, count):
            super().__init__(count)
            self.labels = np.arange(count)


class Shifted(Squares):
    class dataset(Plain):
        def __getitem__(self, index):
            return self.images[index], (int(self.labels[index]) + 1) % 3


class Repainted(Squares):
    def table(self, name):
        return self.split(name).images.flip(0)


class Stuck(Squares):
    class dataset(Plain):
        def __init__(self, count):
            super().__init__(count)
            self.read = lambda index: self.images[index]


class Changing(Squares):
    class dataset(Plain):
        def fingerprint(self):
            return str(next(_numbers))


class Boundless(Squares):
    def split(self, name):
        return Plain(self.count)
