"""Scores against scikit-learn, literal loops, and an 11-point table worked out by hand."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from sslkit import DataError, mean_per_class, voc_map
from sslkit.studies.scores import correct, labels_of, scorable, score, voc_map_weighted

# Ranked: present, absent, present, present, absent, absent, present. Of 4 present images, recall and precision are
# 1/4 1/1, 1/4 1/2, 2/4 2/3, 3/4 3/4, 3/4 3/5, 3/4 3/6, 4/4 4/7. The best precision at recall >= t is
# 1 for t = 0, .1, .2; 3/4 for .3 to .7; 4/7 for .8, .9, 1.
HAND_SCORES = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
HAND_LABELS = [1, 0, 1, 1, 0, 0, 1]
HAND = (3 * 1 + 5 * 3 / 4 + 3 * 4 / 7) / 11


def column(*values, kind=np.float32):
    return np.array(values, dtype=kind)[:, None]


def literal_average_precision(scores, label):
    """The development kit's loop, image by image; it knows no ties."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    found = listed = 0
    points = []
    for i in order:
        if label[i] == -1:
            continue
        listed += 1
        found += int(label[i] == 1)
        points.append((found / sum(label == 1), found / listed))
    best = [max([precision for recall, precision in points if recall >= t / 10 - 1e-12], default=0) for t in range(11)]
    return sum(best) / 11


def test_average_precision_of_the_table_made_by_hand():
    assert voc_map(column(*HAND_SCORES), column(*HAND_LABELS, kind=np.int8)) == pytest.approx(HAND, abs=1e-12)


def test_difficult_images_take_no_part():
    scores = column(0.95, *HAND_SCORES, 0.1)
    assert voc_map(scores, column(-1, *HAND_LABELS, -1, kind=np.int8)) == pytest.approx(HAND, abs=1e-12)


def test_images_of_equal_score_enter_together_whatever_their_order():
    # One threshold lists all four, two of which are present: precision 1/2 at every recall.
    for labels in ([1, 1, 0, 0], [0, 0, 1, 1]):
        assert voc_map(column(1, 1, 1, 1), column(*labels, kind=np.int8)) == pytest.approx(0.5)


def test_recalls_of_tenths_are_reached_exactly():
    # 3 of 10 present images found before the first mistake: 0.1 * 3 is more than 3 / 10 in floating point.
    labels = column(*[1] * 3, *[0] * 90, *[1] * 7, kind=np.int8)
    found = voc_map(column(*-np.arange(100.0)), labels)
    late = [max(k / (90 + k) for k in range(max(t, 4), 11)) for t in range(4, 11)]
    assert found == pytest.approx((4 + sum(late)) / 11, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_equals_the_literal_loop(seed):
    generator = np.random.default_rng(seed)
    label = generator.choice([1, 0, -1], (60, 7), p=[0.2, 0.7, 0.1]).astype(np.int8)
    scores = generator.normal(size=(60, 7)).astype(np.float32) + label
    expected = np.mean([literal_average_precision(scores[:, c], label[:, c]) for c in range(7)])
    assert voc_map(scores, label) == pytest.approx(expected, abs=1e-12)


def test_a_class_that_no_image_shows_is_left_out():
    scores, label = column(*HAND_SCORES), column(*HAND_LABELS, kind=np.int8)
    assert voc_map(np.hstack([scores, scores]), np.hstack([label, 0 * label])) == pytest.approx(HAND)
    assert voc_map(np.hstack([scores, scores]), np.hstack([label, 0 * label - 1])) == pytest.approx(HAND)
    with pytest.raises(DataError, match="no test image shows any class"):
        voc_map(scores, 0 * label)


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(DataError, match="not a number"):
        voc_map(column(0.5, np.nan), column(1, 0, kind=np.int8))


def test_weights_are_repetitions():
    generator = np.random.default_rng(0)
    label = generator.choice([1, 0, -1], (40, 3), p=[0.3, 0.6, 0.1]).astype(np.int8)
    scores = generator.normal(size=(40, 3)).round(1)
    times = generator.integers(0, 3, (6, 40))
    repeated = [voc_map(np.repeat(scores, row, axis=0), np.repeat(label, row, axis=0)) for row in times]
    np.testing.assert_allclose(voc_map_weighted(scores, label, times), repeated, atol=1e-12)


def test_mean_per_class_leaves_out_absent_classes():
    label, predicted = np.array([0, 0, 0, 0, 2]), np.array([0, 0, 0, 1, 1])
    assert mean_per_class(predicted, label) == pytest.approx((3 / 4 + 0) / 2)


def test_mean_per_class_equals_scikit_learn():
    generator = np.random.default_rng(0)
    label = generator.choice(9, 300, p=np.arange(1, 10) / 45)
    predicted = np.where(generator.random(300) < 0.5, label, generator.integers(0, 9, 300))
    assert mean_per_class(predicted, label) == pytest.approx(balanced_accuracy_score(label, predicted))


def test_what_images_add_has_the_score_as_its_mean():
    predictions = {"predicted": np.array([0, 0, 1, 2]), "label": np.array([0, 0, 0, 2]), "top5": np.ones(4, bool)}
    assert correct("top1", predictions).tolist() == [True, True, False, True]
    assert score("top1", predictions) == 0.75
    assert score("top5", predictions) == 1
    assert correct("mean_per_class", predictions).mean() == pytest.approx((2 / 3 + 1) / 2)


def test_of_several_targets_images_add_the_fraction_that_was_named():
    predictions = {
        "predicted_colour": np.array([1, 0, 1, 0]), "label_colour": np.array([1, 0, 0, 0]),
        "predicted_size": np.array([2, 2, 2, 2]), "label_size": np.array([2, 0, 1, 2]),
    }  # fmt: skip
    assert correct("mean_accuracy", predictions).tolist() == [1, 0.5, 0, 1]
    assert score("mean_accuracy", predictions) == (3 / 4 + 2 / 4) / 2
    assert scorable("mean_accuracy", predictions)
    assert labels_of(predictions).keys() == {"label_colour", "label_size"}
    del predictions["label_size"]
    assert not scorable("mean_accuracy", predictions)
    with pytest.raises(DataError, match="mean_accuracy: needs the predictions' label_size,"):
        score("mean_accuracy", predictions)
    assert not scorable("mean_accuracy", {"predicted": np.zeros(3), "label": np.zeros(3)})


def test_of_many_labels_images_add_accuracy_not_precision():
    scores = np.array([[1.0, -1, -1], [-1, 1, 1]])
    label = np.array([[1, 0, -1], [1, 1, 0]], dtype=np.int8)
    # 2 of 2 and 1 of 3 entries are right: 3 of 5 in all.
    assert correct("voc_map", {"scores": scores, "label": label}).mean() == pytest.approx(3 / 5)
    assert score("voc_map", {"scores": scores, "label": label}) == voc_map(scores, label)


def test_what_does_not_follow_from_predictions_is_said():
    assert not scorable("rankme", {"predicted": np.zeros(3)})
    assert not scorable("top1", {"predicted": np.zeros(3)})
    assert not scorable("top1", {"predicted": np.zeros(0), "label": np.zeros(0)})
    with pytest.raises(DataError, match="rankme: is no score of predictions; these are: top1"):
        score("rankme", {})
    with pytest.raises(DataError, match="top1: needs the predictions' label"):
        score("top1", {"predicted": np.zeros(3)})
    with pytest.raises(DataError, match="no test image"):
        mean_per_class(np.zeros(0, int), np.zeros(0, int))
    with pytest.raises(DataError, match="different lengths"):
        mean_per_class(np.zeros(3, int), np.zeros(2, int))
