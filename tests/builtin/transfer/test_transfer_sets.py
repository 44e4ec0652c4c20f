import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit import AbsentError, DataError, TorchvisionSets, TransferSets
from sslkit.builtin.data.transfer.class_names import FLOWERS, VOC
from sslkit.builtin.data.transfer_sets import _OFFICIAL

# Of each miniature: classes, images of train, validation and test, metric.
SIZES = {
    "food101": (3, 27, 3, 12, "top1"),
    "cifar10": (10, 90, 10, 20, "top1"),
    "cifar100": (100, 18, 2, 20, "top1"),
    "birdsnap": (2, 16, 2, 6, "top1"),
    "sun397": (3, 12, 3, 15, "top1"),
    "cars": (3, 8, 2, 7, "top1"),
    "aircraft": (3, 5, 5, 5, "mean_per_class"),
    "voc2007": (20, 4, 4, 4, "voc_map"),
    "dtd": (2, 4, 4, 4, "top1"),
    "pets": (3, 12, 3, 9, "mean_per_class"),
    "caltech101": (3, 75, 15, 10, "mean_per_class"),
    "flowers102": (102, 3, 2, 5, "mean_per_class"),
}


def content(dataset):
    """Return the images with their labels, in a form that can be compared and sorted."""
    pairs = (dataset[index] for index in range(len(dataset)))
    return [(np.asarray(image).tobytes(), np.asarray(label).tolist()) for image, label in pairs]


@pytest.mark.parametrize("dataset", SIZES)
def test_every_layout_is_read(miniature, dataset):
    data = TransferSets(miniature(dataset), dataset=dataset)
    splits = {name: content(data.split(name)) for name in ("train", "validation", "test")}
    assert (data.num_classes, *map(len, splits.values()), data.metric) == SIZES[dataset]
    assert len(data.class_names) == data.num_classes
    assert content(data.split("pretrain")) == splits["train"]
    images = [image for split in splits.values() for image, _ in split]
    assert len(set(images)) == len(images)  # no image twice, in no two splits
    assert data.split("test").fingerprint() != data.split("train").fingerprint()


@pytest.mark.parametrize("dataset", SIZES)
def test_the_set_s_own_folder_may_be_named_too(miniature, dataset):
    root = miniature(dataset)
    [inner] = [place for place in root.iterdir() if place.name != "Partitions"]
    ours, above = TransferSets(inner, dataset=dataset), TransferSets(root, dataset=dataset)
    assert content(ours.split("train")) == content(above.split("train"))


@pytest.mark.parametrize(
    ("dataset", "theirs", "options"),
    [
        ("food101", "Food101", [{"split": "train"}, {"split": "test"}]),
        ("cars", "StanfordCars", [{"split": "train"}, {"split": "test"}]),
        ("pets", "OxfordIIITPet", [{"split": "trainval"}, {"split": "test"}]),
        ("aircraft", "FGVCAircraft", [{"split": "train"}, {"split": "val"}, {"split": "test"}]),
        ("dtd", "DTD", [{"split": "train"}, {"split": "val"}, {"split": "test"}]),
        ("flowers102", "Flowers102", [{"split": "train"}, {"split": "val"}, {"split": "test"}]),
    ],
)
def test_the_same_images_and_labels_as_torchvision_has(miniature, monkeypatch, dataset, theirs, options):
    sets = pytest.importorskip("torchvision.datasets")
    if dataset in ("cars", "flowers102"):
        pytest.importorskip("scipy")
    root = miniature(dataset)
    data = TransferSets(root, dataset=dataset)
    monkeypatch.setattr("torchvision.datasets.flowers102.check_integrity", lambda *args: True)
    if dataset == "dtd":  # torchvision unpacks it one folder deeper
        shutil.copytree(root / "dtd", root / "deeper" / "dtd" / "dtd")
        root /= "deeper"
    official = [getattr(sets, theirs)(root, **option) for option in options]
    if len(options) == 3:
        for name, their in zip(("train", "validation", "test"), official, strict=True):
            assert content(data.split(name)) == content(their)
    else:
        assert sorted(content(data.split("train")) + content(data.split("validation"))) == sorted(content(official[0]))
        assert content(data.split("test")) == content(official[1])
    names = [name.replace("_", " ").title() for name in data.class_names] if dataset == "pets" else data.class_names
    assert list(names) == list(official[0].classes)


def test_caltech_and_sun_have_torchvision_s_labels(miniature):
    sets = pytest.importorskip("torchvision.datasets")
    root = miniature("caltech101")
    data = TransferSets(root, dataset="caltech101")
    theirs = sets.Caltech101(root)
    everything = [pair for name in ("train", "validation", "test") for pair in content(data.split(name))]
    assert data.class_names == ("BACKGROUND_Google", *theirs.categories)  # no class to torchvision
    assert sorted((image, label - 1) for image, label in everything if label) == sorted(content(theirs))

    root = miniature("sun397")
    data = TransferSets(root, dataset="sun397")
    theirs = sets.SUN397(root)
    assert list(data.class_names) == theirs.classes
    labels = dict(content(theirs))
    for name in ("train", "validation", "test"):
        assert all(labels[image] == label for image, label in content(data.split(name)))


def test_voc_labels_agree_with_the_annotated_objects(miniature):
    sets = pytest.importorskip("torchvision.datasets")
    root = miniature("voc2007")
    data = TransferSets(root, dataset="voc2007")
    assert data.class_names == VOC
    for name, image_set in (("train", "train"), ("validation", "val"), ("test", "test")):
        ours, theirs = data.split(name), sets.VOCDetection(root, year="2007", image_set=image_set)
        assert ours.labels.dtype == np.int8
        assert ours.labels.shape == (4, 20)
        for index, (image, annotation) in enumerate(theirs):
            expected = np.zeros(20, dtype=np.int8)
            for found in annotation["annotation"]["object"]:
                if found["difficult"] == "0":
                    expected[VOC.index(found["name"])] = 1
                elif expected[VOC.index(found["name"])] == 0:
                    expected[VOC.index(found["name"])] = -1
            our_image, label = ours[index]
            np.testing.assert_array_equal(label, expected)
            assert set(expected) == {-1, 0, 1}
            np.testing.assert_array_equal(np.asarray(our_image), np.asarray(image))


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_cifar_keeps_its_images_and_labels_whatever_the_layout(miniature, tmp_path, dataset):
    root = miniature(dataset)
    data, whole = TransferSets(root, dataset=dataset), TorchvisionSets(root, dataset=dataset)
    assert sorted(content(data.split("train")) + content(data.split("validation"))) == sorted(
        content(whole.split("train"))
    )
    assert content(data.split("test")) == content(whole.split("test"))
    assert data.table("validation").shape == (len(data.split("validation")), 3, 32, 32)
    folders = tmp_path / "as folders"
    for name in ("train", "test"):
        for index in range(len(whole.split(name))):
            image, label = whole.split(name)[index]
            place = folders / name / whole.class_names[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(place / f"{index}.png")
    if len(list((folders / "train").iterdir())) == data.num_classes:
        again = TransferSets(folders, dataset=dataset)
        assert sorted(content(again.split("validation"))) == sorted(content(data.split("validation")))


def test_the_page_about_the_sets_has_the_numbers_of_the_code():
    page = Path(__file__).parents[3] / "docs" / "how_to" / "transfer_sets.md"
    cells = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in page.read_text("utf-8").splitlines()]
    rows = {
        row[0]: (*(int(cell.replace(",", "")) for cell in row[1:5]), row[-1])
        for row in cells
        if len(row) == 7 and row[0] in _OFFICIAL
    }
    assert rows == {
        name: (official.num_classes, official.train, official.validation, official.test, official.metric)
        for name, official in _OFFICIAL.items()
    }


def test_only_cifar_has_a_table(miniature):
    assert TransferSets(miniature("dtd"), dataset="dtd").table("train") is None


def test_numbers_that_differ_from_the_official_ones_are_a_line_each(miniature, caplog):
    with caplog.at_level(logging.WARNING, "sslkit"):
        TransferSets(miniature("cars"), dataset="cars").split("test")
    assert [record.getMessage() for record in caplog.records] == [
        "cars: 3 classes, officially 196",
        "cars: 7 test images, officially 8,041",
    ]


def test_flowers_of_any_number_have_their_official_name(miniature):
    data = TransferSets(miniature("flowers102"), dataset="flowers102")
    assert data.class_names == FLOWERS
    names = [data.class_names[label] for label in data.split("train").labels]
    assert names == ["pink primrose", "canterbury bells", "passion flower"]


def test_birdsnap_does_without_images_that_rotted(miniature, caplog):
    root = miniature("birdsnap")
    before = TransferSets(root, dataset="birdsnap")
    held = {before.split("validation").path(index) for index in range(2)}
    gone = [before.split("train").path(3), before.split("test").path(0), sorted(held)[0]]
    for path in gone:
        (root / "birdsnap" / "download" / path).unlink()
    after = TransferSets(root, dataset="birdsnap")
    with caplog.at_level(logging.WARNING, "sslkit"):
        paths = {
            name: [after.split(name).path(index) for index in range(len(after.split(name)))]
            for name in ("train", "validation", "test")
        }
    assert set(paths["validation"]) == held - {sorted(held)[0]}  # the others stay in their split
    assert [len(part) for part in paths.values()] == [15, 1, 5]
    assert "birdsnap: 1 of 16 train images are not there and left out, first" in caplog.text


def read_all(root, dataset):
    data = TransferSets(root, dataset=dataset)
    for name in ("train", "validation", "test"):
        data.split(name)


def refusal(root, dataset):
    with pytest.raises(DataError) as raised:
        read_all(root, dataset)
    assert "\n" not in str(raised.value)
    return str(raised.value)


NEEDED = {
    "cifar10": ["cifar-10-batches-py"],
    "cifar100": ["cifar-100-python"],
    "food101": ["food-101/meta/classes.txt", "food-101/meta/train.txt", "food-101/images/waffles/1000009.jpg"],
    "birdsnap": ["birdsnap/species.txt", "birdsnap/images.txt", "birdsnap/download"],
    "sun397": ["SUN397/ClassName.txt", "Partitions", "SUN397/a/abbey/sun_axabcdefgh.jpg", "SUN397/a"],
    "cars": [
        "stanford_cars/devkit", "stanford_cars/devkit/cars_meta.mat", "stanford_cars/devkit/cars_train_annos.mat",
        "stanford_cars/cars_train",
    ],
    "aircraft": ["fgvc-aircraft-2013b/data/variants.txt", "fgvc-aircraft-2013b/data/images_variant_val.txt"],
    "voc2007": ["VOCdevkit/VOC2007/ImageSets", "VOCdevkit/VOC2007/ImageSets/Main/sofa_train.txt"],
    "dtd": ["dtd/labels", "dtd/labels/val1.txt", "dtd/images/banded/banded_0001.jpg"],
    "pets": ["oxford-iiit-pet/annotations", "oxford-iiit-pet/annotations/trainval.txt"],
    "caltech101": ["caltech101/101_ObjectCategories"],
    "flowers102": ["flowers-102/setid.mat", "flowers-102/imagelabels.mat", "flowers-102/jpg"],
}  # fmt: skip


@pytest.mark.parametrize(("dataset", "path"), [(name, path) for name, paths in NEEDED.items() for path in paths])
def test_what_is_missing_is_named_with_what_to_type(miniature, dataset, path):
    place = miniature(dataset) / path
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    message = refusal(miniature.root, dataset)
    expected = {"Partitions": "SUN397/Training_01.txt", "birdsnap/download": "birdsnap/download/images"}
    assert str(miniature.root / expected.get(path, path)) in message or f"expected {path}/" in message
    assert f"sslkit data fetch {dataset} --data-root" in message


DAMAGE = [
    ("food101", "food-101/meta/train.txt", "cake/1000000", "train.txt: 'cake' is not a class of this set"),
    ("food101", "food-101/meta/train.txt", "", "train.txt: is empty"),
    ("food101", "food-101/meta/train.txt", "waffles/../../../secret", "lies outside"),
    ("aircraft", "fgvc-aircraft-2013b/data/images_variant_train.txt", "0000001 747", "'747' is not a class"),
    ("voc2007", "VOCdevkit/VOC2007/ImageSets/Main/sofa_train.txt", "000001  2", "expected lines such as"),
    ("voc2007", "VOCdevkit/VOC2007/ImageSets/Main/sofa_train.txt", "000009  1", "lists other images than aeroplane"),
    ("pets", "oxford-iiit-pet/annotations/trainval.txt", "Abyssinian_100", "expected lines such as"),
    ("pets", "oxford-iiit-pet/annotations/test.txt", "Abyssinian_7 9 1 1", "class number 9, but there are 3"),
    ("birdsnap", "birdsnap/images.txt", "url\tpath", "expected tab-separated columns path, species_id"),
    ("birdsnap", "birdsnap/images.txt", "path\tspecies_id\na.jpg\t7", "species '7' is not in species.txt"),
    ("caltech101", "caltech101/101_ObjectCategories/a.jpg", "", "lies in no class folder"),
    ("flowers102", "flowers-102/setid.mat", "no such thing", "not a MATLAB 5 file"),
]


@pytest.mark.parametrize(("dataset", "path", "text", "reason"), DAMAGE)
def test_damaged_lists_are_refused_in_one_line(miniature, dataset, path, text, reason):
    (miniature(dataset) / path).write_text(text)
    assert reason in refusal(miniature.root, dataset)


@pytest.mark.parametrize(
    ("name", "variables", "reason"),
    [
        ("setid.mat", {"trnid": "text"}, "no variable `trnid`"),
        ("setid.mat", {"trnid": np.array([[3, 11]], "u2")}, "image 11, but imagelabels.mat has 10"),
        ("imagelabels.mat", {"labels": np.array([[103] * 10], "u1")}, "class number 103, but there are 102"),
    ],
)
def test_wrong_numbers_in_matlab_files_are_refused(miniature, mat, name, variables, reason):
    mat.save(miniature("flowers102") / "flowers-102" / name, **variables)
    with pytest.raises(DataError, match=reason):
        TransferSets(miniature.root, dataset="flowers102").split("train")


def test_cars_without_labels_of_the_test_images_say_so(miniature, mat):
    place = miniature("cars") / "stanford_cars"
    (place / "cars_test_annos_withlabels.mat").unlink()
    mat.save(place / "devkit" / "cars_test_annos_withlabels.mat", annotations=[{"fname": "00001.jpg"}])
    with pytest.raises(DataError, match="annotations lack `fname` or `class`"):
        TransferSets(miniature.root, dataset="cars").split("test")


def test_a_mistyped_split_gets_the_nearest(miniature):
    with pytest.raises(AbsentError, match='dtd has no valid split.*did you mean "validation"'):
        TransferSets(miniature("dtd"), dataset="dtd").split("valid")


def test_cifar_is_found_where_the_recipes_that_pretrain_on_it_look(miniature, tmp_path):
    root = miniature("cifar10")
    expected = content(TransferSets(root, dataset="cifar10").split("test"))
    shutil.move(root, tmp_path / "above" / "cifar10")
    assert content(TransferSets(tmp_path / "above", dataset="cifar10").split("test")) == expected
