"""SimSiam's own: the stop-gradient, the predictor, and what becomes of it without either."""

from __future__ import annotations

import pytest
import torch
from prediction_samples import batch_of, random_vectors, trained, vector_method
from sslkit_byol import SimSiam


def test_the_predictor_is_a_bottleneck_of_a_quarter_unless_told_otherwise():
    def widths(**options):
        layers = vector_method(SimSiam, **options).predictor.modules()
        return [(layer.in_features, layer.out_features) for layer in layers if isinstance(layer, torch.nn.Linear)]

    assert widths(out_dim=2048) == [(2048, 512), (512, 2048)]
    assert widths(out_dim=8, predictor_hidden_dim=5, predictor_layers=3) == [(8, 5), (5, 5), (5, 8)]
    assert widths(predictor_layers=0) == []


def test_the_predictor_keeps_its_learning_rate_and_nothing_else():
    kept = vector_method(SimSiam).constant_learning_rate()
    assert kept == {name for name, _ in vector_method(SimSiam).named_parameters() if name.startswith("predictor.")}
    assert kept
    assert vector_method(SimSiam, constant_predictor_rate=False).constant_learning_rate() == set()


def test_without_a_predictor_the_stop_gradient_halves_the_gradient_and_nothing_else():
    # Section 4.2: then the gradient of the symmetrised loss is that of one without stop-gradient, scaled.
    gradients = []
    for stop_gradient in (True, False):
        method = vector_method(SimSiam, predictor_layers=0, stop_gradient=stop_gradient).double()
        method(batch_of(random_vectors())).loss.backward()
        gradients.append([p.grad for p in method.parameters()])
    torch.testing.assert_close([2 * gradient for gradient in gradients[0]], gradients[1])


@pytest.mark.parametrize("options", [{"stop_gradient": False}, {"predictor_layers": 0}], ids=str)
def test_what_is_taken_away_in_the_paper_ends_in_one_point(options):
    spread = trained(vector_method(SimSiam))["spread"]
    assert 0.75 / 8**0.5 < spread < 1.1 / 8**0.5  # figure 2: about 1 / sqrt(d)
    assert trained(vector_method(SimSiam, **options))["spread"] < 0.15 * spread
