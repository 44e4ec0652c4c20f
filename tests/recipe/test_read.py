"""Reading: whatever bytes a file holds end as a document or as one line; every key knows its line."""

import contextlib
import tomllib

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from sslkit.errors import RecipeError
from sslkit.recipe.read import MAX_BYTES, locate, read_document

GOOD = b'schema = 1\r\nname = "x"\r\n\r\n[pretrain]\r\nepochs = 3\r\n'


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("read") / "recipe.toml"


def read(path, content):
    path.write_bytes(content)
    return read_document(path)


def refusal(path, content):
    with pytest.raises(RecipeError) as caught:
        read(path, content)
    (problem,) = caught.value.problems
    assert problem.startswith(str(path))
    assert "\n" not in problem
    return problem.removeprefix(str(path))


@pytest.mark.parametrize("content", [GOOD, b"\xef\xbb\xbf" + GOOD, GOOD.replace(b"\r\n", b"\n")])
def test_a_byte_order_mark_and_windows_lines_are_fine(path, content):
    document = read(path, content)
    assert document.tree == {"schema": 1, "name": "x", "pretrain": {"epochs": 3}}
    assert document.where(("pretrain", "epochs")) == f"{path}:5"
    assert document.where(("pretrain", "nothing", "below")) == f"{path}:4"
    assert document.where(("nothing",)) == str(path)


REFUSED = [
    (b"", ": is empty; a recipe needs at least"),
    (b"# only a comment\n", ": is empty"),
    (b"\xef\xbb\xbf", ": is empty"),
    ("schema = 1".encode("utf-16"), ": is UTF-16 or no text at all; save it as UTF-8"),
    ("schema = 1".encode("utf-16-be"), ": is UTF-16"),
    (b"name = '\xe4'", ": is not UTF-8 (byte 8)"),
    (b"x = 1\n" * MAX_BYTES, ": is larger than 256 KiB"),
    (b"x = " + b"[" * 1000 + b"]" * 1000, ": brackets are nested too deeply"),
    (b"x = " + b"{a = " * 1000 + b"1" + b"}" * 1000, ": brackets are nested too deeply"),
    (b"x = " + b"[" * 200 + b"]" * 200, ":1 x.0.0.0.0.0.0.0: tables are nested too deeply"),
    (b"y = 1\n" + b"a." * 60_000 + b"a = 1", ":2: more dots than a recipe needs"),
    (b"x = " + b"1" * 5000, ": not valid TOML: Exceeds the limit"),
    (b"[a]\nx = 0x" + b"f" * 5000, ":2 a.x: is too large an integer for TOML"),
    (b"x = 9223372036854775808", ":1 x: is too large an integer"),
    (b"a = 1\na = 2", ":2: not valid TOML: Cannot overwrite a value"),
    (b"[a]\n[b]\n[a]", ":3: not valid TOML: Cannot declare ('a',) twice"),
    (b"a = 1\n\n[b\nc = 1\n", ":3: not valid TOML"),
    (b'a = 1\nb = "open\n', ":2: not valid TOML"),
    (b'a = 1\nb = """open\n\n', ":2: not valid TOML"),
    (b"a = 2020-13-01", ":1: not valid TOML"),
    (b"x = 1\x0b\ny = \x85", ": is not UTF-8"),
    ("x = '\u2028\x85'\ny = ".encode(), ":2: not valid TOML"),
    (b'a = 1\nroot = "C:\\Users\\me"\n', ":2: not valid TOML"),
    (b'root = "C:\\data"', ":1: not valid TOML"),
]


@pytest.mark.parametrize(("content", "reason"), REFUSED, ids=[reason[:40] for _, reason in REFUSED])
def test_refused(path, content, reason):
    assert refusal(path, content).startswith(reason)


@pytest.mark.parametrize("root", [rb"C:\Users\me", rb"C:\data", rb"\\server\share"])
def test_a_windows_path_in_double_quotes_gets_advice(path, root):
    problem = (
        refusal(path, b'folder = "%s"' % root) if root != rb"\\server\share" else refusal(path, b'f = "\\\\s\\sh"')
    )
    assert "write paths with / or in 'single quotes'" in problem
    assert read(path, b"folder = '%s'" % root).tree == {"folder": root.decode()}


def test_what_is_no_file(tmp_path):
    for missing in (tmp_path / "missing.toml", tmp_path / "a" / "b.toml"):
        with pytest.raises(RecipeError, match=r"\.toml: there is no such file"):
            read_document(missing)
    with pytest.raises(RecipeError, match=r"is a folder; name the file inside it, .*recipe\.toml"):
        read_document(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for odd in (tmp_path / "file" / "b.toml", tmp_path / "loop", tmp_path / ("x" * 5000)):
        with pytest.raises(RecipeError, match="cannot be read: "):
            read_document(odd)


@given(st.binary(max_size=300) | st.text("[]{}\"'\\=#.,\n ab1", max_size=60).map(str.encode))
def test_only_a_recipe_error_escapes(path, content):
    with contextlib.suppress(RecipeError):
        assert read(path, content).tree


VALUES = [
    "1",
    "-1.5e3",
    "1979-05-27T07:32:00Z",
    '"a # [x] = \\" y"',
    "'lit [ = # \"'",
    '"""\n[table]\nkey = 1\n\\"""\n"""',
    '""""quoted" end"""""',
    '""""""',
    '""',
    "'''\nx = 1 ' ''\n[[y]]\n'''",
    "''''''",
    "''",
    "[1, # ] [ \" '''\n  2,\n]",
    "[[1, 2],\n[\n# x = 1\n3]]",
    '[\n{ x = 1 },\n{ y = "]", z = [\n1] }\n]',
    "{ a = 1, b.c = [1, 2], 'd]' = { e = '}' } }",
    "[\n{ x = 1 },\n[3],\n]",
    '"""four\n""""',
    "'''four\n''''",
    "[]",
]
KEYS = ["k{}", "k{}-x", '"k {}.=#[]"', "'k{} \"'", '"k\\"{}"', "{}0"]
NOISE = ["", "# [comment] = 3", "   \t", '# """', "#"]


@st.composite
def documents(draw):
    """Return a document and the line of each of its keys, written down while it is written."""
    lines, expected, numbers, arrays = [], {}, iter(range(10_000)), {}

    def part():
        text = draw(st.sampled_from(KEYS)).format(next(numbers))
        return text, next(iter(tomllib.loads(f"{text} = 0")))

    def write(text):
        start = len(lines) + 1
        lines.extend(text.split("\n"))
        return start

    def assignments(table):
        for _ in range(draw(st.integers(0, 3))):
            write(draw(st.sampled_from(NOISE)))
            parts = [part() for _ in range(draw(st.integers(1, 3)))]
            dotted = draw(st.sampled_from([".", " . ", "\t."])).join(text for text, _ in parts)
            comment = draw(st.sampled_from(["", "  # x = [", "# '''", "# ' [", '# " {']))
            equals = draw(st.sampled_from(["=", " = ", "\t=  "]))
            line = write(draw(st.sampled_from(["", "  "])) + dotted + equals + draw(st.sampled_from(VALUES)) + comment)
            for length in range(1, len(parts) + 1):
                expected[table + tuple(key for _, key in parts[:length])] = line

    assignments(())
    tables = [()]
    for _ in range(draw(st.integers(0, 5))):
        above = draw(st.sampled_from(tables))
        if arrays and draw(st.booleans()):
            above = draw(st.sampled_from(list(arrays)))  # another element of an array that is there
            text, count = arrays[above]
            path, header = (*above, count), f"[[{text}]]"
            arrays[above] = (text, count + 1)
        else:
            new = [part() for _ in range(draw(st.integers(1, 2)))]
            if any(isinstance(step, int) for step in above):
                above = ()  # a header below an array means its last element: kept to the test below
            text = ".".join([*tables_text(above), *(text for text, _ in new)])
            names = above + tuple(key for _, key in new)
            if draw(st.booleans()):
                path, header = (*names, 0), f"[[{text}]]"
                arrays[names] = (text, 1)
            else:
                path, header = names, draw(st.sampled_from(["[{}]", "[ {} ]", " [{}] # [x]"])).format(text)
        line = write(header)
        expected[path] = line
        for length in range(1, len(path)):
            expected.setdefault(path[:length], line)
        tables.append(path)
        assignments(path)
    return "\n".join(lines), expected


def tables_text(path):
    return ['"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"' for key in path]


@given(documents())
def test_every_key_is_located(document):
    text, expected = document
    tomllib.loads(text)
    assert locate(text) == expected


def test_tables_below_arrays_of_tables_belong_to_the_last_element():
    text = "[[a]]\nx = 1\n[a.b]\ny = 1\n[[a.c]]\n[[a.c]]\nz = 1\n[[a]]\n[a.b]\ny = 2\n[[a.c]]\nz.q = 2\n[d.a]\n[d]\nv=1"
    assert locate(text) == {
        ("a",): 1, ("a", 0): 1, ("a", 0, "x"): 2, ("a", 0, "b"): 3, ("a", 0, "b", "y"): 4,
        ("a", 0, "c"): 5, ("a", 0, "c", 0): 5, ("a", 0, "c", 1): 6, ("a", 0, "c", 1, "z"): 7,
        ("a", 1): 8, ("a", 1, "b"): 9, ("a", 1, "b", "y"): 10,
        ("a", 1, "c"): 11, ("a", 1, "c", 0): 11, ("a", 1, "c", 0, "z"): 12, ("a", 1, "c", 0, "z", "q"): 12,
        ("d",): 14, ("d", "a"): 13, ("d", "v"): 15,
    }  # fmt: skip


LEAVES = st.integers(-(2**63), 2**63 - 1) | st.text() | st.floats(allow_nan=False) | st.booleans() | st.dates()
TREES = st.dictionaries(
    st.text(st.characters(exclude_categories=("Cs",))),
    st.recursive(
        LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
    ),
    max_size=4,
)


@given(TREES, st.booleans())
def test_every_key_of_any_document_is_located(tree, multiline):
    text = tomli_w.dumps(tree, multiline_strings=multiline)
    places = locate(text)
    lines = text.split("\n")
    for key in tree:
        assert 1 <= places[(key,)] <= len(lines)
    assert all(lines[line - 1].strip() for line in places.values())
