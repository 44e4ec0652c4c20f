"""Evaluations that train, on several ranks: the classifiers and scores of one process, on untouched weights."""

from __future__ import annotations

import pytest
import torch
from fitted import EVALUATIONS, outcome_of, supervised

from sslkit.testing import on_ranks


@pytest.mark.parametrize("name", EVALUATIONS)
def test_classifiers_and_scores_are_those_of_one_process(name):
    metrics, predictions, classifiers, untouched = outcome_of(name)
    assert untouched
    assert max(float(classifier.norm()) for classifier in classifiers) > 0.1
    for other_metrics, other_predictions, other_classifiers, other_untouched in on_ranks(outcome_of, name):
        assert other_untouched
        if name == "grid":  # its batch of 17 does not divide: the ranks train on 16, and agree with each other
            assert other_metrics["learning_rate"] in (3.0, 5.0)
            continue
        assert other_metrics == pytest.approx(metrics)
        assert other_predictions["predicted"].tolist() == predictions["predicted"].tolist()
        for ours, theirs in zip(other_classifiers, classifiers, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_ranks_agree_on_a_batch_that_cannot_be_shared_evenly():
    (first, *_), (second, *_) = on_ranks(outcome_of, "grid")
    assert first == second


def test_supervised_pretraining_is_that_of_one_process():
    expected = supervised()
    for found in on_ranks(supervised):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
