"""NT-Logistic and the margin triplet loss against a literal double loop, and limits that can be calculated by hand."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nt_xent_samples import random_views
from pair_samples import CASES, FEW, literal_loss, name_of
from sslkit_simclr import MarginTriplet, NTLogistic, NTXent, all_negatives, row_blocks
from test_nt_xent import Largest, Precisions, trained
from view_samples import FROM_HOST, WAITING, Counter

from sslkit import JointEmbedding, Progress, RunError
from sslkit.registry.options import check_options
from sslkit.registry.register import Component

every_case = pytest.mark.parametrize(("kind", "options"), CASES, ids=name_of)
few_cases = pytest.mark.parametrize(("kind", "options"), FEW, ids=name_of)


@every_case
def test_value_and_gradient_equal_the_literal_double_loop(kind, options):
    views = [view.requires_grad_() for view in random_views(2, 6)]
    expected = literal_loss(views, **options)
    expected_gradients = torch.autograd.grad(expected, views)
    loss = kind(**options)(views).loss
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(torch.autograd.grad(loss, views), expected_gradients, rtol=1e-10, atol=1e-13)

    singles = [view.detach().float().requires_grad_() for view in views]
    loss = kind(**options)(singles).loss
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(torch.autograd.grad(loss, singles), expected_gradients, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-5)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.data())
def test_any_size_and_any_tile(data):
    size, dim = data.draw(st.integers(2, 8)), data.draw(st.integers(2, 5))
    kind, options = data.draw(st.sampled_from(CASES))
    views = [view.requires_grad_() for view in random_views(2, size, dim, seed=data.draw(st.integers(0, 99)))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(all_negatives, "_OTHER_SIDE", data.draw(st.integers(1, 9)))
        patch.setattr(row_blocks, "_OTHER_BLOCK_BYTES", 0)
        patch.setattr(row_blocks, "_FEWEST_ROWS", data.draw(st.integers(1, 9)))
        loss = kind(**options)(views).loss
        gradients = torch.autograd.grad(loss, views)
    expected = literal_loss(views, **options)
    torch.testing.assert_close(loss, expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, views), rtol=1e-9, atol=1e-12)


@every_case
def test_gradcheck(kind, options):
    views = [view.requires_grad_() for view in random_views(2, 4, 3)]
    objective = kind(**options)
    assert torch.autograd.gradcheck(lambda *parts: objective(parts).loss, views)


@few_cases
def test_order_of_images_and_of_views_and_lengths_change_nothing(kind, options):
    first, second = random_views(2, 7)
    plain = trained(kind(**options), [first, second])
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    loss, *gradients = trained(kind(**options), [first[order], second[order]])
    torch.testing.assert_close([loss, *gradients], [plain[0], *(part[order] for part in plain[1:])])
    loss, of_second, of_first = trained(kind(**options), [second, first])
    torch.testing.assert_close([loss, of_first, of_second], list(plain))
    lengths = torch.linspace(0.01, 50, 7, dtype=torch.float64).view(-1, 1)
    torch.testing.assert_close(kind(**options)([first * lengths, 3 * second]).loss, plain[0])


def test_limits_by_hand():
    same, corners = torch.ones(5, 4), torch.eye(8)
    for negatives in ("all", "other_views"):
        logistic = NTLogistic(temperature=0.5, negatives=negatives)
        of_one, of_minus_one = math.log1p(math.exp(2)), math.log1p(math.exp(-2))
        assert logistic([same, same]).loss.item() == pytest.approx(of_one + of_minus_one)
        assert logistic([corners, corners]).loss.item() == pytest.approx(of_minus_one + math.log(2))
        for margin in (0.0, 0.8, 1.6):
            triplet = MarginTriplet(margin=margin, negatives=negatives)
            assert triplet([same, same]).loss.item() == pytest.approx(margin)
            assert triplet([corners, corners]).loss.item() == pytest.approx(max(margin - 1, 0))


def test_a_positive_of_the_same_view_is_no_negative_where_others_are_asked_for():
    first, second = torch.eye(4)[:2], torch.eye(4)[2:]
    first = first[[0, 0]]  # both images have the same first view
    assert MarginTriplet(margin=0.5, negatives="other_views")([first, second]).loss.item() == pytest.approx(0.5)
    assert MarginTriplet(margin=0.5)([first, second]).loss.item() == pytest.approx((1.5 + 0.5 + 0.5 + 0.5) / 4)


@few_cases
def test_bfloat16_is_computed_in_float32(kind, options):
    views = [view.float() for view in random_views(2, 16, 32)]
    plain = trained(kind(**options), views)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = trained(kind(**options), views)
    assert all(map(torch.equal, plain, inside))
    halves = [view.bfloat16() for view in views]
    loss, first, second = trained(kind(**options), halves)
    expected, *gradients = trained(kind(**options), [view.float() for view in halves])
    assert torch.equal(loss, expected)
    assert first.dtype == second.dtype == torch.bfloat16
    torch.testing.assert_close([first.float(), second.float()], gradients, rtol=1e-2, atol=1e-5)


@few_cases
def test_products_are_float32_whatever_torch_is_told(kind, options):
    before = torch.backends.mkldnn.matmul.fp32_precision
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        with Precisions() as precisions:
            trained(kind(**options), [view.float() for view in random_views(2, 16, 32)])
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before
    assert set(precisions.seen) == {("ieee", "ieee")}


@few_cases
def test_nothing_waits_for_the_device(kind, options):
    views = [view.requires_grad_() for view in random_views(2, 6)]
    with Counter() as counter:
        kind(**options)(views).loss.backward()
    assert not (WAITING | FROM_HOST) & set(counter.seen)


@few_cases
def test_no_tensor_is_near_the_matrix_of_all_pairs(kind, options):
    views = [view.float().requires_grad_() for view in random_views(2, 2048, 16)]
    with Largest() as largest:
        kind(**options)(views).loss.backward()
    assert 2**18 < largest.bytes <= 2**22 < (2 * 2048) ** 2 * 4


def test_steps_take_about_as_long_as_those_of_nt_xent():
    views = [view.float().requires_grad_() for view in random_views(2, 512, 64)]
    unmeasured = Progress(1, 2, 1, measured=False)

    def seconds(objective):
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            objective(views, progress=unmeasured).loss.backward()
            taken.append(time.perf_counter() - start)
        return min(taken)

    assert max(seconds(kind(**options)) for kind, options in FEW) < 10 * seconds(NTXent())


@few_cases
def test_micro_batches_equal_the_whole_batch(kind, options, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "tests" / "distributed"))
    import double

    monkeypatch.setitem(double.OBJECTIVES, "pairs", lambda: kind(**options))
    at_once, cut = (double.three_steps("pairs", "head", size) for size in (None, 4))
    for expected, ours in zip(
        torch.utils._pytree.tree_leaves(at_once), torch.utils._pytree.tree_leaves(cut), strict=True
    ):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)
    assert len(set(map(float, cut[0]))) == 3


@few_cases
def test_zero_projections_have_finite_gradients(kind, options):
    views = [torch.zeros(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)]
    loss = kind(**options)(views).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(view.grad).all() for view in views)


def test_metrics_are_detached_and_left_out_of_steps_that_are_not_measured():
    views = [view.requires_grad_() for view in random_views(2, 8, 2)]
    accuracy = NTXent()(views).metrics["contrastive_accuracy"]
    assert 0 < accuracy < 1
    for kind, options in FEW:
        output = kind(**options)(views)
        expected = {"contrastive_accuracy"} | ({"semi_hard_fraction"} if options["mining"] == "semi_hard" else set())
        assert set(output.metrics) == expected
        assert torch.equal(output.metrics["contrastive_accuracy"], accuracy)
        assert all(value.shape == () and not value.requires_grad for value in output.metrics.values())
        unmeasured = kind(**options)(views, progress=Progress(3, 10, 5, measured=False))
        assert torch.equal(unmeasured.loss, output.loss)
        assert unmeasured.metrics == {}


@few_cases
def test_a_compiled_step_leaves_the_graph_and_comes_back(kind, options):
    layer, objective = torch.nn.Linear(6, 4), kind(**options)

    def step(views):
        return 2 * objective([layer(view) for view in views]).loss

    torch._dynamo.reset()
    views = [view.float() for view in random_views(2, 6)]
    found = []
    for form in (step, torch.compile(step, backend="aot_eager")):
        loss = form(views)
        found.append((loss.detach(), *torch.autograd.grad(loss, layer.parameters())))
    torch.testing.assert_close(*found)


def test_the_method_offers_progress():
    assert JointEmbedding(torch.nn.Identity(), None, NTLogistic()).wanted == ("progress",)
    assert NTLogistic.min_views == MarginTriplet.min_views == 2


@pytest.mark.parametrize("kind", [NTLogistic, MarginTriplet])
@pytest.mark.parametrize(
    ("projections", "words"),
    [
        ([torch.ones(4, 3)], "2 views of each image, got 1"),
        ([torch.ones(4, 3)] * 3, "2 views of each image, got 3"),
        ([torch.ones(4, 3), torch.ones(3, 3)], "one shape"),
        ([torch.ones(4, 3, 1)] * 2, r"\[N, P\]"),
        ([torch.ones(1, 3)] * 2, "got a batch of 1; set a larger batch_size"),
    ],
)
def test_wrong_projections_are_refused_in_one_line(kind, projections, words):
    with pytest.raises(RunError, match=words) as refusal:
        kind()(projections)
    assert "\n" not in str(refusal.value)
    assert kind.__name__ in str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        *((NTLogistic, {"temperature": value}, "above 0") for value in (0.0, -1.0, math.nan, math.inf)),
        *((MarginTriplet, {"margin": value}, "0 or more") for value in (-0.1, math.nan, math.inf)),
        (MarginTriplet, {"margin": 0.0, "mining": "semi_hard"}, "semi-hard within margin = 0"),
        (NTLogistic, {"mining": "hard"}, "mining must be one of all, semi_hard, not 'hard'"),
        (MarginTriplet, {"negatives": "none"}, "negatives must be one of"),
    ],
)
def test_wrong_options_are_refused(kind, options, words):
    with pytest.raises(ValueError, match=f"{kind.__name__}: .*{words}"):
        kind(**options)


@pytest.mark.parametrize(
    ("name", "target", "key", "wrong", "right"),
    [
        ("nt_logistic", "NTLogistic", "temperature", 0, 1.0),
        ("nt_logistic", "NTLogistic", "mining", "hard", "semi_hard"),
        ("margin_triplet", "MarginTriplet", "margin", -0.1, 0),
        ("margin_triplet", "MarginTriplet", "negatives", "other", "other_views"),
    ],
)
def test_recipes_with_a_wrong_option_are_refused(name, target, key, wrong, right):
    component = Component("objective", f"simclr.{name}", f"sslkit_simclr.{name}:{target}", "", "sslkit-simclr 0.1")
    _, (problem,) = check_options(component, {key: wrong})
    assert problem.key == (key,)
    assert check_options(component, {key: right})[1] == []


def test_the_options_are_printed():
    assert repr(MarginTriplet()) == "MarginTriplet(negatives='all', mining='all', margin=0.8)"
