"""The head's own outputs as scores."""

import numpy as np
import pytest
import torch

from sslkit import Arrays, Classifier, DataError, FrozenModel, RunError, Shapes, own_classifier


def test_the_outputs_are_the_scores(tiny_network):
    data = Shapes(image_size=16, num_train=10, num_test=31)
    torch.manual_seed(0)
    model = FrozenModel(tiny_network(), Classifier(8, 10), input_size=16, workers=0)
    outcome = own_classifier()(model.measuring("z"), data)
    pixels = data.table("test").float() / 255
    with torch.no_grad():
        expected = model.head(model.backbone(pixels)).argmax(dim=1)
    assert outcome.predictions["predicted"].tolist() == expected.tolist()
    hits = int((expected == torch.from_numpy(data.split("test").labels)).sum())
    assert outcome.metrics["top1"] == hits / 31


def test_features_and_heads_of_another_width_are_refused(tiny_network):
    data = Shapes(image_size=16, num_train=10, num_test=31)
    model = FrozenModel(tiny_network(), Classifier(8, 3), input_size=16, workers=0)
    with pytest.raises(RunError, match=r'not at "h"; set features = \["z"\]'):
        own_classifier()(model, data)
    with pytest.raises(RunError, match="the head has 3 outputs, the data 10 classes"):
        own_classifier()(model.measuring("z"), data)


def test_what_it_cannot_do_shows_before_a_run(tiny_network):
    network, check = tiny_network(), own_classifier().check
    check(network, "z", Shapes(image_size=16, num_train=10, num_test=31))
    with pytest.raises(RunError, match=r'not at "h"'):
        check(network, "h", Shapes(image_size=16, num_train=10, num_test=31))
    images = np.zeros((4, 16, 16, 3), dtype=np.uint8)
    with pytest.raises(DataError, match='1 of 4 images of the split "test" have no label'):
        check(network, "z", Arrays.of(train=(images, [0, 1, 0, 1]), test=(images, [0, 1, -1, 1])))
