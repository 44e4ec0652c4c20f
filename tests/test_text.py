"""Words for people: nothing that drives a terminal, near names, durations."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslkit.text import closest, counted, did_you_mean, duration, one_line, safe_text, span

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(ANY_TEXT)
def test_no_control_character_gets_through(text):
    shown = safe_text(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"]
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    shown.encode()


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_printable_text_stays_as_it_is(text):
    assert safe_text(text) == text


def test_an_escape_sequence_becomes_visible():
    assert safe_text("\x1b[31mred\x07\x9b") == r"\x1b[31mred\x07\x9b"
    assert safe_text("a\ud800b") == r"a\ud800b"


@given(ANY_TEXT, st.integers(1, 50))
def test_one_line_is_one_short_line(text, limit):
    line = one_line(text, limit)
    assert len(line) <= limit
    assert "\n" not in line


@pytest.mark.parametrize(
    ("given_name", "nearest"),
    [
        ("temprature", "temperature"),
        ("batchsize", "batch_size"),
        ("nt_xent", "simclr.nt_xent"),
        ("nt_xnet", "simclr.nt_xent"),
        ("simclr.ntxent", "simclr.nt_xent"),
        ("sgd", "builtin.sgd"),
        ("simclr.mpl", "simclr.mlp"),
        ("completely_else", None),
    ],
)
def test_closest(given_name, nearest):
    known = ["temperature", "batch_size", "simclr.nt_xent", "simclr.mlp", "builtin.sgd"]
    assert closest(given_name, known) == nearest
    assert did_you_mean(given_name, known) == (f'; did you mean "{nearest}"?' if nearest else "")


def test_of_two_components_of_one_short_name_the_first_is_meant():
    assert closest("mlp", ["a.mlp", "b.mlp"]) == "a.mlp"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45.4, "45 s"),
        (59.7, "1 min 00 s"),
        (750, "12 min 30 s"),
        (3600, "1 h 00 min"),
        (11100, "3 h 05 min"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_long_times_are_in_days_and_years():
    assert [span(seconds) for seconds in (45, 90_000, 200_000, 1e9)] == [
        "45 s",
        "25 h 00 min",
        "2.3 days",
        "31.7 years",
    ]


def test_one_is_no_plural():
    assert [counted(number, "run") for number in (0, 1, 2, 1200)] == ["0 runs", "1 run", "2 runs", "1,200 runs"]
