"""Scores in words: one rule for the console, tables and pages."""

from sslkit.studies.wording import is_fraction, measured, shown_interval, shown_number, shown_value


def test_fractions_are_per_cent_and_anything_else_is_itself():
    assert shown_value("top1", 0.61234, 0.0123) == "61.23 ± 1.23 %"
    assert shown_value("mean_accuracy", 0.5) == "50.00 %"
    assert shown_value("rankme", 61.234) == "61.23"
    assert shown_value("top1", None) == "not a number"
    assert shown_interval("top1", (0.5, 0.625)) == "50.00 to 62.50"
    assert shown_interval("rankme", (50.0, 62.345)) == "50 to 62.34"
    assert shown_interval("top1", None) == ""
    assert shown_number("top1", -0.0125) == "-1.25"


def test_whatever_ends_in_top1_is_a_fraction():
    assert [is_fraction(name) for name in ("online_linear_top1", "voc_map", "rankme", "n")] == [
        True,
        True,
        False,
        False,
    ]


def test_what_is_measured_takes_few_words():
    said = [measured(*of) for of in (("z", "pretrained"), ("h", "random"), ("pixels", "none"))]
    assert said == ["z", "h, random backbone", "raw pixels"]
