"""Of the kind schedule, each wrong in one thing."""


def falling():
    return lambda progress: 1 - progress.step / 10


def counting():
    calls = []

    def factor(progress):
        calls.append(progress)
        return 1 / len(calls)

    return factor
