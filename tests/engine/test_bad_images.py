from __future__ import annotations

import json
import logging

import pytest
import torch
import toy_plugin

from sslkit import BadImageError, DataError, RunError
from sslkit.engine.bad_images import BadImage, BadImages
from sslkit.engine.batches import Batches, Source
from sslkit.engine.order import Order


def bad(*numbers):
    return [BadImage(f"{number}.jpg", "is cut short") for number in numbers]


def listed(folder):
    return [json.loads(line) for line in (folder / "bad_images.jsonl").read_text().splitlines()]


def test_each_is_listed_once_with_reason_and_split(tmp_path):
    images = BadImages()
    images.keep_in(tmp_path)
    assert not (tmp_path / "bad_images.jsonl").exists()
    images.add("pretrain", bad(1, 2, 1), 100, 0.2)
    images.add("pretrain", bad(2, 3), 100, 0.2)
    images.add("test", bad(4), 100, 0.2)
    assert [(entry["path"], entry["split"]) for entry in listed(tmp_path)] == [
        ("1.jpg", "pretrain"),
        ("2.jpg", "pretrain"),
        ("3.jpg", "pretrain"),
        ("4.jpg", "test"),
    ]
    assert {entry["reason"] for entry in listed(tmp_path)} == {"is cut short"}
    assert (images.count("pretrain"), images.count("test"), images.count("train")) == (3, 1, 0)


def test_a_file_of_two_splits_is_listed_once_and_counts_in_both(tmp_path):
    images = BadImages()
    images.keep_in(tmp_path)
    images.add("pretrain", bad(1), 100, 0.2)
    images.add("train", bad(1), 100, 0.2)
    assert len(listed(tmp_path)) == images.count("pretrain") == images.count("train") == 1


def test_a_continued_run_goes_on_counting(tmp_path):
    first = BadImages()
    first.keep_in(tmp_path)
    first.add("pretrain", bad(1, 2), 10, 0.2)
    again = BadImages()
    again.keep_in(tmp_path)
    again.add("pretrain", bad(2, 1), 10, 0.2)
    assert len(listed(tmp_path)) == 2
    with pytest.raises(DataError, match="3 of 10 images"):
        again.add("pretrain", bad(3), 10, 0.2)


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path):
    first = BadImages()
    first.keep_in(tmp_path)
    first.add("pretrain", bad(1, 2), 10, 0.5)
    path = tmp_path / "bad_images.jsonl"
    path.write_text(path.read_text()[:-5])
    again = BadImages()
    again.keep_in(tmp_path)
    again.add("pretrain", bad(2, 3), 10, 0.5)
    assert [entry["path"] for entry in listed(tmp_path)] == ["1.jpg", "2.jpg", "3.jpg"]
    path.write_text("no list\n")
    with pytest.raises(RunError, match="no list of bad images"):
        BadImages().keep_in(tmp_path)


def test_too_many_are_one_line_with_everything_needed(tmp_path):
    images = BadImages()
    images.keep_in(tmp_path)
    images.add("pretrain", bad(1, 2), 10, 0.2)  # exactly the limit
    with pytest.raises(DataError) as caught:
        images.add("pretrain", [BadImage("3\n\x1b[31m.jpg", "broken")], 10, 0.2)
    said = str(caught.value)
    assert "pretrain split: 3 of 10 images cannot be read, more than max_bad_fraction = 0.2 allows" in said
    assert "1.jpg: is cut short; 2.jpg: is cut short; 3" in said
    assert str(tmp_path / "bad_images.jsonl") in said
    assert "raise max_bad_fraction" in said
    assert "\n" not in said
    assert "\x1b" not in said
    assert listed(tmp_path)[-1]["path"] == "3\n\x1b[31m.jpg"  # the file names it exactly
    with pytest.raises(DataError, match="1 of 10"):
        BadImages().add("pretrain", bad(1), 10, 0.0)


def test_names_of_raw_bytes_are_listed(tmp_path):
    images = BadImages()
    images.keep_in(tmp_path)
    images.add("pretrain", [BadImage("\udcff.jpg", "broken")], 10, 0.2)
    assert listed(tmp_path)[0]["path"] == "\udcff.jpg"


def test_the_log_names_a_few_and_the_file_all(tmp_path, caplog):
    images = BadImages()
    images.keep_in(tmp_path)
    images.add("pretrain", bad(*range(50)), 100, 1)
    images.log_summary("pretrain", 100, "and were replaced")
    assert len(listed(tmp_path)) == 50
    assert len(caplog.records) == 5 + 1 + 1
    assert "50 of 100 images cannot be read and were replaced" in caplog.text
    caplog.clear()
    BadImages().add("pretrain", bad(*range(50)), 100, 1)
    assert len(caplog.records) == 50  # nowhere else to read them


def test_damaged_metadata_is_one_count(caplog):
    images = BadImages()
    for _ in range(3):  # epochs
        images.add_damaged_metadata("pretrain", [3, 4, 5])
    images.log_summary("pretrain", 60, "and were replaced")
    (record,) = caplog.records
    assert "3 of 60 images have damaged EXIF or XMP" in record.getMessage()


class Broken:
    """A dataset of tensors, of which those at the multiples of three cannot be read."""

    def __init__(self, every):
        self.every = every

    def __len__(self):
        return 64

    def __getitem__(self, index):
        if index % self.every == 0:
            raise BadImageError(f"{index}.jpg", "is cut short")
        return torch.full((3, 8, 8), index, dtype=torch.uint8), -1


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_lists_them_once_in_all_epochs_and_stops_above_the_limit(workers, tmp_path):
    def stream(every, limit):
        images = BadImages()
        images.keep_in(tmp_path)
        source = Source(Broken(every), on_bad_image="replace", max_bad_fraction=limit)
        batches = Batches(
            source,
            toy_plugin.Brightness(),
            Order(0, 64, 32),
            device=torch.device("cpu"),
            workers=workers,
            bad_images=images,
        )
        return list(batches.stream(0, 6))

    stream(8, 0.2)
    assert sorted(entry["path"] for entry in listed(tmp_path)) == sorted(f"{8 * number}.jpg" for number in range(8))
    with pytest.raises(DataError, match="more than max_bad_fraction = 0.1"):
        stream(8, 0.1)
    # All of them bad: the limit is what stops it, not the first image without a replacement.
    with pytest.raises(DataError, match="more than max_bad_fraction = 0.2"):
        stream(1, 0.2)
    with pytest.raises(DataError, match="nor can 10 others"):
        stream(1, 1.0)


def test_nothing_is_said_of_a_clean_split(caplog):
    caplog.set_level(logging.DEBUG)
    BadImages().log_summary("pretrain", 100, "and were replaced")
    assert not caplog.records
