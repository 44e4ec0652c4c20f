"""Evaluations on several ranks: each image is measured once, and the scores are those of one process."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from scores import embedded, of_files, of_table, trained_on

from sslkit.testing import on_ranks


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """23 training and 21 test images in two classes; beside them broken ones, far enough apart for several ranks."""
    folder = tmp_path_factory.mktemp("files")
    for split, count in (("train", 23), ("test", 21)):
        for number in range(count):
            rng = np.random.default_rng((split == "test", number))
            place = folder / split / "ab"[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 128, (16, 16, 3), dtype=np.uint8) + 60 * np.uint8(number % 2)
            Image.fromarray(pixels).save(place / f"{number:02}.png")
    for name in (
        "train/a/05_broken.png",
        "train/b/10_broken.png",
        "test/a/04_broken.png",
        "test/b/09_broken.png",
        "test/b/20_broken.png",
    ):
        (folder / name).write_bytes(b"no image")
    return folder


def require_same(found, expected):
    outcomes, values, labels = expected
    for other_outcomes, other_values, other_labels in found:
        assert torch.equal(other_labels, labels)
        assert torch.allclose(other_values, values, atol=1e-6)
        for (headline, metrics, predictions), (name, wanted, predicted) in zip(other_outcomes, outcomes, strict=True):
            assert headline == name
            assert metrics[headline] == wanted[headline]
            assert metrics["n"] == wanted["n"] == len(values)
            assert predictions["predicted"].tolist() == predicted["predicted"].tolist()


@pytest.mark.parametrize("size", [2, 4])
def test_a_table_of_23_and_21_images_has_the_scores_of_one_process(size):
    expected = of_table(23, 21)
    assert expected[0][0][1]["n"] == 21
    require_same(on_ranks(of_table, 23, 21, size=size), expected)


@pytest.mark.parametrize("size", [2, 4])
def test_files_among_which_some_are_broken_too_and_each_of_those_is_listed_once(files, tmp_path, size):
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    expected = of_files(files, tmp_path / "one")
    assert expected[0][0][1]["n"] == 21
    require_same(on_ranks(of_files, files, tmp_path / "many", size=size), expected)
    lists = [(tmp_path / name / "bad_images.jsonl").read_text().splitlines() for name in ("one", "many")]
    assert sorted(lists[0]) == sorted(lists[1])
    assert len({json.loads(line)["path"] for line in lists[1]}) == len(lists[1]) == 5


def test_three_images_on_four_ranks():
    expected = of_table(20, 3)
    require_same(on_ranks(of_table, 20, 3, size=4), expected)


def test_a_folder_of_fewer_images_than_ranks_is_embedded(files, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes((files / "test" / "ab"[number % 2] / f"0{number}.png").read_bytes())
    (tmp_path / "1_broken.png").write_bytes(b"no image")
    paths, h, z, bad = embedded(tmp_path)
    for other in on_ranks(embedded, tmp_path, size=4):
        assert other[0] == paths == ["0.png", "1.png", "2.png"]
        assert np.allclose(other[1], h, atol=1e-6)
        assert np.allclose(other[2], z, atol=1e-5)
        assert other[3] == bad
        assert len(bad) == 1


def test_training_replaces_the_same_broken_files_and_lists_each_once(files, tmp_path):
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    expected = trained_on(files, tmp_path / "one")
    for weights in on_ranks(trained_on, files, tmp_path / "many"):
        assert all(torch.allclose(weights[name], expected[name], rtol=1e-6, atol=1e-5) for name in expected)
    lists = [(tmp_path / name / "bad_images.jsonl").read_text().splitlines() for name in ("one", "many")]
    assert sorted(lists[0]) == sorted(lists[1])
    assert len({json.loads(line)["path"] for line in lists[1]}) == len(lists[1]) == 2
