"""What is written of an audit: lines for programs, a page for people."""

import base64
import html
import io
import json
import os
import re

import pytest
from PIL import Image

from sslkit.audit.audit import audit
from sslkit.audit.report import html as audit_page
from sslkit.audit.report import json_lines, overview


@pytest.fixture(scope="module")
def shown(audited):
    return audit_page(audited, workers=1)


def section(shown, name):
    return shown.partition(f'<h2 id="{name}"')[2].partition("<h2")[0]


def text_of(part):
    return html.unescape(re.sub("<wbr>", "", part))


def test_every_file_is_one_line_with_the_same_keys(audited, rows):
    assert list(rows) == [file.path for file in audited.files]
    keys = list(next(iter(rows.values())))
    assert all(list(row) == keys for row in rows.values())
    broken, good = rows["train/owl/cut.jpg"], rows["train/owl/turned.jpg"]
    assert "truncated" in broken["error"]
    assert broken["findings"] == {"unreadable": 0}
    assert (broken["width"], broken["mean"], len(broken["sha256"])) == (None, None, 64)
    assert (good["error"], good["findings"]) == (None, {"rotated": 0})
    assert (good["split"], good["class"], good["mode"], good["orientation"]) == ("train", "owl", "RGB", 6)
    assert (good["width"], good["height"]) == (240, 180)
    assert all(0 < value < 1 for value in [*good["mean"], *good["deviation"]])


def test_members_of_a_group_have_its_number(rows):
    groups = {path: row["findings"].get("across_splits") for path, row in rows.items()}
    assert groups["test/owl/leak.jpg"] == groups["train/owl/1.jpg"]
    assert groups["train/heron/half.jpg"] == groups["test/heron/brighter.jpg"] != groups["train/owl/1.jpg"]
    assert groups["train/owl/2.jpg"] is None


def test_the_page_shows_each_file_under_its_finding(audited, shown):
    for finding in audited.findings:
        part = section(shown, finding.name)
        for group in finding.groups:
            for position in group:
                assert audited.files[position].path in text_of(part)
        if finding.name != "unreadable":
            assert part.count("<img") == finding.num_files
        assert f'href="#{finding.name}"' in shown
    assert audited.statistics.normalize_line() in html.unescape(shown)


def test_the_thumbnail_is_of_the_file_that_it_names(messy, shown):
    (data,) = re.findall(r'src="data:image/webp;base64,([^"]+)"', section(shown, "rotated"))
    thumbnail = Image.open(io.BytesIO(base64.b64decode(data)))
    upright = Image.open(messy / "train/owl/turned.jpg").rotate(-90, expand=True)
    assert thumbnail.size == (128, 96)
    for place in ((20, 20), (100, 20), (64, 80)):
        expected = upright.resize((128, 96)).getpixel(place)
        assert max(abs(a - b) for a, b in zip(thumbnail.convert("RGB").getpixel(place), expected, strict=True)) < 60


def test_the_page_needs_nothing_else(shown):
    assert "<script" not in shown
    assert not re.search(r'(?:src|href)="(?!data:|#)', shown)


def test_the_overview_is_of_the_files(audited):
    rows = dict(overview(audited))
    assert rows["files"].startswith("31, ")
    assert rows["formats"] == "JPEG 27, PNG 2"
    assert rows["modes"] == "RGB 28, CMYK 1"
    assert rows["width"] == "40 to 400, median 240"
    assert rows["splits"] == "train 25, test 6"
    assert rows["classes in train"] == "2, of 8 (heron) to 17 (owl) images"
    assert rows["ignored"].startswith("2, such as ")


def test_a_class_that_a_split_has_not_is_named(tmp_path, photo):
    for path in ("train/a/1.png", "train/b/2.png", "test/b/3.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        photo(len(path) + int(path[-5])).save(tmp_path / path)
    rows = dict(overview(audit(tmp_path, workers=1)))
    assert rows["classes in test"] == "1, of 1 image each; 1 of other splits absent, such as a"


def test_many_files_of_one_finding_are_cut_and_counted(tmp_path, photo):
    data = io.BytesIO()
    photo(1).save(data, format="PNG")
    for number in range(40):
        (tmp_path / f"same{number:02}.png").write_bytes(data.getvalue())
        (tmp_path / f"blank{number:02}.png").write_bytes(b"")
        Image.new("RGB", (9, 9 + number), "red").save(tmp_path / f"red{number:02}.png")
    shown = audit_page(audit(tmp_path, workers=1), workers=1)
    assert section(shown, "duplicate").count("<img") == 6
    assert "and 34 more" in section(shown, "duplicate")
    assert section(shown, "blank").count("<img") == 24
    assert "40 files; 24 shown" in section(shown, "blank")


@pytest.mark.skipif(os.name != "posix", reason="such names are POSIX only")
def test_hostile_names_stay_names(tmp_path, photo):
    names = ["<script>alert(1)<", "a\"b'onerror=x", "\x1b[31mred", "\u202egpj.exe", os.fsdecode(b"\xff\xfe")]
    for number, name in enumerate(names):
        folder = tmp_path / name
        folder.mkdir()
        photo(1).save(folder / "1.png")
        (folder / "broken.png").write_bytes(str(number).encode())
    result = audit(tmp_path, workers=1)
    shown = audit_page(result, workers=1)
    shown.encode("utf-8")
    assert "<script" not in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert not re.search(r"<[^>]*\sonerror", shown.replace("&quot;", ""))
    assert "<script>alert(1)</1.png" in text_of(section(shown, "duplicate"))
    lines = [json.loads(line) for line in json_lines(result).splitlines()]
    assert {line["class"] for line in lines} == set(names)


def test_a_file_that_vanished_since_leaves_a_gap(tmp_path, photo):
    for number in range(2):
        photo(1).save(tmp_path / f"{number}.png")
    result = audit(tmp_path, workers=1)
    (tmp_path / "0.png").unlink()
    part = section(audit_page(result, workers=1), "duplicate")
    assert part.count("<img") == 1
    assert "0.png" in part
