"""Which checks there are, what their author may say about them, and how they end."""

from __future__ import annotations

import subprocess
import sys
from unittest import SkipTest

import pytest
from _pytest.outcomes import XFailed

from sslkit import PluginError
from sslkit.testing import Check, ConformanceError, plugin_checks

RATE = "optimizer steady: obeys the rate of each group"
QUADRATIC = "optimizer steady: lowers a quadratic"

LOSS = '''
from sslkit import hookimpl
SSLKIT_API = 1

@hookimpl
def sslkit_register(register):
    register.objective("distance", "distance:distance", summary="Squared distance of two views.")

def distance(*, power: float = 2.0):
    """Return the loss.

    Args:
        power: Of the distance.
    """
    return lambda projections: (projections[0] - projections[1]).abs().pow(power).mean()
'''


def named(checks, name):
    return next(check for check in checks if str(check) == name)


def test_a_check_says_what_it_looks_at(toys):
    checks = plugin_checks("right")
    assert str(checks[0]) == "plugin right: can be loaded"
    assert "objective remembering: two processes equal one" in map(str, checks)
    assert repr(checks[0]) == "<Check plugin right: can be loaded>"
    assert len({str(check) for check in checks}) == len(checks)


def test_a_plugin_that_cannot_be_loaded_has_the_checks_of_a_plugin_only(toys):
    assert [str(check) for check in plugin_checks("api_99")] == [
        "plugin api_99: can be loaded",
        "plugin api_99: is quiet",
        "plugin api_99: is found by a fresh process",
        "plugin api_99: registers without torch",
    ]


def test_a_plugin_that_is_not_there_is_refused(toys):
    with pytest.raises(PluginError, match=r'there is no plugin "rigt"; did you mean "right"\?; install it first'):
        plugin_checks("rigt")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"options": {"network2": {}}}, "options: there is no 'network2'; did you mean \"network\"?"),
        ({"recipes": {"right.network": {}}}, "recipes: there is no 'right.network'"),
        ({"expected_failures": {"head layers: out dim is tru": "?"}}, 'did you mean "head layers: out dim is true"?'),
    ],
)
def test_what_nothing_is_called_is_refused(toys, given, reason):
    with pytest.raises(PluginError) as caught:
        plugin_checks("right", **given)
    assert reason in str(caught.value)


def test_options_go_through_the_recipe(toys):
    for options, reason in (
        ({"network": {"width": 0}}, r"pretrain\.backbone\.width: should be greater than 0, got 0"),
        ({"backbone network": {"widht": 3}}, r'pretrain\.backbone\.widht: unknown key; did you mean "width"'),
    ):
        checks = plugin_checks("right", options=options)
        with pytest.raises(ConformanceError, match=reason):
            named(checks, "backbone network: can be built from a recipe")()
        with pytest.raises(SkipTest, match="is refused by its recipe"):
            named(checks, "backbone network: feature dim is true")()


def test_partners_come_from_a_piece_of_recipe(toys):
    piece = {"pretrain": {"head": {"name": "right.layers", "out_dim": 5}, "batch_size": 24}}
    checks = plugin_checks("right", recipes={"following": piece}, options={"following": {"momentum": 0.5}})
    plan = named(checks, "method following: two processes equal one")._examine.func.__self__.plan()
    assert (plan.head.component.name, plan.head.options["out_dim"], plan.batch_size) == ("right.layers", 5, 24)
    assert (plan.method.options["momentum"], plan.backbone.component.name) == (0.5, "local.toy_backbone")


def test_an_expected_failure_is_shown_as_one(toys):
    check = named(plugin_checks("wrong", expected_failures={RATE: "it has a rate of its own"}), RATE)
    with pytest.raises(XFailed, match=r"it has a rate of its own \(optimizer wrong\.steady .* should leave parameters"):
        check()


def test_an_expected_failure_that_passes_is_an_error(toys):
    check = named(plugin_checks("wrong", expected_failures={QUADRATIC: "it is slow"}), QUADRATIC)
    with pytest.raises(ConformanceError, match=r"passes, but is listed as failing \(it is slow\): take it out"):
        check()


def test_what_a_component_raises_is_named():
    def raises():
        raise KeyError("width")

    with pytest.raises(ConformanceError, match="^a toy: this cannot be examined, KeyError: 'width'$"):
        Check("a toy", raises)()


def test_a_plugin_file_is_examined_as_an_installed_plugin(tmp_path):
    path = tmp_path / "distance.py"
    path.write_text(LOSS)
    checks = plugin_checks("local", plugins=[path])
    assert all("toy" not in str(check) for check in checks)
    skipped = set()
    for check in checks:
        try:
            check()
        except SkipTest:
            skipped.add(str(check).partition(": ")[2])
    assert skipped == {
        "is found by a fresh process", "lives in a file of its name", "state loads into a fresh one"
    }  # fmt: skip


SCRIPT = f"""
import sys
from sslkit.testing import plugin_checks
assert "torch" not in sys.modules
checks = {{str(check): check for check in plugin_checks("wrong", expected_failures={{{RATE!r}: "so it is"}})}}
checks[{RATE!r}]()
for name in sys.argv[1:]:
    try:
        checks[name]()
    except AssertionError as error:
        print(error)
assert not {{"pytest", "_pytest"}} & sys.modules.keys()
"""


def said_of(*names):
    command = [sys.executable, "-", *names]  # from no file: nothing that another process could import again
    done = subprocess.run(command, input=SCRIPT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_needs_no_pytest(toys):
    assert "optimizer wrong.undecayed" in said_of("optimizer undecayed: obeys the weight decay of each group")


@pytest.mark.slow
def test_a_script_may_examine_two_processes(toys):
    assert "the same on two processes as on one" in said_of("objective local: two processes equal one")
