import struct
import zlib

import numpy as np
import pytest

from sslkit import DataError
from sslkit.builtin.data.transfer.matlab import load_mat


@pytest.fixture
def savemat():
    return pytest.importorskip("scipy.io").savemat


@pytest.mark.parametrize("packed", [True, False])
def test_what_scipy_writes_comes_back(tmp_path, savemat, packed):
    fields = [("bbox_x1", "O"), ("class", "O"), ("fname", "O")]
    records = np.array([(np.uint16(7), np.uint8(3), "00001.jpg"), (np.uint16(999), np.uint8(196), "00002.jpg")], fields)
    content = {
        "annotations": records.reshape(1, 2),
        "class_names": np.array(["AM General Hummer SUV 2000", "Mini Cooper Café"], dtype=object).reshape(1, 2),
        "trnid": np.arange(6765, 6771, dtype=np.uint16).reshape(1, -1),
        "rows": np.arange(6, dtype=np.float64).reshape(2, 3),
        "small": np.array([[1]], dtype=np.int64),
        "empty": np.empty((0, 0)),
        "word": "text",
    }
    savemat(tmp_path / "x.mat", content, do_compression=packed)
    read = load_mat(tmp_path / "x.mat")
    assert set(read) == set(content)
    assert [(int(row["bbox_x1"][0, 0]), int(row["class"][0, 0]), row["fname"]) for row in read["annotations"]] == [
        (7, 3, "00001.jpg"),
        (999, 196, "00002.jpg"),
    ]
    assert read["class_names"] == ["AM General Hummer SUV 2000", "Mini Cooper Café"]
    assert read["word"] == "text"
    for name in ("trnid", "rows", "small", "empty"):
        np.testing.assert_array_equal(read[name], content[name])
        assert read[name].dtype == content[name].dtype


@pytest.mark.parametrize("order", ["<", ">"])
def test_numbers_may_be_stored_in_a_smaller_type_and_either_byte_order(tmp_path, mat, order):
    # Source: the format's chapter 1: MATLAB stores whole doubles as the smallest integers that hold them.
    data = mat.element(4, struct.pack(f"{order}3H", 1, 300, 65535), order)
    path = mat.write(tmp_path / "x.mat", mat.variable(b"labels", 6, (1, 3), data, order=order), order)
    labels = load_mat(path)["labels"]
    assert labels.tolist() == [[1.0, 300.0, 65535.0]]
    assert labels.dtype == np.float64


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (lambda mat: mat.variable(b"x", 6, (1, 3), mat.element(9, b"\0" * 16)), "reshape"),
        (lambda mat: mat.variable(b"x", 6, (1, 1), mat.element(9, b"\0" * 8))[:-4], "ends too early"),
        (lambda mat: mat.variable(b"x", 6, (1, 1), mat.element(9, b"\0" * 8), flags=0x0800), "class 6"),
        (lambda mat: mat.variable(b"x", 5, (1, 1)), "class 5"),
        (lambda mat: mat.variable(b"x", 1, (1, 2**31 - 1)), "requires a buffer|unpack_from"),
        (
            lambda mat: mat.variable(
                b"x", 2, (1, 2**31 - 1), mat.element(5, struct.pack("<i", 32)), mat.element(1, b"")
            ),
            "with no fields",
        ),
        (lambda mat: mat.variable(b"x", 4, (1, 1), mat.element(16, b"\xff")), "decode"),
        (
            lambda mat: mat.element(15, zlib.compress(mat.variable(b"x", 6, (1, 1), mat.element(9, b"\0" * 8)))[:-5]),
            "incomplete",
        ),
        (lambda mat: mat.element(9, b"\0" * 8), "variable should be"),
        (lambda mat: mat.element(14, mat.element(6, b"")), "out of bounds"),
    ],
)
def test_damaged_files_and_strange_arrays_are_refused(tmp_path, mat, body, reason):
    path = mat.write(tmp_path / "x.mat", body(mat))
    with pytest.raises(DataError, match=rf"x\.mat: not read: .*({reason})"):
        load_mat(path)


def test_a_bomb_is_refused(tmp_path, mat, monkeypatch):
    monkeypatch.setattr("sslkit.builtin.data.transfer.matlab._MOST_BYTES", 2**20)
    numbers = mat.variable(b"x", 9, (2**21, 1), mat.element(2, b"\0" * 2**21))
    with pytest.raises(DataError, match="more than 1,048,576 bytes"):
        load_mat(mat.write(tmp_path / "x.mat", mat.element(15, zlib.compress(numbers))))


def test_arrays_too_deep_are_refused(tmp_path, mat):
    inner = mat.variable(b"", 6, (0, 0), mat.element(9, b""))
    for _ in range(2000):
        inner = mat.variable(b"", 1, (1, 1), inner)
    with pytest.raises(DataError, match="within each other"):
        load_mat(mat.write(tmp_path / "x.mat", inner))


def test_other_files_are_named(tmp_path, mat):
    (tmp_path / "a.mat").write_text("nothing of the kind")
    with pytest.raises(DataError, match=r"a\.mat: not read: not a MATLAB 5 file"):
        load_mat(tmp_path / "a.mat")
    with pytest.raises(DataError, match="save it with -v7"):
        load_mat(mat.write(tmp_path / "b.mat", b"", version=0x0200))
    with pytest.raises(DataError, match=r"c\.mat: no such file"):
        load_mat(tmp_path / "c.mat")
