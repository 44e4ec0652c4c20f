"""NT-Xent against a literal double loop, golden values and limits that can be calculated by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nt_xent_samples import OPTIONS, literal_loss, random_views, some_labels
from sslkit_simclr import NTXent, row_blocks, square_tiles
from torch.utils._python_dispatch import TorchDispatchMode
from view_samples import FROM_HOST, WAITING, Counter

from sslkit import JointEmbedding, Progress
from sslkit.registry.options import check_options
from sslkit.registry.register import Component

Z1 = torch.tensor([(1.0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)])
Z2 = torch.tensor([(2.0, 1, 0), (0, 1, 1), (1, 0, 3), (1, 2, 1)])


@pytest.fixture
def small_blocks(monkeypatch):
    """Tiles of 5 rows and blocks of 4, which divide hardly any batch."""
    monkeypatch.setattr(square_tiles, "_SIDE", 5)
    monkeypatch.setattr(row_blocks, "_OTHER_BLOCK_BYTES", 0)
    monkeypatch.setattr(row_blocks, "_FEWEST_ROWS", 4)


@pytest.mark.parametrize(
    ("temperature", "loss", "entropy"),
    [(0.1, 0.715881, 0.516794), (0.5, 1.359749, 1.248077), (1.0, 1.614568, 1.347347)],
)
def test_golden_vector(temperature, loss, entropy):
    output = NTXent(temperature=temperature)([Z1, Z2])
    assert output.loss.item() == pytest.approx(loss, abs=2e-6)
    assert output.metrics["contrastive_accuracy"].item() == 0.75
    assert output.metrics["contrastive_entropy"].item() == pytest.approx(entropy, abs=2e-6)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("temperature", [0.01, 0.05, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())) or "plain")
@pytest.mark.parametrize("num_views", [2, 3])
def test_value_and_gradient_equal_the_literal_double_loop(temperature, options, num_views):
    views = [view.requires_grad_() for view in random_views(num_views, 6)]
    labels = some_labels(6)
    expected = literal_loss(views, temperature, labels=labels, **options)
    expected_gradients = torch.autograd.grad(expected, views)
    objective = NTXent(temperature=temperature, **options)
    loss = objective(views, labels).loss
    gradients = torch.autograd.grad(loss, views)
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-9, atol=1e-11)

    singles = [view.detach().float().requires_grad_() for view in views]
    loss = objective(singles, labels).loss
    gradients = torch.autograd.grad(loss, singles)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=3e-5)
    scale = max(part.abs().max().item() for part in expected_gradients)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-4 * scale)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.data())
def test_any_shape_and_any_block(data):
    num_views, size, dim = data.draw(st.integers(2, 4)), data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    options = data.draw(st.sampled_from(OPTIONS))
    labels = torch.tensor(data.draw(st.lists(st.integers(-1, 2), min_size=size, max_size=size)))
    views = [view.requires_grad_() for view in random_views(num_views, size, dim)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(square_tiles, "_SIDE", data.draw(st.integers(1, 21)))
        patch.setattr(row_blocks, "_OTHER_BLOCK_BYTES", 0)
        patch.setattr(row_blocks, "_FEWEST_ROWS", data.draw(st.integers(1, 21)))
        loss = NTXent(**options)(views, labels).loss
        gradients = torch.autograd.grad(loss, views)
    expected = literal_loss(views, 0.1, labels=labels, **options)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-11)
    expected_gradients = torch.autograd.grad(expected, views, allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("options", OPTIONS)
def test_gradcheck(options):
    views = [view.requires_grad_() for view in random_views(2, 4, 3)]
    objective = NTXent(temperature=0.3, **options)
    assert torch.autograd.gradcheck(lambda *parts: objective(parts, some_labels(4)).loss, views)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("temperature", [0.03, 0.1])
def test_tiles_and_blocks_agree(temperature):
    rows = torch.nn.functional.normalize(random_views(1, 26)[0], dim=1) / temperature**0.5
    tiles, blocks = square_tiles.SquareTiles(rows), row_blocks.RowBlocks(rows, slice(0, 26))
    log_sums = tiles.log_sums()
    torch.testing.assert_close(blocks.log_sums(), log_sums, rtol=1e-13, atol=1e-13)
    ours, theirs = torch.ones_like(rows), torch.ones_like(rows)
    tiles.add_gradient(log_sums, ours)
    blocks.add_gradient(log_sums, theirs)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.02, 0.005, 1e-3, 1e-4])
def test_low_temperatures_stay_finite_and_right(temperature):
    opposite = torch.cat((torch.eye(4), -torch.eye(4)))  # cosines of 1 and -1: exp overflows and vanishes
    views = [opposite + 0.01 * view[:, :4] for view in random_views(2, 8)]
    wide = [view.double().requires_grad_() for view in views]
    expected = literal_loss(wide, temperature)
    narrow = [view.float().requires_grad_() for view in views]
    loss = NTXent(temperature=temperature)(narrow).loss
    # Cosines are known to 1e-7, and are divided by the temperature.
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6 / temperature)
    assert loss.isfinite()
    gradients, expected_gradients = torch.autograd.grad(loss, narrow), torch.autograd.grad(expected, wide)
    scale = 0.1 / temperature / 16
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=0.05 * scale)
    exact = NTXent(temperature=temperature)(wide).loss
    torch.testing.assert_close(exact, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(torch.autograd.grad(exact, wide), expected_gradients, rtol=1e-7, atol=1e-9 * scale)


def test_swapping_views_and_scaling_projections_change_nothing():
    first, second = random_views(2, 8)
    loss = NTXent()([first, second]).loss
    torch.testing.assert_close(NTXent()([second, first]).loss, loss)
    lengths = torch.linspace(0.01, 50, 8, dtype=torch.float64).view(-1, 1)
    torch.testing.assert_close(NTXent()([first * lengths, second * 3]).loss, loss)
    assert abs(NTXent(normalise=False)([first * lengths, second]).loss - loss) > 0.1


@pytest.mark.parametrize("size", [1, 8, 256])
def test_collapse_and_perfect_separation(size):
    same = torch.ones(size, 4)
    assert NTXent()([same, same]).loss.item() == pytest.approx(math.log(2 * size - 1), abs=1e-5)
    others = NTXent(negatives="other_views")([same, same]).loss.item()
    assert others == pytest.approx(math.log(size), abs=1e-5)
    corners = torch.eye(size)
    expected = math.log(1 + (2 * size - 2) * math.exp(-1 / 0.5))
    assert NTXent(temperature=0.5)([corners, corners]).loss.item() == pytest.approx(expected, abs=1e-5)
    decoupled = NTXent(temperature=0.5, decoupled=True)([corners, corners]).loss.item()
    expected = math.log(2 * size - 2) if size > 1 else 0
    assert decoupled == pytest.approx(expected - 1 / 0.5, abs=1e-5)


def test_images_without_labels_make_plain_nt_xent():
    views = random_views(2, 6)
    none = torch.full((6,), -1)
    assert torch.equal(NTXent(positives="labels")(views, none).loss, NTXent()(views).loss)
    supervised = NTXent(positives="labels")(views, torch.tensor([5, 5, 0, 7, -1, -1])).loss
    assert abs(supervised - NTXent()(views).loss) > 0.1
    assert torch.equal(NTXent()(views, torch.zeros(6)).loss, NTXent()(views).loss)


def trained(objective, views):
    """The loss and the gradients of views that are detached first."""
    views = [view.detach().requires_grad_() for view in views]
    loss = objective(views).loss
    return loss.detach(), *torch.autograd.grad(loss, views)


def test_bfloat16_autocast_changes_no_bit():
    views = [view.float() for view in random_views(2, 16, 32)]
    plain = trained(NTXent(temperature=0.05), views)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = trained(NTXent(temperature=0.05), views)
    assert all(map(torch.equal, plain, inside))
    loss, first, _ = trained(NTXent(), [view.bfloat16() for view in views])
    assert loss.dtype == torch.float32
    assert first.dtype == torch.bfloat16


def switches():
    return torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision


class Precisions(TorchDispatchMode):
    """Notes to which precision torch may round inside matrix products."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket.__name__ in ("mm", "addmm", "addmm_"):
            self.seen.append(switches())
        return function(*args, **(kwargs or {}))


@pytest.fixture(params=["untouched", "old", "new"])
def low_precision(request):
    """Matrix products in TF32 or bfloat16, asked for by torch's old or new switches, or not at all."""
    before = switches()
    if request.param == "old":
        torch.set_float32_matmul_precision("medium")
        assert switches() == ("tf32", "bf16")
    elif request.param == "new":
        torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision = "tf32", "bf16"
    yield
    if request.param == "old":
        assert torch.get_float32_matmul_precision() == "medium"
        torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision = before


@pytest.mark.parametrize("options", [{}, {"decoupled": True}])
def test_products_are_float32_whatever_torch_is_told(low_precision, options):
    views, before = [view.float() for view in random_views(2, 16, 32)], switches()
    with Precisions() as precisions:
        trained(NTXent(**options), views)
    assert len(precisions.seen) >= 4
    assert set(precisions.seen) == {("ieee", "ieee")}
    assert switches() == before


@pytest.mark.parametrize("options", OPTIONS)
def test_nothing_waits_for_the_device(options):
    views = [view.requires_grad_() for view in random_views(2, 6)]
    with Counter() as counter:
        NTXent(**options)(views, some_labels(6)).loss.backward()
    assert not WAITING & set(counter.seen)
    assert not FROM_HOST & set(counter.seen)
    assert not {name for name in counter.seen if "bool" in name or "unique" in name}


class Largest(TorchDispatchMode):
    """Notes the bytes of the largest tensor that an operation returned."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize("options", [{}, {"temperature": 0.01}, {"positives": "labels", "decoupled": True}])
def test_no_tensor_is_near_the_matrix_of_all_pairs(options):
    num_images = 2048
    views = [view.float().requires_grad_() for view in random_views(2, num_images, 16)]
    with Largest() as largest:
        NTXent(**options)(views, some_labels(num_images)).loss.backward()
    assert 2**18 < largest.bytes <= 2**22
    assert (2 * num_images) ** 2 * 4 == 2**26


def test_zero_projections_have_finite_gradients():
    views = [torch.zeros(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)]
    output = NTXent()(views)
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert all(torch.isfinite(view.grad).all() for view in views)


def test_vectors_below_the_shortest_normalised_length_are_only_scaled():
    views = [(1e-8 * view).requires_grad_() for view in random_views(2, 4)]
    rows = torch.cat(views) / 1e-6
    logits = (rows @ rows.T / 0.1).fill_diagonal_(-torch.inf)
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(8).roll(4))
    loss = NTXent()(views).loss
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, views), torch.autograd.grad(expected, views))


def test_backward_works_twice_but_not_on_itself():
    views = [view.requires_grad_() for view in random_views(2, 4)]
    loss = NTXent()(views).loss
    once = torch.autograd.grad(loss, views, retain_graph=True)
    assert all(map(torch.equal, once, torch.autograd.grad(loss, views, retain_graph=True)))
    factor = torch.ones((), dtype=torch.float64, requires_grad=True)
    (first, _) = torch.autograd.grad(factor * loss, views, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_metrics_are_detached_scalars_of_the_first_two_views():
    views = [view.float().requires_grad_() for view in random_views(3, 8)]
    metrics = NTXent()(views).metrics
    pair = NTXent()(views[:2]).metrics
    assert set(metrics) == {"contrastive_accuracy", "contrastive_entropy"}
    for name, value in metrics.items():
        assert value.shape == ()
        assert not value.requires_grad
        torch.testing.assert_close(value, pair[name])


@pytest.mark.usefixtures("small_blocks")
def test_metrics_equal_those_of_the_whole_matrix():
    first, second = random_views(2, 11, 2)
    metrics = NTXent(temperature=0.5)([first, second]).metrics
    logits = torch.nn.functional.cosine_similarity(first[:, None], second, dim=2) / 0.5
    hits = logits.argmax(dim=1) == torch.arange(11)
    assert 0 < hits.sum() < 11
    assert metrics["contrastive_accuracy"].item() == pytest.approx(hits.double().mean().item())
    entropy = torch.distributions.Categorical(logits=logits).entropy().mean()
    torch.testing.assert_close(metrics["contrastive_entropy"], entropy)


def test_metrics_are_left_out_of_steps_that_are_not_measured():
    steps = {measured: Progress(3, 10, 5, measured) for measured in (True, False)}
    outputs = {measured: NTXent()([Z1, Z2], progress=progress) for measured, progress in steps.items()}
    assert torch.equal(outputs[True].loss, outputs[False].loss)
    assert len(outputs[True].metrics) == 2
    assert outputs[False].metrics == {}


def test_a_compiled_step_leaves_the_graph_and_comes_back():
    layer, objective = torch.nn.Linear(6, 4), NTXent(positives="labels")

    def step(views, labels):
        return 2 * objective([layer(view) for view in views], labels).loss

    compiled = torch.compile(step, backend="aot_eager")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for seed in range(3):
        views = [view.float() for view in random_views(2, 6, seed=seed)]
        gradients = []
        for run in (step, compiled):
            loss = run(views, some_labels(6))
            gradients.append((loss.detach(), *torch.autograd.grad(loss, layer.parameters())))
        for ours, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(ours, theirs)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


def test_the_method_offers_labels_and_progress():
    assert JointEmbedding(torch.nn.Identity(), None, NTXent()).wanted == ("labels", "progress")


@pytest.mark.parametrize(
    ("projections", "words"),
    [
        ([], "at least 2 views"),
        ([torch.ones(4, 3)], "at least 2 views"),
        ([torch.ones(4, 3), torch.ones(3, 3)], "one shape"),
        ([torch.ones(4, 3, 1), torch.ones(4, 3, 1)], r"\[B, P\]"),
        ([torch.ones(0, 3), torch.ones(0, 3)], "B >= 1"),
    ],
)
def test_wrong_projections_are_refused(projections, words):
    with pytest.raises(ValueError, match=words):
        NTXent()(projections)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "got none"),
        (torch.ones(4, 20, dtype=torch.int8), 'got 20 classes to each; set positives = "views"'),
        (torch.ones(3, dtype=torch.int64), r"got shape \(3,\)"),
    ],
)
def test_wrong_labels_are_refused(labels, words):
    with pytest.raises(ValueError, match=f"one label for each of 4 images, {words}"):
        NTXent(positives="labels")([Z1, Z2], labels)


@pytest.mark.parametrize(
    ("option", "value"),
    [("temperature", value) for value in (0.0, -0.1, math.nan, math.inf, -math.inf)]
    + [("positives", "classes"), ("negatives", "none")],
)
def test_wrong_options_are_refused(option, value):
    with pytest.raises(ValueError, match=f"{option} must be"):
        NTXent(**{option: value})


@pytest.mark.parametrize(
    ("temperature", "reason"),
    [(0, "greater than 0"), (-0.1, "greater than 0"), ("0.1", "number"), (math.nan, "finite"), (math.inf, "finite")],
)
def test_recipes_with_a_wrong_temperature_are_refused(temperature, reason):
    component = Component("objective", "simclr.nt_xent", "sslkit_simclr.nt_xent:NTXent", "", "sslkit-simclr 0.1")
    _, (problem,) = check_options(component, {"temperature": temperature})
    assert problem.key == ("temperature",)
    assert reason in problem.reason
    assert check_options(component, {"temperature": 1e-4})[1] == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exponentials_are_never_denormal(dtype):
    exponents = torch.tensor([-math.inf, -1e4, -740, -100, -88, 0, 1], dtype=dtype)
    values = row_blocks.exp_(exponents.clone())
    assert values.min() > 1000 * torch.finfo(dtype).tiny
    torch.testing.assert_close(values, exponents.exp(), rtol=0, atol=1e-34)
