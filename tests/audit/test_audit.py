"""A folder with one of everything wrong: the audit names it, and nothing else."""

import dataclasses
import os

import numpy as np
import pytest
from PIL import Image

from sslkit import DataError, open_image
from sslkit.audit.audit import audit

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's, of damaged metadata

SINGLE = {
    "unreadable": {"train/owl/cut.jpg", "train/owl/page.png"},
    "blank": {"train/owl/scan.png"},
    "blurred": {"train/owl/moved.jpg"},
    "long": {"train/owl/strip.jpg"},
    "small": {"train/owl/stamp.jpg"},
    "other_mode": {"train/owl/print.jpg"},
    "rotated": {"train/owl/turned.jpg"},
    "position": {"train/owl/located.jpg"},
    "damaged_metadata": {"train/owl/camera.jpg"},
}
TOGETHER = {
    "across_splits": [
        {"test/owl/leak.jpg", "train/owl/1.jpg"},
        {"test/heron/brighter.jpg", "train/heron/half.jpg", "train/heron/original.png"},
    ],
    "duplicate": [{"train/owl/1.jpg", "test/owl/leak.jpg"}, {"train/heron/0.jpg", "train/owl/same.jpg"}],
    "near_duplicate": [{"test/heron/brighter.jpg", "train/heron/half.jpg", "train/heron/original.png"}],
}


def found(audited, name):
    (finding,) = [finding for finding in audited.findings if finding.name == name]
    return [{audited.files[position].path for position in group} for group in finding.groups]


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.mark.parametrize("name", SINGLE)
def test_each_odd_file_is_found_and_no_other(audited, name):
    assert all(len(group) == 1 for group in found(audited, name))
    assert set().union(*found(audited, name)) == SINGLE[name]


@pytest.mark.parametrize("name", TOGETHER)
def test_files_that_belong_together_are_one_group(audited, name):
    assert sorted(map(sorted, found(audited, name))) == sorted(map(sorted, TOGETHER[name]))


def test_every_finding_is_tried_here(audited):
    assert {finding.name for finding in audited.findings} == {*SINGLE, *TOGETHER}
    assert [finding.name for finding in audited.findings if finding.serious] == ["unreadable", "across_splits"]
    assert audited.serious


def test_classes_are_counted_in_each_split(audited):
    assert audited.classes()["test"] == {"heron": 3, "owl": 3}
    assert audited.classes()["train"] == {"heron": 8, "owl": 17}
    assert audited.ignored == 2
    assert set(audited.ignored_examples) == {".DS_Store", "notes.txt"}


def test_the_result_is_the_same_for_any_number_of_workers(messy, audited):
    assert audit(messy, workers=3) == audited


def test_mean_and_deviation_are_exact_over_the_pixels_of_the_training_split(messy, audited):
    images = []
    for file in audited.files:
        if file.path.startswith("train/") and file.error is None:
            images.append(np.asarray(open_image(messy / file.path), dtype=np.float64).reshape(-1, 3))
    pixels = np.concatenate(images) / 255
    assert audited.statistics.split == "train"
    np.testing.assert_allclose(audited.statistics.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(audited.statistics.deviation, pixels.std(axis=0), rtol=1e-10)
    mean = ", ".join(f"{value:.4f}" for value in pixels.mean(axis=0))
    assert audited.statistics.normalize_line().startswith(f"normalize = {{ mean = [{mean}], std = [")


def test_a_flat_folder_has_neither_splits_nor_classes(tmp_path, photo):
    for number in range(3):
        write(tmp_path / f"{number}.png", photo(number))
    result = audit(tmp_path, workers=1)
    assert result.classes() == {}
    assert result.statistics.split == ""
    assert not any(finding.groups for finding in result.findings)
    assert not result.serious


def test_copies_in_one_split_are_no_leak(tmp_path, photo):
    for path in ("Train/a/1.png", "Train/b/1.png", "other/1.png"):
        write(tmp_path / path, photo(1))
    result = audit(tmp_path, workers=1)
    assert found(result, "duplicate") == [{"Train/a/1.png", "Train/b/1.png", "other/1.png"}]
    assert found(result, "across_splits") == []
    assert result.statistics.split == "Train"


def test_all_copies_of_a_near_duplicate_are_in_its_group(tmp_path, photo):
    write(tmp_path / "a.png", photo(1))
    for name in ("b.png", "c.png"):
        write(tmp_path / name, photo(1).resize((120, 90)))
    result = audit(tmp_path, workers=1)
    assert found(result, "near_duplicate") == [{"a.png", "b.png", "c.png"}]
    assert found(result, "duplicate") == [{"b.png", "c.png"}]


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_a_link_from_the_test_split_into_the_training_split_is_a_leak(tmp_path, photo):
    write(tmp_path / "train/a/1.png", photo(1))
    (tmp_path / "test/a").mkdir(parents=True)
    (tmp_path / "test/a/2.png").symlink_to(tmp_path / "train/a/1.png")
    (tmp_path / "train/a/3.png").symlink_to(tmp_path / "train/a/1.png")  # adds nothing
    result = audit(tmp_path, workers=1)
    assert found(result, "across_splits") == [{"train/a/1.png", "test/a/2.png"}]


def test_a_folder_of_broken_files_alone_is_audited(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    result = audit(tmp_path, workers=1)
    assert [file.error for file in result.files][1] == "No such file or directory"
    assert result.files[0].size == 0
    assert result.statistics is None
    assert result.serious


def test_a_folder_without_images_is_a_mistake(tmp_path):
    with pytest.raises(DataError, match="no image files"):
        audit(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        audit(tmp_path / "none")


def test_blank_images_are_no_near_duplicates_of_each_other(tmp_path):
    for number in range(4):
        write(tmp_path / f"{number}.png", Image.new("RGB", (50, 40), (60 * number, 0, 0)))
    result = audit(tmp_path, workers=1)
    assert len(found(result, "blank")) == 4
    assert found(result, "near_duplicate") == []


DEADLY = """
import os, signal
class Thumbnail:
    def __init__(self, image):
        if image.size == (13, 7):
            os.kill(os.getpid(), signal.SIGSEGV)
        self.thumbnail = image
    def to_bytes(self):
        raise ValueError("no thumbnail today")
class Metadata:
    def __init__(self, image): pass
    def to_dict(self): return {"std": [0.1, 0.2, 0.3], "snr": 1.0}
"""


def test_a_file_that_kills_the_process_reading_it_is_one_broken_file(tmp_path, site, photo):
    # The library that the workers import is exchanged, as a faulty decoder could be any image's end.
    (site / "lightly_utils").mkdir()
    (site / "lightly_utils/__init__.py").touch()
    (site / "lightly_utils/image_processing.py").write_text(DEADLY)
    folder = tmp_path / "images"
    for number in range(9):
        write(folder / f"{number}.png", photo(number, (13, 7) if number == 4 else (30, 20)))
    result = audit(folder, workers=2)
    assert found(result, "unreadable") == [{"4.png"}]
    assert result.files[4].error == "the process that read it died (SIGSEGV)"
    assert [file.path[0] for file in result.files if file.pixels] == list("01235678")


def test_progress_counts_every_file(messy, audited):
    calls = []
    audit(messy, workers=2, progress=lambda done, total: calls.append((done, total)))
    total = len(audited.files)
    assert calls == [(done, total) for done in range(1, total + 1)]
    assert dataclasses.replace(audited, files=[]) != audited
