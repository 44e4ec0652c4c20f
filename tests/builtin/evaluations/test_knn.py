"""kNN against a literal vote, one pair of images at a time, in float64."""

import math

import numpy as np
import pytest
import torch

from sslkit import knn
from sslkit.builtin.evaluations import knn as module
from sslkit.builtin.evaluations.knn import _nearest, knn_votes


def literal_votes(queries, bank, labels, num_classes, k, temperature):
    def cosine(a, b):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))

    rows = []
    for query in queries.double().tolist():
        near = [(-cosine(query, row), place) for place, row in enumerate(bank.double().tolist())]
        votes = [0.0] * num_classes
        for negative, place in sorted(near)[:k]:
            votes[int(labels[place])] += math.exp(-negative / temperature)
        rows.append(votes)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("k", [1, 5, 40])
def test_votes_equal_the_literal_ones(make_blobs, k):
    bank, labels = make_blobs(40, 7, 6, 1.0)
    queries, _ = make_blobs(11, 7, 6, 1.0, seed=1)
    expected = literal_votes(queries, bank, labels, 7, k, 0.1)
    found = knn_votes(queries, bank, labels, 7, k, 0.1)
    torch.testing.assert_close(found / found.sum(1, True), expected / expected.sum(1, True), rtol=1e-5, atol=1e-7)


def test_chunks_do_not_change_the_votes(make_blobs, monkeypatch):
    bank, labels = make_blobs(40, 7, 6, 1.0)
    queries, _ = make_blobs(11, 7, 6, 1.0, seed=1)
    whole = knn_votes(queries, bank, labels, 7, 5, 0.1)
    monkeypatch.setattr(module, "_CHUNK_NUMBERS", 3 * 40)
    torch.testing.assert_close(knn_votes(queries, bank, labels, 7, 5, 0.1), whole, rtol=1e-5, atol=0)


def test_nearest_images_of_a_large_bank_are_those_of_a_full_sort_ties_included():
    # Few different similarities, so that most rows have ties for the last place, within groups and between them.
    generator = torch.Generator().manual_seed(0)
    for levels, width in ((7, 1000), (300, 1031), (100_000, 1031)):
        similarities = torch.randint(levels, (50, width), generator=generator).float()
        similarities[0] = 1.0
        similarities[1, width // 2 :] = similarities[1].max()
        ordered = similarities.sort(dim=1, descending=True, stable=True)
        for k in (1, 5, 7):
            values, positions = _nearest(similarities.clone(), k)
            assert torch.equal(values.sort(dim=1, descending=True).values, ordered.values[:, :k])
            assert torch.equal(positions.sort(dim=1).values, ordered.indices[:, :k].sort(dim=1).values)


def test_images_that_tie_for_the_last_place_count_in_the_order_of_the_bank():
    # Exact numbers: one image at similarity 1, then 60 at exactly 0, of which k = 4 leaves 57 out.
    bank = torch.tensor([[0.0, 1.0]] * 30 + [[1.0, 0.0]] + [[0.0, 2.0]] * 30)
    labels = torch.arange(61)
    votes = knn_votes(torch.tensor([[4.0, 0.0]]), bank, labels, 61, 4, 1.0)
    assert votes[0].nonzero()[:, 0].tolist() == [0, 1, 2, 30]


def test_classes_that_tie_give_the_lowest_index(make_data, make_pretrained):
    bank = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    data = make_data(4, train=(bank, torch.tensor([3, 1, 0])), test=(bank[:1], torch.tensor([3])))
    outcome = knn(k=2)(make_pretrained(), data)
    assert outcome.predictions["predicted"].tolist() == [1]
    assert outcome.metrics["top1"] == 0.0


def test_small_temperatures_do_not_overflow(make_blobs):
    bank, labels = make_blobs(40, 7, 6, 1.0)
    votes = knn_votes(bank[:5], bank, labels, 7, 40, 1e-4)
    assert torch.isfinite(votes).all()
    assert torch.equal(votes.argmax(dim=1), labels[:5])


def test_outcome_over_an_odd_number_of_images(make_data, make_pretrained, make_blobs):
    train, test = make_blobs(50, 7, 6, 0.3), make_blobs(13, 7, 6, 0.8, seed=1)
    pretrained = make_pretrained()
    outcome = knn()(pretrained, make_data(7, train=train, test=test))
    votes = literal_votes(test[0], train[0], train[1], 7, 50, 0.07)
    hits = (votes.argmax(dim=1) == test[1]).sum()
    assert outcome.headline == "top1"
    assert outcome.metrics["top1"] == int(hits) / 13
    assert (outcome.metrics["n"], outcome.metrics["k"]) == (13, 50)
    in_five = sum(int(label) in row.topk(5).indices.tolist() for row, label in zip(votes, test[1], strict=True))
    assert outcome.metrics["top5"] == in_five / 13
    np.testing.assert_array_equal(outcome.predictions["label"], test[1].numpy())
    np.testing.assert_array_equal(outcome.predictions["predicted"], votes.argmax(dim=1).numpy())
    assert pretrained.asked == ["train", "test"]


def test_a_class_without_a_vote_is_no_top_5_hit(make_data, make_pretrained):
    bank = torch.eye(6)
    data = make_data(6, train=(bank, torch.arange(6)), test=(bank, torch.tensor([1, 0, 2, 3, 4, 5])))
    outcome = knn(k=1)(make_pretrained(), data)
    assert outcome.metrics["top5"] == outcome.metrics["top1"] == 4 / 6


def test_top5_is_left_out_for_five_classes_or_fewer(make_data, make_pretrained, make_blobs):
    train = make_blobs(50, 5, 6, 0.3)
    assert "top5" not in knn()(make_pretrained(), make_data(5, train=train, test=train)).metrics
