"""The head's own outputs as scores."""

import pytest
import torch

from sslkit import Classifier, FrozenModel, RunError, Shapes, own_classifier


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
