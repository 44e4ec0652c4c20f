"""A pretrained backbone as a program of torch.export, which torch loads without the code that made it.

Enters: any backbone. Leaves: `pt2/model.pt2`, read back and compared. Called by the engine for each `[[export]]` table
that names it, and by `sslkit export`.
"""

from __future__ import annotations

from pathlib import Path

import torch

from sslkit import Exporter, Pretrained, SslkitError, one_line
from sslkit.builtin.exporters.model_card import write_card
from sslkit.builtin.exporters.portable import Portable, example_images, require_equal

_USAGE = """\
import torch

model = torch.export.load("model.pt2").module()
features = model(images)  # images in [0, 1]: the normalisation is inside"""


def export_pt2() -> Exporter:
    """Return the exporter: writes `pt2/model.pt2` and `pt2/README.md`.

    `torch.export.load("model.pt2").module()` takes images float32 [N, C, S, S] in [0, 1], S the input size and N any
    number, and returns features [N, D]; the normalisation that belongs to the backbone is inside. The program holds
    the weights and runs on a CPU; `.to("cuda")` moves it.
    """

    def write(pretrained: Pretrained, folder: Path) -> list[Path]:
        """Write the program.

        Raises:
            SslkitError: If torch.export cannot follow the backbone, or it does not come back as it was.
        """
        target = Path(folder) / "pt2"
        target.mkdir(parents=True, exist_ok=True)
        path = target / "model.pt2"
        portable = Portable(pretrained)
        try:
            batch = torch.export.Dim("batch", min=1)
            program = torch.export.export(portable, (example_images(pretrained, 2),), dynamic_shapes=({0: batch},))
            torch.export.save(program, path)
        except Exception as error:  # whatever comes up in the backbone's own code
            raise SslkitError(
                f"torch.export cannot follow this backbone: {type(error).__name__}: {one_line(error)}"
            ) from error
        loaded = torch.export.load(path).module()
        for count in (1, 3):
            images = example_images(pretrained, count)
            require_equal(portable(images), loaded(images), path)
        return [path, write_card(pretrained, folder, target, _USAGE)]

    return write
