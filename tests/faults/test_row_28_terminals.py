"""No file name, class name, recipe value or exception drives a terminal, a browser or the log.

`safe_text` itself is tested in tests/test_text.py, pages in tests/test_page.py; here is every place where text leaves.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
from types import SimpleNamespace

import numpy as np
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sslkit import ImageFolder, Outcome, run
from sslkit.__main__ import main
from sslkit.builtin.callbacks.console import Console, score_table
from sslkit.engine.evaluate import Result
from sslkit.engine.log import collecting
from sslkit.launch.local import _say

# C0 but newline and tab, DEL, C1, what turns the direction of writing, halves of characters.
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
ATTACKS = ["\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x9b31m", "\x9d0;t\x9c", "a\rb", "\b\b", "\x00",
           "\u202egpj.exe", "[/bold]", "[red]", "\udcff", "a\nb"]  # fmt: skip
HOSTILE = st.text(st.characters(), max_size=20) | st.lists(st.sampled_from(ATTACKS), min_size=1).map("".join)
LIBERAL = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

logger = logging.getLogger("sslkit")


@contextlib.contextmanager
def said():
    """Collect what goes to the terminal."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        yield lambda: out.getvalue() + err.getvalue()


def command(*line):
    with said() as text:
        with contextlib.suppress(SystemExit):
            main(list(line))
        return text()


@given(HOSTILE.filter(lambda text: "\0" not in text and not re.search("[\ud800-\udc7f\udd00-\udfff]", text)))
@settings(LIBERAL, max_examples=20)
def test_row_28_mistakes_on_the_command_line(text):
    """With any words that a system can hand to a program."""
    for line in ([text], ["check", text], ["run", "x.toml", text], ["run", "x.toml", "--device", text],
                 ["plugins", text], ["components", text], ["embed", text, text], ["check", "x.toml", f"a={text}"],
                 ["data", "index", text]):  # fmt: skip
        assert not UNSAFE.search(command(*line)), line


@given(HOSTILE, HOSTILE)
@LIBERAL
def test_row_28_mistakes_in_a_recipe(light, key, value):
    with contextlib.suppress(UnicodeEncodeError):
        body = tomli_w.dumps({key: value, "name": value, "pretrain": {key: value, "data": {"name": value}}})
        path = light(name="hostile.toml")
        path.write_text(body, encoding="utf-8")
        text = command("check", str(path))
        assert text.startswith("error: ")
        assert not UNSAFE.search(text)


@given(HOSTILE)
@LIBERAL
def test_row_28_lines_of_the_console_and_of_the_launcher(text):
    with said() as shown:
        console = Console()
        console.say(text)
        console._warnings.emit(logging.LogRecord("sslkit", logging.WARNING, "", 0, "%s", (text,), None))
        run = SimpleNamespace(results=[SimpleNamespace(data=text, interval=None)])
        console.sslkit_evaluation_end(run, text, SimpleNamespace(headline="top1", metrics={"top1": 0.5}))
        _say(text)
        assert "warning: " in shown()
        assert not UNSAFE.search(shown())


@given(HOSTILE)
@LIBERAL
def test_row_28_the_table_of_scores(text):
    results = [Result(text, data, text, text, Outcome(text, {text: 0.5}, {}), seed=0) for data in (text, "other")]
    with said() as shown:
        Console()._write(score_table(SimpleNamespace(name="run", results=results)))
        assert not UNSAFE.search(shown())


@given(HOSTILE)
@LIBERAL
def test_row_28_lines_of_the_log(tmp_path, text):
    path = tmp_path / "log.txt"
    path.unlink(missing_ok=True)
    with collecting() as log:
        logger.warning("before there is a folder: %s", text)
        log.write_to(path)
        logger.warning("%s", text)
        try:
            raise RuntimeError(text)
        except RuntimeError:
            logger.warning("with its traceback", exc_info=True)
    lines = path.read_text(encoding="utf-8").split("\n")
    assert not UNSAFE.search("".join(lines))
    assert sum(bool(re.match(r"\d{4}-", line)) for line in lines) == 3  # nothing looks like another line
    assert all(line.startswith("    ") or re.match(r"\d{4}-.* WARNING ", line) for line in lines if line)


@given(HOSTILE)
@LIBERAL
def test_row_28_tracebacks_of_a_fault_of_the_program(text):
    command("plugins", "nobody")  # the command line sets it up
    try:
        raise ValueError(text)
    except ValueError as error:
        with said() as shown:
            sys.excepthook(type(error), error, error.__traceback__)
            assert "ValueError" in shown()
            assert not UNSAFE.search(shown())


def test_row_28_a_run_over_hostile_class_and_file_names(recipe_file, tmp_path):
    """From the folder on the disk to the terminal, the log and every file of the run."""
    images = tmp_path / "images"
    for split in ("train", "test"):
        for number, name in enumerate(["\x1b]0;pwned\x07", "<script>alert(1)</script>", "\u202egpj"]):
            folder = images / split / name.replace("/", "_")
            folder.mkdir(parents=True)
            for copy in range(8):
                pixels = np.random.default_rng(number * 10 + copy).integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{copy}\x1b[2J.png")
    (images / "train" / "\u202egpj" / "broken\x1b[2J.png").write_bytes(b"no image")
    recipe = recipe_file()
    text = recipe.read_text()
    shapes = text[text.index("[pretrain.data]") : text.index("[pretrain.views]")]
    data = f"[pretrain.data]\nname = 'builtin.image_folder'\nfolder = '{images}'\non_bad_image = 'replace'\n"
    recipe.write_text(text.replace(shapes, data).replace("k = 5", "k = 2"))
    with said() as shown:
        folder = run(recipe, into=tmp_path / "run", watchers=[Console()], workers=0).folder
        assert "broken" in shown()
        assert not UNSAFE.search(shown())
    for path in folder.rglob("*"):
        if path.suffix in (".txt", ".json", ".jsonl", ".toml", ".html"):
            assert not UNSAFE.search(path.read_text(encoding="utf-8")), path
    assert len(ImageFolder(images).class_names) == 3
