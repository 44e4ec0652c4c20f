"""Pages: complete, self-contained, and deaf to whatever a file name says."""

import base64
import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from sslkit.page import escape, figure, grid, page, picture, table

HOSTILE = "</title><script>alert(1)</script>\" onerror='x' \x1b[31m\u202egpj.\udcff&amp;"


class Elements(HTMLParser):
    """Collect what a browser would make of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], "", []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes.append(dict(attributes))
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_a_page_is_a_closed_document_of_its_own():
    text = page("A title", "<p>body</p>")
    elements = Elements(text)
    assert text.startswith("<!doctype html>")
    assert elements.open == []
    assert {"charset": "utf-8"} in elements.attributes
    assert any(found.get("name") == "viewport" for found in elements.attributes)
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"https?:|//|@import|url\(", text)
    assert "script" not in elements.tags
    assert any("default-src 'none'" in (found.get("content") or "") for found in elements.attributes)


def test_hostile_text_stays_text_everywhere():
    image = Image.new("RGB", (2, 2))
    parts = [escape(HOSTILE), table([[HOSTILE, 1]], [HOSTILE, "n"]), figure(picture(image, HOSTILE), escape(HOSTILE))]
    text = page(HOSTILE, grid(parts, width=HOSTILE))
    text.encode("utf-8")
    elements = Elements(text)
    assert elements.open == []
    assert "script" not in elements.tags
    assert not any("onerror" in found for found in elements.attributes)
    assert "\x1b" not in text
    assert "\u202e" not in text
    shown = "</title><script>alert(1)</script>\" onerror='x' \\x1b[31m\\u202egpj.\\udcff&amp;"
    assert elements.text.count(shown) == 6  # title, heading, text, two cells, caption
    assert next(found["alt"] for found in elements.attributes if "alt" in found) == shown


def test_a_picture_carries_its_pixels_without_loss():
    image = Image.effect_noise((7, 5), 90).convert("RGB")
    (attributes,) = Elements(picture(image, "noise")).attributes
    kind, _, data = attributes["src"].partition(";base64,")
    assert kind == "data:image/png"
    assert Image.open(io.BytesIO(base64.b64decode(data))).tobytes() == image.tobytes()
    assert (attributes["width"], attributes["height"], attributes["alt"]) == ("7", "5", "noise")
    (attributes,) = Elements(picture(image, "noise", enlarge=4)).attributes
    assert (attributes["width"], attributes["height"], attributes["class"]) == ("28", "20", "tiny")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_the_bytes_of_a_file_pass_as_they_are(format):
    file = io.BytesIO()
    Image.new("RGB", (3, 4), "red").save(file, format=format)
    (attributes,) = Elements(picture(file.getvalue(), "red")).attributes
    assert attributes["src"].startswith(f"data:image/{format.lower()};base64,")
    assert base64.b64decode(attributes["src"].partition(",")[2]) == file.getvalue()
    assert (attributes["width"], attributes["height"]) == ("3", "4")


def test_a_table_puts_numbers_to_the_right():
    text = table([["files", 1234567], ["deviation", 2]], ["what", "count"])
    assert "<th>what</th>" in text
    assert '<th class="number">count</th>' in text
    assert '<td class="number">1,234,567</td>' in text
    assert "<td>files</td>" in text
    assert '<td class="number">' not in table([["a", "0.5"], ["b", 1]])
    assert table([]).count("<td") == 0
