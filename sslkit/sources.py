"""Where public sets come from: addresses, hashes, sizes, terms, and the folder each unpacks to.

Called by `sslkit data fetch`. Only what its makers publish at a stable address is here to be fetched; of the others
the page that offers them is. Nothing is imported but the standard library.

Sources: addresses and MD5s are those in torchvision 0.29's `torchvision/datasets/`; Aircraft's MD5 is not there but in
Google DeepMind's dm_nevis (`fgvc_aircraft`). Terms are those on the sets' pages, shortened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Archive:
    """One file to download.

    Attributes:
        url: Its address.
        md5: Of the whole file, in hexadecimal.
        megabytes: About how large it is, for people; the hash decides.
        unpack_to: Folder to unpack it to, below the set's; a file that is no archive is put there.
        inner: An archive within it, to be unpacked instead.
    """

    url: str
    md5: str
    megabytes: int
    unpack_to: str = "."
    inner: str | None = None


@dataclass(frozen=True)
class Source:
    """One set.

    Attributes:
        folder: What appears below the data root.
        page: Where its makers describe it.
        terms: Licence or terms, one line.
        archives: What to download; empty where that is not possible.
        by_hand: What to do then.
    """

    folder: str
    page: str
    terms: str
    archives: tuple[Archive, ...] = ()
    by_hand: str = ""


_CIFAR: Final = "https://www.cs.toronto.edu/~kriz"
_VGG: Final = "https://www.robots.ox.ac.uk/~vgg/data"
_VOC: Final = "https://thor.robots.ox.ac.uk/pascal/VOC/voc2007"
_UNSTATED: Final = "no licence stated; the makers ask to be cited"

SOURCES: Final[dict[str, Source]] = {
    "food101": Source(
        "food-101",
        "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        "images from foodspotting.com, whose terms hold; beyond scientific fair use ask their owners",
        (Archive("http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz", "85eeb15f3717b99a5da872d97d918f87", 4_996),),
    ),
    "cifar10": Source(
        "cifar-10-batches-py",
        f"{_CIFAR}/cifar.html",
        _UNSTATED,
        (Archive(f"{_CIFAR}/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", 170),),
    ),
    "cifar100": Source(
        "cifar-100-python",
        f"{_CIFAR}/cifar.html",
        _UNSTATED,
        (Archive(f"{_CIFAR}/cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", 169),),
    ),
    "stl10": Source(
        "stl10_binary",
        "https://cs.stanford.edu/~acoates/stl10/",
        "images from ImageNet, whose terms hold: research and teaching only",
        (
            Archive(
                "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
                "91f7769df0f17e558f3565bffb0c7dfb",
                2_640,
            ),
        ),
    ),
    "imagenette": Source(
        "imagenette2-160",
        "https://github.com/fastai/imagenette",
        "lists under Apache-2.0; images from ImageNet, whose terms hold: research and teaching only",
        (
            Archive(
                "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",
                "e793b78cc4c9e9a4ccc0c1155377a412",
                99,
            ),
        ),
    ),
    "aircraft": Source(
        "fgvc-aircraft-2013b",
        f"{_VGG}/fgvc-aircraft/",
        "for non-commercial research only, by agreement with the photographers",
        (
            Archive(
                f"{_VGG}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
                "d4acdd33327262359767eeaa97a4f732",
                2_753,
            ),
        ),
    ),
    "voc2007": Source(
        "VOCdevkit/VOC2007",
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/",
        "images from Flickr, whose terms hold; otherwise " + _UNSTATED,
        (
            Archive(f"{_VOC}/VOCtrainval_06-Nov-2007.tar", "c52e279531787c972589f7e41ab4ae64", 460),
            Archive(f"{_VOC}/VOCtest_06-Nov-2007.tar", "b6e924de25625d8de591ea690078ad9f", 451),
        ),
    ),
    "dtd": Source(
        "dtd",
        f"{_VGG}/dtd/",
        "for research purposes only",
        (Archive(f"{_VGG}/dtd/download/dtd-r1.0.1.tar.gz", "fff73e5086ae6bdbea199a49dfb8a4c1", 625),),
    ),
    "pets": Source(
        "oxford-iiit-pet",
        f"{_VGG}/pets/",
        "CC BY-SA 4.0; the images' copyright stays with their owners",
        (
            Archive(f"{_VGG}/pets/data/images.tar.gz", "5c4f3ee8e5d25df40f4fd59a7f44e54c", 792, "oxford-iiit-pet"),
            Archive(f"{_VGG}/pets/data/annotations.tar.gz", "95a8c909bbe2e81eed6a22bccdf3f68f", 19, "oxford-iiit-pet"),
        ),
    ),
    "caltech101": Source(
        "caltech101",
        "https://data.caltech.edu/records/mzrjq-6wc02",
        "CC BY 4.0",
        (
            Archive(
                "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
                "3138e1922a9193bfa496528edbbc45d0",
                137,
                "caltech101",
                inner="caltech-101/101_ObjectCategories.tar.gz",
            ),
        ),
    ),
    "flowers102": Source(
        "flowers-102",
        f"{_VGG}/flowers/102/",
        _UNSTATED,
        (
            Archive(f"{_VGG}/flowers/102/102flowers.tgz", "52808999861908f626f3c1f4e79d11fa", 345, "flowers-102"),
            Archive(f"{_VGG}/flowers/102/imagelabels.mat", "e0620be6f572b9609742df49c70aed4d", 1, "flowers-102"),
            Archive(f"{_VGG}/flowers/102/setid.mat", "a5357ecc9cb78c4bef273ce3793fc85c", 1, "flowers-102"),
        ),
    ),
    "birdsnap": Source(
        "birdsnap",
        "https://thomasberg.org/",
        "the images' copyright stays with the photographers",
        by_hand="its makers offer lists and a script, get_birdsnap.py, that downloads the images from Flickr as far as "
        "they are still there; unpack birdsnap.tgz to birdsnap/ and run the script in that folder",
    ),
    "sun397": Source(
        "SUN397",
        "https://vision.princeton.edu/projects/2010/SUN/",
        "the images' copyright stays with their owners",
        by_hand="37 GB, and no hash is published for the lists of the splits; unpack SUN397.tar.gz to SUN397/ and "
        "Partitions.zip to Partitions/",
    ),
    "cars": Source(
        "stanford_cars",
        "https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        "ImageNet's terms hold: non-commercial research and teaching only",
        by_hand="its makers' site no longer offers it; a copy belongs in stanford_cars/, as cars_train/, cars_test/, "
        "devkit/ and cars_test_annos_withlabels.mat",
    ),
    "imagenet": Source(
        "imagenet",
        "https://image-net.org/download.php",
        "for non-commercial research and teaching only, by agreement with its makers",
        by_hand="it needs an account; images belong in train/<wnid>/ and val/<wnid>/",
    ),
}
