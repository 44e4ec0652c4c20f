"""The classifier: one logit per class, small or zero weights at first."""

import pytest
import torch

from sslkit import Classifier, DataError


def test_a_logit_for_every_class():
    classifier = Classifier(4, 3)
    assert classifier.out_dim == 3
    assert classifier(torch.ones(2, 4)).shape == (2, 3)
    features = torch.rand(5, 4)
    expected = features @ classifier.layer.weight.T + classifier.layer.bias
    torch.testing.assert_close(classifier(features), expected)


def test_weights_start_small_or_at_zero():
    torch.manual_seed(0)
    small = Classifier(400, 100)
    assert float(small.layer.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
    assert not small.layer.bias.any()
    zero = Classifier(400, 100, zero_init=True)
    assert not zero.layer.weight.any()
    assert not zero.layer.bias.any()


def test_data_without_classes_is_refused():
    with pytest.raises(DataError, match="needs data with classes; use data with labels"):
        Classifier(4, None)
