"""`sslkit new-plugin`: says what it wrote and what to type next."""

import shlex

from sslkit.__main__ import main


def test_it_ends_with_three_lines_to_type(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new-plugin", "far_away", "--kind", "views"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "sslkit-far-away"
    assert lines[-4:] == [
        "next:",
        "  python -m pip install -e 'sslkit-far-away[test]'",
        "  python -m pytest sslkit-far-away",
        "  sslkit run sslkit-far-away/recipe.toml",
    ]
    written = [line.strip() for line in lines[1:-4]]
    assert all((tmp_path / "sslkit-far-away" / name).is_file() for name in written)
    assert "src/sslkit_far_away/uneven_light.py" in written


def test_a_folder_with_blanks_is_quoted(tmp_path, capsys):
    place = tmp_path / "my plugins" / "new"
    assert main(["new-plugin", "mine", "--component", "far_apart", "--into", str(place)]) == 0
    *_, install, check, run = capsys.readouterr().out.splitlines()
    assert shlex.split(install)[-1] == f"{place}[test]"
    assert shlex.split(check)[-1] == str(place)
    assert shlex.split(run)[-1] == str(place / "recipe.toml")
    assert (place / "src" / "sslkit_mine" / "far_apart.py").exists()


def test_a_kind_that_is_none(tmp_path, capsys):
    for kind, advice in (("objektive", 'did you mean "objective"?'), ("zzz", "there are views, backbone, head, ")):
        assert main(["new-plugin", "mine", "--kind", kind, "--into", str(tmp_path / "new")]) == 2
        assert f'error: there is no kind "{kind}"; {advice}' in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_second_time_nothing_is_overwritten(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new-plugin", "mine"]) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    capsys.readouterr()
    assert main(["new-plugin", "mine", "--kind", "data"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == ("error: sslkit-mine is there already, and nothing is overwritten; choose another --into DIR\n")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
