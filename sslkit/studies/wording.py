"""How scores are said to people: the same words and digits on the console, in tables and on pages.

Enters: numbers and names. Leaves: texts. Called by the console, by `sslkit report` and `compare`, and by the pages of
reports.
"""

from __future__ import annotations

from sslkit.studies.scores import NEEDS


def measured(features: str, weights: str) -> str:
    """Return what is measured, in a few words.

    Args:
        features: "h", "z", a layer's name, or "pixels".
        weights: "pretrained", "random", or "none" for the pixels.
    """
    if features == "pixels":
        return "raw pixels"
    return features if weights == "pretrained" else f"{features}, {weights} backbone"


def is_fraction(metric: str) -> bool:
    """Tell whether a metric is a fraction, to be shown in percent.

    Args:
        metric: Its name.
    """
    return metric in NEEDS or metric.endswith("top1")


def shown_number(metric: str, value: float) -> str:
    """Return a number without its unit: percent with two digits for what is a fraction, else four digits in all.

    Args:
        metric: Tells whether it is a fraction.
        value: To show.
    """
    return f"{100 * value:.2f}" if is_fraction(metric) else f"{value:.4g}"


def shown_value(metric: str, value: float | None, deviation: float | None = None) -> str:
    """Return a value for people: percent for what is a fraction, four digits for anything else.

    Args:
        metric: Tells whether it is a fraction.
        value: To show.
        deviation: Put behind a plus-minus sign.
    """
    if value is None:
        return "not a number"
    text = shown_number(metric, value)
    if deviation is not None:
        text += f" ± {shown_number(metric, deviation)}"
    return f"{text} %" if is_fraction(metric) else text


def shown_interval(metric: str, interval: tuple[float, float] | None) -> str:
    """Return an interval for people, in the unit of `shown_value`.

    Args:
        metric: Tells whether it is of fractions.
        interval: Lowest and highest; None is an empty text.
    """
    return "" if interval is None else " to ".join(shown_number(metric, bound) for bound in interval)
