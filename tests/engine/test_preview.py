from __future__ import annotations

import base64
import io
import re
from html import unescape
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit import PluginError, RunError, sample_keys
from sslkit.engine.batches import Batches, Source
from sslkit.engine.choices import built, open_data
from sslkit.engine.histograms import Crop, Panel
from sslkit.engine.order import Order
from sslkit.engine.prepared_views import as_uint8, complete_views
from sslkit.engine.preview import preview
from sslkit.engine.preview_page import GAP, contact_sheet, preview_page, write_preview
from sslkit.errors import DataError
from sslkit.recipe.resolve import load_viewing

SEED, COUNT, SIDE = 5, 12, 20

PLUGIN = '''
from __future__ import annotations
from typing import Annotated, Any, Literal
import numpy as np
import torch
from annotated_types import Ge
from sslkit import BadImageError, hookimpl, uniforms
SSLKIT_API = 1

@hookimpl
def sslkit_register(register):
    register.data("pictures", "pieces:Pictures", summary="photographs of a kind")
    for name in ("crops", "patches", "sizes", "glowing", "miscounted", "unlike", "fewer", "sociable"):
        register.views(name, f"pieces:{name.title()}", summary=name)

HOSTILE = "<script>alert(1)</script>\\x1b[2J"

class Pictures:
    num_classes = 2
    class_names = ["cat & dog", HOSTILE]

    def __init__(self, *, channels: int = 3, broken: int = -1, several_labels: bool = False,
                 on_bad_image: Literal["raise", "replace"] = "replace"):
        self.channels, self.broken, self.several_labels = channels, broken, several_labels
        self.on_bad_image = on_bad_image

    def split(self, name):
        return self

    def __len__(self):
        return 12

    def describe(self, index):
        return f"/photos/{HOSTILE}/{index}.jpg"

    def __getitem__(self, index):
        if index == self.broken:
            raise BadImageError(self.describe(index), "is cut short <i>here")
        noise = np.random.default_rng(index).normal(0, 12, (self.channels, 40, 48))
        colour = (50 + 29 * index + 60 * np.arange(self.channels).reshape(-1, 1, 1)) % 150 + 50
        label = np.array([1, -1], dtype=np.int8) if self.several_labels else index % 3 - 1
        return torch.from_numpy((colour + noise).clip(0, 255).astype(np.uint8)), label

class Crops:
    """Square crops at random places, brighter or darker."""
    def __init__(self, *, jitter_probability: float = 1.0, num_views: Annotated[int, Ge(1)] = 2):
        self.num_views, self.jitter_probability = num_views, jitter_probability
    def draw(self, keys):
        return uniforms(keys, self.num_views, 4)
    def prepare(self, image, draws):
        corners = [(int(x * 28), int(y * 20)) for x, y, *_ in draws]
        return (torch.stack([image[:, y : y + 20, x : x + 20] for x, y in corners]),)
    def apply(self, groups, draws):
        gain = torch.ones(draws.shape[:2])
        if self.jitter_probability:
            gain = torch.where(draws[..., 2] < self.jitter_probability, 0.2 + 1.6 * draws[..., 3], gain)
        pixels = (groups[0].float() / 255 * gain[..., None, None, None]).clamp(0, 1)
        return list(pixels.unbind(1))
    def describe(self, draws, height, width):
        return [{"crop": f"{x:.4f} of {width} by {height}", "<u>gain": f"{gain:.4f}"} for x, _, _, gain in draws]

class Patches:
    num_views = 2
    def __init__(self, *, grayscale_probability: float = 0.5):
        pass
    def prepare(self, image):
        return [image[:, left : left + 9, :9].float() / 255 for left in np.random.randint(0, 30, 2)]

class Sizes:
    num_views = 3
    def draw(self, keys):
        return uniforms(keys, 3, 1)
    def prepare(self, image, draws):
        return image[None, :, :30, :40], torch.stack([image[:, :10, :10], image[:, 10:20, 10:20]])
    def apply(self, groups, draws):
        return [group[:, view].float() / 255 for group in groups for view in range(group.shape[1])]

class Glowing(Crops):
    def apply(self, groups, draws):
        first, second = super().apply(groups, draws)
        return [first * 3, second / 0]

class Miscounted(Crops):
    def describe(self, draws, height, width):
        return [{}]

class Sociable(Crops):
    def apply(self, groups, draws):
        return super().apply(groups, draws[:1].expand_as(draws))

class Fewer(Crops):
    """Draws less where nothing is to happen."""
    def draw(self, keys):
        return uniforms(keys, self.num_views, 4 if self.jitter_probability else 2)

class Unlike(Crops):
    """Takes other crops where nothing is to happen."""
    def draw(self, keys):
        return uniforms(keys + np.uint64(self.jitter_probability > 0), self.num_views, 4)
'''


RECIPE = f"""
schema = 1
name = "toy"
seed = {SEED}
plugins = ["pieces.py"]
[pretrain]
epochs = 1
batch_size = 1
[pretrain.data]
name = "local.pictures"
DATA_OPTIONS
[pretrain.views]
name = "LOCAL_VIEWS"
VIEWS_OPTIONS
[pretrain.backbone]
name = "local.missing"
[pretrain.optimizer]
name = "local.missing"
learning_rate = 1.0
"""


@pytest.fixture
def viewing(tmp_path):
    """Return a function that reads a recipe of these data and views; nothing else in it exists."""
    (tmp_path / "pieces.py").write_text(PLUGIN)

    def read(views, data="", views_options=""):
        path = tmp_path / "toy.toml"
        text = RECIPE.replace("LOCAL_VIEWS", f"local.{views}").replace("DATA_OPTIONS", data)
        path.write_text(text.replace("VIEWS_OPTIONS", views_options))
        return load_viewing(path)

    return read


class Pictures(HTMLParser):
    """What a browser would show of a page: pictures by their alternative text, texts, tags."""

    def __init__(self, page):
        super().__init__()
        self.pictures, self.tags, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        found = dict(attributes)
        if tag == "img":
            data = base64.b64decode(found["src"].partition(",")[2])
            self.pictures.append((found["alt"], np.asarray(Image.open(io.BytesIO(data)))))

    def handle_data(self, data):
        self.text += data + "\n"


def pretrained_views(recipe, epoch):
    """Return the views of every image as a pretraining's batches hold them, by index: [V] uint8 [C, h, w]."""
    views = complete_views(built(recipe.views, recipe.seed))
    source = Source.of(open_data(recipe.data, None, recipe.seed), views)
    order = Order(recipe.seed, COUNT, COUNT)
    (batch,) = Batches(source, views, order, device=torch.device("cpu")).stream(epoch, epoch + 1)
    finished = views.apply(batch.groups, batch.draws)
    wanted = order.indices(epoch).tolist()
    return {index: [as_uint8(view[row]) for view in finished] for row, index in enumerate(wanted)}


@pytest.mark.parametrize("views", ["crops", "patches"])
def test_grid_and_page_show_the_pixels_that_pretraining_sees(viewing, views):
    recipe = viewing(views)
    shown = preview(recipe, epoch=3, indices=[7, 0, 11])
    expected = pretrained_views(recipe, 3)
    assert not torch.equal(expected[7][0], pretrained_views(recipe, 2)[7][0])
    sheet = np.asarray(contact_sheet(shown))
    pictures = dict(Pictures(preview_page(shown)).pictures)
    side = expected[0][0].shape[1]
    factor = 160 // side
    cell = side * factor + GAP
    for row, index in enumerate((7, 0, 11)):
        for column, view in enumerate(expected[index], 1):
            top, left = GAP + row * cell, GAP + 3 * 48 + GAP + (column - 1) * cell  # the original is 48 pixels wide
            enlarged = sheet[top : top + side * factor, left : left + side * factor]
            pixels = view.permute(1, 2, 0).numpy()
            assert np.array_equal(enlarged, pixels.repeat(factor, 0).repeat(factor, 1))
            assert np.array_equal(pictures[f"view {column} of image {index}"], pixels)


def test_the_page_names_every_parameter_and_where_it_comes_from(viewing):
    text = Pictures(preview_page(preview(viewing("crops"), epoch=2, indices=[4, 9]))).text
    for index in (4, 9):
        draws = built(viewing("crops").views, 0).draw(sample_keys(SEED, 2, np.array([index])))[0]
        for x, _, _, gain in draws:
            assert f"crop: {x:.4f} of 48 by 40\n<u>gain: {gain:.4f}" in text
    assert "of images 4, 9 with seed 5 in epoch 2" in text
    assert "48 × 40 pixels" in text
    assert re.search(r"jitter_probability\s+1.0", text)
    assert "does not name its parameters" not in text


def test_hostile_names_stay_text(viewing, tmp_path):
    page = preview_page(preview(viewing("crops"), indices=[2], histograms=True))
    shown = Pictures(page)
    assert "script" not in shown.tags
    assert "u" not in shown.tags
    assert shown.text.count(r"<script>alert(1)</script>\x1b[2J/2.jpg") == 3  # the image, and in two panels
    assert r"<script>alert(1)</script>\x1b[2J · /photos" in shown.text  # the class
    assert "\x1b" not in page
    assert "://" not in page


def test_labels(viewing):
    assert [image.label for image in preview(viewing("crops"), first=0, num_images=2).images] == ["", "cat & dog"]
    (image,) = preview(viewing("crops", "several_labels = true"), num_images=1).images
    assert image.label == "cat & dog"


def test_a_generator_with_prepare_only_is_said_to_name_nothing(viewing):
    page = Pictures(preview_page(preview(viewing("patches"), num_images=3)))
    assert "local.patches does not name its parameters" in page.text
    assert len(page.pictures) == 3 * (1 + 2)


def test_views_of_different_sizes_keep_their_proportions(viewing, tmp_path):
    shown = preview(viewing("sizes"), indices=[1, 2])
    assert [view.size for view in shown.images[0].views] == [(40, 30), (10, 10), (10, 10)]
    sheet = contact_sheet(shown)
    assert sheet.size == (144 + 160 + 40 + 40 + 5 * GAP, 2 * 120 + 3 * GAP)
    page = preview_page(shown)
    assert re.search(r'width="160" height="120" alt="view 1 of image 2"', page)
    assert re.search(r'width="40" height="40" alt="view 3 of image 2"', page)


@pytest.mark.parametrize(
    ("channels", "mode", "note"),
    [
        (1, "L", None),
        (2, "L", "Images have 2 channels; the first is shown."),
        (3, "RGB", None),
        (4, "RGB", "Images have 4 channels; the first three are shown."),
    ],
)
def test_any_number_of_channels_and_a_single_view(viewing, channels, mode, note):
    recipe = viewing("crops", f"channels = {channels}", "num_views = 1")
    shown = preview(recipe, indices=[6])
    (image,) = shown.images
    assert [(picture.mode, picture.size) for picture in (image.original, *image.views)] == [
        (mode, (48, 40)),
        (mode, (SIDE, SIDE)),
    ]
    (view,) = pretrained_views(recipe, 0)[6]
    expected = view[:3] if channels > 2 else view[:1]
    assert np.array_equal(np.atleast_3d(np.asarray(image.views[0])), expected.permute(1, 2, 0))
    text = Pictures(preview_page(shown)).text
    assert [line for line in text.splitlines() if "channels" in line] == ([note] if note else [])
    assert contact_sheet(shown).mode == "RGB"


def test_a_replaced_image_is_told(viewing):
    recipe = viewing("crops", "broken = 3")
    good, bad = preview(recipe, indices=[2, 3]).images
    assert good.bad == ""
    assert "3.jpg: is cut short" in bad.bad
    assert "/3.jpg" not in bad.name
    assert np.array_equal(np.asarray(bad.views[1]), pretrained_views(recipe, 0)[3][1].permute(1, 2, 0))
    text = Pictures(preview_page(preview(recipe, indices=[3], histograms=True))).text
    assert re.search(
        r"Image 3 cannot be read \(.*3\.jpg: is cut short <i>here\); pretraining sees .*\.jpg instead", text
    )
    assert "None of these images can be read." in text


def test_a_bad_image_stops_where_pretraining_would(viewing):
    with pytest.raises(DataError, match=r"3\.jpg: is cut short .*on_bad_image"):
        preview(viewing("crops", 'broken = 3\non_bad_image = "raise"'), indices=[3])


def test_histograms_tell_images_apart_until_colours_change(viewing):
    shown = preview(viewing("crops"), num_images=3, histograms=True)
    plain, coloured = shown.panels
    assert [len(row) for row in plain.rows] == [6, 6]
    assert plain.overlap_within > 0.85
    assert plain.overlap_between < plain.overlap_within - 0.2
    assert coloured.overlap_within < plain.overlap_within - 0.3
    crops = [crop for panel in shown.panels for row in panel.rows for crop in row]
    assert all(crop.shares.sum() == pytest.approx(1) for crop in crops)
    first = plain.rows[0][0]
    pixels = np.asarray(first.picture)
    assert np.allclose(first.shares, np.histogram(pixels, bins=64, range=(0, 256))[0] / pixels.size)
    assert (first.mean, first.deviation) == pytest.approx((pixels.mean() / 255, pixels.std() / 255))
    page = preview_page(shown)
    assert page.count("<svg") == len(crops)
    text = Pictures(page).text
    assert re.search(
        rf"\(a\) Without colour operations\s+{plain.overlap_within:.2f}\s+{plain.overlap_between:.2f}", text
    )
    assert f"{first.mean:.2f} ± {first.deviation:.2f}" in text


def test_the_figure_has_both_panels_with_all_axes_alike(viewing, tmp_path):
    shown = preview(viewing("crops"), num_images=3, histograms=True)
    paths = write_preview(shown, tmp_path / "f")
    assert [path.name for path in paths] == ["f.png", "f.html", "f.svg"]
    figure = ElementTree.parse(paths[2]).getroot()
    space = "{http://www.w3.org/2000/svg}"
    words = [text.text for text in figure.iter(f"{space}text")]
    assert words[0] == "(a) Without colour operations"
    assert "(b) With colour operations" in words
    assert len(list(figure.iter(f"{space}image"))) == 24  # two panels of two images with six crops each
    top = np.percentile([c.shares for panel in shown.panels for row in panel.rows for c in row], 98)
    assert words.count(f"{top:.1%}") == 4
    outlines = [path.get("d") for group in figure.iter(f"{space}g") for path in group]
    crops = [crop for panel in shown.panels for row in panel.rows for crop in row]
    assert len(outlines) == len(crops)
    for outline, crop in zip(outlines, crops, strict=True):
        levels = np.array([float(level) for level in re.findall(r"V([\d.]+)h1", outline)])
        np.testing.assert_allclose(1 - levels / 52, np.minimum(crop.shares / top, 1), atol=0.002)
    picture = next(figure.iter(f"{space}image")).get("href").partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(picture))).tobytes() == crops[0].picture.tobytes()


def test_without_histograms_there_is_no_figure(viewing, tmp_path):
    for name, options in (("none", {}), ("unreadable", {"histograms": True, "indices": [3]})):
        write_preview(preview(viewing("crops", "broken = 3"), **options), tmp_path / name)
        assert not (tmp_path / f"{name}.svg").exists()


def test_overlap_is_the_common_area_of_two_histograms():
    def crop(*shares):
        return Crop(Image.new("L", (1, 1)), np.array(shares), 0.0, 0.0)

    same, half, other = crop(1.0, 0.0, 0.0), crop(0.5, 0.5, 0.0), crop(0.0, 0.0, 1.0)
    assert Panel("", [[same, half, other]]).overlap_within == pytest.approx((0.5 + 0 + 0) / 3)
    panel = Panel("", [[same, half], [other, half]])
    assert panel.overlap_within == pytest.approx((0.5 + 0) / 2)
    assert panel.overlap_between == pytest.approx((0 + 0.5 + 0 + 1) / 4)


@pytest.mark.parametrize("views", ["crops", "fewer"])
def test_both_panels_show_the_same_crops_of_successive_epochs(viewing, views):
    recipe = viewing(views)
    shown = preview(recipe, epoch=1, indices=[8], histograms=True)
    plain, coloured = shown.panels
    image = open_data(recipe.data, None, 0)[8][0]
    generator = built(recipe.views, 0)
    for number, (without, with_colour) in enumerate(zip(plain.rows[0], coloured.rows[0], strict=True)):
        epoch, view = 1 + number // 2, number % 2
        x, y, *_ = generator.draw(sample_keys(SEED, epoch, np.array([8])))[0, view]
        left, top = int(x * 28), int(y * 20)
        crop = image[:, top : top + SIDE, left : left + SIDE]
        assert np.array_equal(np.asarray(without.picture), crop.permute(1, 2, 0))
        expected = pretrained_views(recipe, epoch)[8][view]
        assert np.array_equal(np.asarray(with_colour.picture), expected.permute(1, 2, 0))
    assert plain.overlap_between is None
    assert "turned off in (a): jitter_probability." in shown.about_colour


@pytest.mark.parametrize(
    ("views", "options", "why"),
    [
        ("sizes", "", "local.sizes has no colour operations that an option could turn off (jitter_probability, "),
        ("crops", "jitter_probability = 0.0", "local.crops has no colour operations"),
        ("patches", "", "would take other crops"),
        ("unlike", "", "would take other crops"),
    ],
)
def test_one_panel_with_its_reason_where_colour_cannot_be_taken_away(viewing, views, options, why):
    shown = preview(viewing(views, views_options=options), histograms=True)
    assert [panel.title for panel in shown.panels] == ["Views as they are"]
    assert why in shown.about_colour
    assert why in Pictures(preview_page(shown)).text


def test_which_images(viewing):
    recipe = viewing("crops")

    def indices(**which):
        return [image.index for image in preview(recipe, **which).images]

    assert indices(num_images=4) == [0, 3, 6, 9]
    assert indices(num_images=100) == list(range(COUNT))
    assert indices(first=10) == [10, 11]
    assert indices(first=2, num_images=3) == [2, 3, 4]
    assert indices(indices=[5, 5]) == [5, 5]
    for which in ({"first": 12}, {"indices": [0, 12]}):
        with pytest.raises(RunError, match="there is no image 12: the pretrain split has those from 0 to 11"):
            preview(recipe, **which)


def test_values_that_no_view_should_have_are_noted(viewing):
    notes = preview(viewing("glowing")).notes
    assert re.fullmatch(r"View 1 has values from 0\.\d+ to 3; views should lie in \[0, 1\]\.", notes[0])
    assert notes[1].startswith("View 2 has values from inf to inf")


def test_views_that_depend_on_their_batch_are_noted(viewing):
    (note,) = preview(viewing("sociable"), num_images=1).notes
    assert note.startswith("These views depend on the rest of their batch")
    assert preview(viewing("crops")).notes == []
    assert preview(viewing("patches")).notes == []


def test_a_generator_that_miscounts_its_parameters_is_named(viewing):
    with pytest.raises(PluginError, match=r"local\.miscounted: describe\(\) names 1 views, there are 2"):
        preview(viewing("miscounted"))


def test_the_same_preview_is_the_same_files(viewing, tmp_path):
    paths = [write_preview(preview(viewing("crops"), histograms=True), tmp_path / name / "p.q") for name in "ab"]
    assert [path.name for path in paths[0]] == ["p.q.png", "p.q.html", "p.q.svg"]
    assert [path.read_bytes() for path in paths[0]] == [path.read_bytes() for path in paths[1]]
    assert unescape(paths[0][1].read_text()).startswith("<!doctype html>")


def test_a_file_that_cannot_be_written_is_one_line(viewing, tmp_path):
    (tmp_path / "p.png").mkdir()
    with pytest.raises(RunError, match=r"p: cannot be written \(Is a directory\); say -o PREFIX"):
        write_preview(preview(viewing("crops")), tmp_path / "p")
