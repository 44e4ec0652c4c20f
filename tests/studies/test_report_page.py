"""The page of a run: whole, offline, deaf to what names say, and there for every folder, however broken."""

import json
import re
import shutil
import time
from html.parser import HTMLParser

import numpy as np
import pytest

from sslkit import RunError
from sslkit.studies import report_maps
from sslkit.studies.report_page import report_page, write_report

HOSTILE = "</title><script>alert(1)</script>\" onerror='x' \x1b[31m\u202egpj"
VOID = {"meta", "img", "br", "link"}
COUNT = 200


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


@pytest.fixture(autouse=True)
def without_tsne(monkeypatch):
    monkeypatch.setattr(report_maps, "has_tsne", lambda: False)


@pytest.fixture
def full_run(write_run):
    """Return a function that leaves a run with everything that a page shows."""
    generator = np.random.default_rng(0)
    label = generator.integers(0, 4, COUNT)
    predicted = np.where(generator.random(COUNT) < 0.6, label, 3 - label)
    value = float((predicted == label).mean())

    def result(features, weights, value, stored):
        return {"features": features, "weights": weights, "value": value, "interval": [value - 0.05, value + 0.05],
                "n": COUNT, "metrics": {"top1": value, "top5": 0.99, "n": COUNT}, "stored": stored}  # fmt: skip

    def write(place="run", names=("cat", "dog", "hen", "cow"), seed=0, more="[pretrain]\nepochs = 3\nbatch_size = 64"):
        stored = {"predicted": predicted, "label": label}
        guessed = {"predicted": np.zeros(COUNT, dtype=np.int64), "label": label}
        rows = [result("h", "pretrained", value, stored), result("h", "random", 0.25, guessed),
                result("pixels", "none", 0.3, guessed)]  # fmt: skip
        folder = write_run(place, *rows, seed=seed, more=more)
        path = folder / "evaluate" / "0-builtin.knn" / "metrics.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"class_names": list(names)}))
        arrays = {"h": generator.standard_normal((COUNT, 8)), "z": generator.standard_normal((COUNT, 5))}
        np.savez(
            folder / "evaluate" / "features_sample.npz",
            **{name: array.astype(np.float16) for name, array in arrays.items()},
            label=label,
            class_names=np.array(list(names)),
        )
        np.savez(folder / "views.npz", views=generator.integers(0, 255, (6, 3, 3, 32, 32), dtype=np.uint8))
        columns = {"epoch": 0, "learning_rate": 0.1, "gradient_norm": 1.0, "images_per_second": 99.0}
        lines = [{"step": n + 1, "loss": 2.0 - n / 60, **columns} for n in range(100)]
        lines[50] |= {"online_rankme_h": 12.0, "online_rankme_z": 3.0, "online_linear_top1": 0.5}
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "backbone.json").write_text(json.dumps({"backbone": {"name": "builtin.timm"}, "feature_dim": 8}))
        (folder / "environment.json").write_text(json.dumps({"device": "cpu", "torch": "2.11", "plugins": ["a 1"]}))
        (folder / "log.txt").write_text("2026-11-26 03:00:00,000 WARNING the embeddings collapse\n")
        bad = {"path": "train/broken.jpg", "reason": "truncated", "split": "train"}
        (folder / "bad_images.jsonl").write_text(json.dumps(bad) + "\n")
        return folder

    return write


def written(folder):
    return write_report(folder).read_text()


def test_a_page_shows_everything_that_a_run_left(full_run):
    folder = full_run()
    text = written(folder)
    elements = Elements(text)
    assert elements.open == []
    heads = re.findall("<h2>(.*?)</h2>", text)
    assert heads == [
        "Warnings", "Scores", "Curves", "Views", "Maps of the features", "Classes", "Images that cannot be read: 1",
        "Recipe", "Files",
    ]  # fmt: skip
    label = np.load(folder / "evaluate/0-builtin.knn/predictions.npz")["pretrained.h.0.label"]
    most = np.bincount(label).max() / COUNT
    assert f"chance: {most * 100:.2f} %" in elements.text
    assert "random backbone: 25.00 %" in elements.text
    assert "25.00 % 20.00 to 30.00" in elements.text
    assert "raw pixels: 30.00 %" in elements.text
    assert "builtin.timm, 8 features" in elements.text
    assert "3 epochs" in elements.text
    assert "the embeddings collapse" in elements.text
    assert "train/broken.jpg" in elements.text
    assert len(re.findall("<img ", text)) == 18
    assert 'href="./evaluate/features_sample.npz"' in text
    assert "sslkit[report]" in text


def test_a_page_loads_nothing_and_runs_nothing(full_run):
    text = written(full_run())
    elements = Elements(text)
    assert not {"script", "link", "iframe", "object", "image", "use"} & set(elements.tags)
    places = [value for name, value in elements.attributes if name in ("src", "href", "action", "xlink:href")]
    assert len(places) > 20
    assert all(place.startswith(("data:image/", "./")) for place in places)
    assert not re.search(r"@import|url\(|@font-face", text)
    assert ("content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in elements.attributes


def test_hostile_names_stay_text(full_run):
    more = f"[pretrain]\nepochs = {json.dumps(HOSTILE)}"
    folder = full_run(names=[HOSTILE, '"><b>', "c", "d"], more=f"description = {json.dumps(HOSTILE)}\n{more}")
    lines = [{"step": 1, HOSTILE: 1.0}, {"step": 2, HOSTILE: 2.0}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "log.txt").write_text(f"2026-11-26 03:00:00,000 ERROR collapse {HOSTILE}\n")
    (folder / "bad_images.jsonl").write_text(json.dumps({HOSTILE: HOSTILE}))
    (folder / "environment.json").write_text(json.dumps({"command": [HOSTILE], "plugins": [HOSTILE]}))
    (folder / "javascript:alert(1)").write_text("")
    for text in (written(folder), report_page([folder], title=HOSTILE)):
        elements = Elements(text)
        assert elements.open == []
        assert "script" not in elements.tags
        assert not any(name.startswith("on") for name, _ in elements.attributes)
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert not any(name == "href" and value.startswith("javascript") for name, value in elements.attributes)
    assert "<script>alert(1)</script>" in Elements(written(folder)).text


def test_a_usual_page_is_small_and_soon_written(full_run):
    folder = full_run()
    generator = np.random.default_rng(0)
    np.savez(
        folder / "evaluate" / "features_sample.npz",
        h=generator.standard_normal((2000, 512)).astype(np.float16),
        z=generator.standard_normal((2000, 128)).astype(np.float16),
        label=generator.integers(0, 1000, 2000),
    )
    np.savez(folder / "views.npz", views=generator.integers(0, 255, (6, 3, 3, 224, 224), dtype=np.uint8))
    start = time.process_time()
    path = write_report(folder)
    assert time.process_time() - start < 5  # a second on a quiet machine
    assert path.stat().st_size < 1_000_000


def test_a_thousand_classes_show_the_confused_and_the_extreme(write_run):
    label = np.arange(3000) % 1000
    predicted = np.where(label < 5, 999, label)
    folder = write_run("run", {"value": 0.99, "stored": {"predicted": predicted, "label": label}})
    elements = Elements(written(folder))
    assert "The 20 classes most often taken for another, of 1,000" in elements.text
    assert "class 999" in elements.text
    assert "0.0 % of 3" in elements.text
    assert elements.tags.count("rect") < 500


def test_several_labels_show_the_precision_of_each_class(write_run):
    label = np.array([[1, 0], [0, 1], [1, -1], [0, 0]], dtype=np.int8)
    scores = np.array([[2.0, 0.1], [1.0, 0.2], [3.0, 0.0], [0.0, 0.3]], dtype=np.float32)
    row = {"metric": "voc_map", "value": 0.75, "stored": {"scores": scores, "label": label}}
    text = Elements(written(write_run("run", row))).text
    assert "100.0 % in 2" in text
    assert text.index("100.0 % in 2") < text.index("50.0 % in 1")
    assert "chance: 41.67 %" in text  # (2 / 4 + 1 / 3) / 2


@pytest.mark.parametrize("status", ["running", "stopped", "failed"])
def test_a_run_that_did_not_finish_has_a_page(write_run, status):
    folder = write_run("run", status=status)
    assert f"{status}: because" in Elements(written(folder)).text


FILES = ["summary.json", "backbone.json", "environment.json", "resolved.toml", "metrics.jsonl", "bad_images.jsonl",
         "log.txt", "views.npz", "evaluate/features_sample.npz", "evaluate/0-builtin.knn/metrics.json",
         "evaluate/0-builtin.knn/predictions.npz"]  # fmt: skip
BROKEN = [b"", b"\xff\xfe{ nonsense", b"[1, 2]\n", b'{"results": 3, "backbone": 1, "lineage": []}\n', b"[" * 5000]


@pytest.mark.parametrize("content", BROKEN, ids=["empty", "nonsense", "list", "other", "deep"])
@pytest.mark.parametrize("name", FILES)
def test_a_broken_file_takes_only_its_part_of_the_page(full_run, name, content):
    folder = full_run()
    (folder / name).write_bytes(content)
    text = written(folder)
    assert Elements(text).open == []
    assert "<h2>Files</h2>" in text
    (folder / name).unlink()
    assert "<h2>Files</h2>" in written(folder)


def test_all_files_may_be_broken_and_all_but_one_missing(full_run):
    folder = full_run()
    for name in FILES:
        (folder / name).write_bytes(b"PK\x03\x04 nonsense")
    assert "cannot be read" in written(folder)
    shutil.rmtree(folder / "evaluate")
    for path in folder.glob("[!.]*"):
        path.unlink()
    (folder / "recipe.toml").write_text('name = "x"')
    assert Elements(written(folder)).open == []


@pytest.mark.parametrize(
    "arrays",
    [
        {"h": np.zeros((9, 4), np.float16), "label": np.zeros(9, np.int64)},
        {"h": np.full((9, 4), np.nan, np.float16), "label": np.zeros(9, np.int64)},
        {"h": np.zeros((1, 4)), "label": np.zeros(1, np.int64)},
        {"h": np.zeros((9, 1)), "label": np.zeros(9, np.int64)},
        {"h": np.arange(36.0).reshape(9, 4), "z": np.arange(16.0).reshape(4, 4)},
        {"h": np.arange(36.0).reshape(9, 4), "label": np.full(9, -1)},
        {"h": np.arange(36.0).reshape(9, 4), "label": np.eye(9, 3, dtype=np.int8)},
        {"h": np.array([["a"] * 4] * 9), "label": np.zeros(9, np.int64)},
        {"h": np.arange(36.0).reshape(9, 4), "label": np.array(["b"] * 9)},
    ],
)
def test_odd_samples_of_features_are_mapped_or_left_out(full_run, arrays):
    folder = full_run()
    np.savez(folder / "evaluate" / "features_sample.npz", **arrays)
    assert Elements(written(folder)).open == []


def test_a_map_says_from_how_many_classes_its_own_were_drawn(full_run):
    folder = full_run()
    generator = np.random.default_rng(0)
    arrays = {"h": generator.standard_normal((90, 4)), "label": 100 * (np.arange(90) // 30)}
    for total, said in ((np.array(1000), True), (np.array([7, 8]), False), (np.array("many"), False)):
        np.savez(folder / "evaluate" / "features_sample.npz", **arrays, drawn_from=total)
        assert ("90 test images of 3 classes drawn at random from 1,000, near" in written(folder)) is said


def test_a_tsne_map_shows_images_of_all_classes(full_run, monkeypatch):
    seen = []
    monkeypatch.setattr(report_maps, "has_tsne", lambda: True)
    monkeypatch.setattr(report_maps, "tsne", lambda values: seen.append(values) or values[:, :2])
    label = np.arange(2000) // 200  # in the order of classes
    folder = full_run()
    np.savez(folder / "evaluate" / "features_sample.npz", h=np.c_[label, label, label].astype(np.float32), label=label)
    written(folder)
    assert np.bincount(seen[0][:, 0].astype(int)).tolist() == [100] * 10


def test_eigenvalues_of_a_head_are_drawn_on_both_axes(write_run):
    values = 10.0 ** -np.arange(20)
    row = {"metric": "effective_rank", "value": 2.0, "features": "z", "stored": {"squared_eigenvalues": values}}
    text = written(write_run("run", row))
    assert Elements(text).open == []
    part = text.partition("Eigenvalues of the projection head")[2].partition("<h2>")[0]
    assert re.findall("<b>(.*?)</b>", part) == ["Linear axis", "Logarithmic axis"]
    assert part.count("(logarithmic axis)") == 2  # as a title and for those who cannot see it
    assert ">1e-12</text>" in part  # nothing is smaller


@pytest.mark.parametrize("values", [np.zeros(5), np.array([1.0]), np.ones((3, 3)), np.array(["a", "b"]), np.arange(3)])
def test_odd_eigenvalues_are_drawn_or_left_out(write_run, values):
    row = {"metric": "effective_rank", "value": 2.0, "stored": {"squared_eigenvalues": values}}
    assert Elements(written(write_run("run", row))).open == []


@pytest.mark.parametrize("shape", [(1, 2, 1, 8, 8), (6, 12, 3, 96, 96), (2, 1, 3, 4, 4), (2, 3, 5, 4, 4), (3, 4)])
def test_views_of_any_shape(full_run, shape):
    folder = full_run()
    np.savez(folder / "views.npz", np.zeros(shape, np.uint8))
    text = written(folder)
    shown = shape[0] * min(shape[1], 9) if len(shape) == 5 and shape[2] in (1, 3) else 0
    assert len(re.findall("<img ", text)) == shown


def test_only_a_run_has_a_page(tmp_path):
    with pytest.raises(RunError, match="holds no run"):
        write_report(tmp_path)


def test_a_page_that_cannot_be_written_says_so(full_run):
    folder = full_run()
    (folder / "report.html").mkdir()
    with pytest.raises(RunError, match=r"report\.html: cannot be written"):
        write_report(folder)


def test_several_runs_share_tables_and_charts(full_run):
    folders = [full_run(f"run {seed}", seed=seed) for seed in range(3)]
    (folders[2] / "resolved.toml").write_bytes(b"\xff")
    (folders[1] / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}')
    text = report_page(folders, title="All of them")
    elements = Elements(text)
    assert elements.open == []
    assert "<h1>All of them</h1>" in text
    assert re.findall("<h2>(.*?)</h2>", text) == ["Runs", "Scores", "Curves", "Notes"]
    assert "± 0.00, 2 seeds" in elements.text
    assert set(re.findall(r'class="curve" stroke="var\(--c(\d)\)"[^>]*></svg><span>run 2</span>', text)) == {"2"}
    assert text.count("<span>run 0</span>") == len(re.findall('<figure class="chart">', text))
    assert text.count("<span>run 1</span>") == 1
    assert "✗ broken" in elements.text


def test_a_run_that_is_about_random_weights_shows_them_as_its_own(full_run):
    folder = full_run(more='weights = "random"')
    path = folder / "evaluate" / "0-builtin.knn" / "metrics.json"
    kept = [row for row in json.loads(path.read_text())["results"] if row["weights"] != "pretrained"]
    path.write_text(json.dumps({"results": kept}))
    text = written(folder)
    assert 'class="tile"><b>25.00 %' in text
    assert text.count('class="hollow"') == 1  # the pixels
    assert "random backbone: 25.00 %</span>" not in text


def test_two_settings_of_an_evaluation_are_two_tables(write_run):
    rows = [{"value": 0.5, "index": index, "options": f"k = {index}"} for index in (0, 1)]
    text = written(write_run("run", *rows))
    assert "<h3>builtin.knn (k=0) on builtin.shapes</h3>" in text
    assert "top-1 accuracy of h: builtin.knn (k=1) on builtin.shapes</span>" in text
