"""Draws the end of a finished run as a terminal shows it: `python docs/picture.py RUN` writes the README's picture.

Enters: the folder of a real run. Leaves: an SVG without web fonts or any other outside reference. The table is made by
the console callback itself, so the picture cannot show what the terminal does not.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from sslkit import Outcome, duration
from sslkit.builtin.callbacks.console import score_table
from sslkit.engine.evaluate import Result
from sslkit.run_folder import read_json

PICTURE: Final = Path(__file__).parent / "images" / "quickstart.svg"
_WIDTH: Final = 84  # columns


def draw(run: Path) -> str:
    """Return the SVG of a finished run.

    Args:
        run: Its folder.

    Raises:
        SystemExit: There is no finished run in it.
    """
    summary = read_json(run / "summary.json")
    if summary is None or summary["status"] != "finished":
        raise SystemExit(f"{run}: holds no finished run")
    folder = Path("runs") / summary["name"] / run.name
    info: Any = SimpleNamespace(name=summary["name"], results=[_result(row) for row in summary["results"]])
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), highlight=False)
    console.print(score_table(info))
    for line in (
        f"done in {duration(summary['seconds'])}; everything is in {folder}",
        "to use the backbone:",
        "    import sslkit",
        f'    backbone = sslkit.load_backbone("{folder}")',
    ):
        console.print(Text(line))
    svg = console.export_svg(title=f"sslkit run recipes/{summary['name']}.toml", theme=MONOKAI, unique_id="run")
    return _without_web_fonts(svg)


def _result(row: dict[str, Any]) -> Result:
    outcome = Outcome(row["metric"], {row["metric"]: row["value"]})
    what = (row["evaluation"], row["data"], row["features"], row["weights"])
    return Result(*what, outcome, row["seed"], index=row["index"])


def _without_web_fonts(svg: str) -> str:
    """Drop rich's font declarations, which load from elsewhere; each line's length is set, so any fixed font fits."""
    local = re.sub(r"@font-face\s*{.*?}\s*", "", svg, flags=re.DOTALL).replace("Fira Code, monospace", "monospace")
    return "\n".join(line.rstrip() for line in local.splitlines()) + "\n"


def main() -> None:
    """Draw the run named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python docs/picture.py RUN_FOLDER")
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(Path(sys.argv[1])), encoding="utf-8")
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
