"""The report of a study: whole, offline, deaf to what labels say, and there for every study."""

import csv
import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from sslkit import RunError
from sslkit.__main__ import main
from sslkit.studies.records import add_record
from sslkit.studies.study_report.facts import runs_of
from sslkit.studies.study_report.page import study_page
from sslkit.studies.study_report.text import study_csv, study_json, study_markdown
from sslkit.studies.study_report.write import write_study_report

HOSTILE = "</title><script>alert(1)</script>\" onerror='x' \x1b[31m\u202egpj | `=1+1` [a](b)"
VOID = {"meta", "img", "br", "link", "rect", "path"}


class Elements(HTMLParser):
    """Collect what a browser would make of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], "", []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def pairs(make_study):
    """Return a study of pairs of transformations with a reference, one run failed and one not run."""
    values = {"crop": 0.3, "blur": 0.1}
    given = [
        ({"first": a, "second": b}, 10.0 + number) for number, (a, b) in enumerate([("crop", "crop"), ("blur", "blur")])
    ]
    paper = {
        "title": "Paper, figure 5", "source": "page 1", "setting": "ImageNet", "unit": "percent", "recalled": True,
        "values": [{"at": at, "value": value} for at, value in given],
    }  # fmt: skip

    def found(labels, seed):
        if labels == {"first": "blur", "second": "blur"}:
            return "loss is nan" if seed else None
        return sum(values[label] for label in labels.values()) + 0.02 * seed

    chart = {"title": "Figure 5", "chart": "heat_map", "means": "rows", "reference": "paper", "notes": "A note."}
    axes = {"first": ["crop", "blur"], "second": ["crop", "blur"]}
    return make_study(axes, found, chart, references={"paper": paper}, seeds=(0, 1), description="Which pair?")


@pytest.fixture
def folder(pairs):
    """Return a folder with that study."""
    plan = {key: value for key, value in asdict(pairs).items() if key not in ("folder", "records")}
    (pairs.folder / "study.json").write_text(json.dumps({"schema": 1, **plan}))
    for record in pairs.records:
        add_record(pairs.folder, record)
    return pairs.folder


def said(capsys, *arguments, code=0):
    assert main([*map(str, arguments)]) == code
    return capsys.readouterr()


def test_a_study_is_reported_in_files_that_need_nothing_else(pairs):
    paths = write_study_report(pairs)
    assert [path.name for path in paths] == ["report.html", "report.md", "report.csv", "figure_5.svg"]
    page = Elements(paths[0].read_text())
    assert not page.open
    assert not {"script", "link", "iframe", "object", "use"} & set(page.tags)
    assert not [value for name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert ElementTree.fromstring(paths[3].read_text()).tag == "{http://www.w3.org/2000/svg}svg"
    assert "![" in paths[1].read_text()
    assert "(figure_5.svg)" in paths[1].read_text()


def test_the_page_says_what_is_in_and_what_is_missing(pairs):
    text = " ".join(Elements(study_page(pairs)).text.split())
    assert "Which pair? 6 of 8 runs are in, 1 failed, 1 not run yet" in text
    assert "first blur, second blur, seed 1loss is nan" in text
    assert "2026-11-26 06:00" in text
    assert "3 min 30 s in all" in text
    assert "torch 2.11.0" in text
    assert "A note." in text
    assert "Paper, figure 5: ImageNet. Source: page 1." in text
    assert "were recalled" in text
    assert text.count("finished") == 6
    assert "not run" in text


def test_every_drawing_says_what_it_shows_and_has_its_numbers_below(pairs):
    page = study_page(pairs)
    drawings = re.findall(
        r'<svg viewBox="[^"]*" style="[^"]*" role="img" aria-label="([^"]*)"><title>([^<]*)</title>', page
    )
    assert len(drawings) == 2
    assert all(label == title and "heat map of" in title for label, title in drawings)
    (numbers,) = re.findall(r"<summary>The numbers</summary>(.*?)</details>", page, re.S)
    assert "61.00 ± 1.41" in numbers
    assert "2 seeds, 95 %: 48.29 to 73.71" in numbers
    assert "failed: loss is nan; 1 not run yet" in numbers


def test_recalled_numbers_are_in_italics_everywhere(pairs):
    assert study_page(pairs).count('recalled"') == 2  # two cells; without all cells of a row there is no mean
    assert "_10.0_" in study_markdown(pairs)
    theirs = [row for row in csv.DictReader(study_csv(pairs).splitlines()) if row["of"] == "Paper, figure 5"]
    assert [row["recalled"] for row in theirs if row["value"]] == ["True", "True"]


def test_labels_drive_no_browser_and_no_spreadsheet(make_study):
    study = make_study(
        {HOSTILE: [HOSTILE, "=cmd", "b" * 500], "</svg>": ["<b>", "&amp;"]},
        lambda labels, seed: HOSTILE if labels["</svg>"] == "<b>" else 0.5,
        *({"title": HOSTILE, "chart": kind, "notes": HOSTILE} for kind in ("heat_map", "bars", "lines", "table")),
        name=HOSTILE, description=HOSTILE,
    )  # fmt: skip
    paths = write_study_report(study)
    page = Elements(paths[0].read_text())
    assert not page.open
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    for path in paths:
        assert "\x1b" not in path.read_text()
        assert "\u202e" not in path.read_text()
    for path in paths[3:]:
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(path.read_text()).iter()}
        assert tags <= {"svg", "title", "style", "rect", "g", "text", "path"}
    cells = [cell for row in csv.reader(paths[2].read_text().splitlines()) for cell in row]
    assert "'=cmd" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "@"))]
    rows = [line for line in paths[1].read_text().splitlines() if line.startswith("| =cmd")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {4, 8}  # two charts, and the table of runs


def test_a_study_of_which_nothing_is_in_has_a_report(make_study):
    study = make_study({"first": ["a", "b"], "second": ["c", "d"]}, lambda labels, seed: None)
    text = Elements(write_study_report(study)[0].read_text()).text
    assert "0 of 4 runs are in, 4 not run yet" in text
    assert "–: not run yet." in text


def test_a_table_prints_the_best_bold_only_where_it_is_significantly_best(make_study):
    def table(spread):
        study = make_study(
            {"loss": ["a", "b"]},
            lambda labels, seed: (0.5 if labels["loss"] == "a" else 0.6) + spread * seed,
            {"chart": "table"},
            seeds=(0, 1, 2),
        )
        return study_page(study), study_markdown(study)

    page, text = table(0.01)
    assert re.findall(r"<td[^>]*><b>([^<]*)</b>|<b>([^<]*)</b>", page)
    assert "**61.00 ± 1.00**" in text
    assert "Bold: better than every other" in text
    page, text = table(0.1)
    assert "<b>" not in page
    assert "**" not in text
    assert "Bold" not in text


def test_a_reference_stands_in_a_column_of_its_own_or_below_many_columns(make_study, result):
    def found(labels, seed):
        return [result(0.5, index=index) for index in range(6)]

    values = [{"at": {"loss": "a"}, "measure": f"set {index}", "value": 40 + index} for index in range(6)]
    paper = {"title": "Paper", "unit": "percent", "values": values}
    few, many = ([{"label": f"set {index}", "index": index} for index in range(amount)] for amount in (2, 6))
    charts = [{"chart": "table", "reference": "paper", "measures": measures} for measures in (few, many)]
    text = study_markdown(make_study({"loss": ["a", "b"]}, found, *charts, references={"paper": paper}))
    assert "| loss | set 0 (%) | reference | set 1 (%) | reference |" in text
    assert "| a | 50.00 | 40.0 | 50.00 | 41.0 |" in text
    assert "| reference | 40.0 | 41.0 | 42.0 | 43.0 | 44.0 | 45.0 |" in text


def test_csv_has_fractions_with_all_their_digits(pairs):
    rows = list(csv.DictReader(study_csv(pairs).splitlines()))
    first = rows[0]
    assert (first["chart"], first["of"], first["measure"]) == ("Figure 5", "this study", "top-1 accuracy")
    assert (first["first"], first["second"]) == ("crop", "crop")
    assert float(first["value"]) == pytest.approx(0.61, abs=1e-15)
    assert [float(sample) for sample in first["samples"].split(";")] == pytest.approx([0.6, 0.62])
    assert first["reference"] == "0.1"
    missing = next(row for row in rows if (row["first"], row["second"]) == ("blur", "blur"))
    assert (missing["value"], missing["problem"]) == ("", "failed: loss is nan; 1 not run yet")
    assert json.loads(study_json(pairs))[0]["value"] == pytest.approx(0.61)


def test_the_mean_of_a_row_has_as_many_digits_as_its_cells(make_study):
    values = {"a": 0.1, "b": 0.12}
    study = make_study({"size": ["1", "2"], "what": ["a", "b"]}, lambda labels, seed: values[labels["what"]],
                       {"chart": "table", "x": "what", "means": "rows"})  # fmt: skip
    assert "| 1 | 10.00 | 12.00 | 11.00 |" in study_markdown(study)


def test_a_number_that_two_charts_call_otherwise_is_one_column_of_the_runs(make_study, result):
    first = {"measures": [{"label": "mine", "evaluation": "builtin.linear"}, {"label": "z", "features": "z"}]}
    second = {"measures": [{"label": "yours", "evaluation": 0}, {"label": "loss", "pretraining": "loss"}]}
    found = [result(0.5), result(0.5, features="z")], {"loss": 1.0}
    head, rows = runs_of(make_study({"what": ["a"]}, lambda labels, seed: found, first, second))
    assert head == ["what", "seed", "status", "mine (%)", "z (%)", "loss", "took", "id"]
    assert rows[0][3:6] == ["50.00", "50.00", "1"]


def test_a_renamed_chart_takes_its_picture_along_and_nobody_else_s(pairs):
    write_study_report(pairs)
    folder = pairs.folder
    (folder / "mine.svg").write_text("<svg/>")
    again = replace(pairs, charts=({"title": "Another", "chart": "heat_map"},))
    write_study_report(again)
    assert sorted(path.name for path in folder.glob("*.svg")) == ["another.svg", "mine.svg"]
    (folder / "another.svg").write_text("edited by hand")
    write_study_report(pairs)
    assert sorted(path.name for path in folder.glob("*.svg")) == ["another.svg", "figure_5.svg", "mine.svg"]


def test_what_cannot_be_written_is_one_line(pairs):
    (pairs.folder / "report.html").mkdir()
    with pytest.raises(RunError, match=r"report\.html: cannot be written"):
        write_study_report(pairs)


def test_the_command_writes_a_study_s_report_and_shows_its_tables(folder, capsys):
    shown = said(capsys, "report", folder).out
    assert "toy: 6 of 8 runs are in, 1 failed, 1 not run yet" in shown
    assert "failed: first blur, second blur, seed 1: loss is nan" in shown
    assert re.search(r"crop +61\.00 ± 1\.41 +41\.00 ± 1\.41", shown)
    for name in ("report.html", "report.md", "report.csv", "figure_5.svg"):
        assert f"{folder / name}\n" in shown
        assert (folder / name).stat().st_size > 100
    assert "for other charts, change [[sweep.report]] and run sslkit sweep" in shown


@pytest.mark.parametrize(
    ("ending", "beginning"),
    [("csv", "chart,of,"), ("md", "# toy"), ("html", "<!doctype"), ("json", "["), ("txt", "toy: 6 of")],
)
def test_of_a_study_too_the_ending_or_the_format_chooses(folder, capsys, tmp_path, ending, beginning):
    path = tmp_path / "new" / f"study.{ending}"
    assert said(capsys, "report", folder, "-o", path).out == f"{path}: 6 of 8 runs are in, 1 failed, 1 not run yet\n"
    assert path.read_text().startswith(beginning)
    assert not (folder / "report.html").exists()
    kind = {"md": "markdown", "txt": "table"}.get(ending, ending)
    assert said(capsys, "report", folder, "--format", kind).out == path.read_text()


def test_a_study_is_reported_alone_and_whole(folder, capsys):
    assert "a study is reported alone" in said(capsys, "report", folder, folder, code=2).err
    assert "--each is for runs" in said(capsys, "report", folder, "--each", code=2).err
