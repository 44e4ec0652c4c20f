"""A pretrained backbone as a folder that timm loads by itself, without sslkit.

Enters: a backbone that is a timm model, or whose weights are those of one. Leaves: the folder `timm`. Called by the
engine for each `[[export]]` table that names it, and by `sslkit export`.
"""

from __future__ import annotations

from pathlib import Path

from sslkit import Exporter, Pretrained
from sslkit.builtin.exporters.model_card import write_card
from sslkit.builtin.exporters.timm_folder import how_to_use, write_timm_folder


def export_timm() -> Exporter:
    """Return the exporter: writes the folder `timm` and says which files are in it.

    The folder is loaded by `timm.create_model("local-dir:PATH/timm", pretrained=True)`, which returns features
    [N, D]. `config.json` carries the mean and deviation that the backbone was trained with (0 and 1 where images
    were only scaled to [0, 1]) and the input size, and none of the claims (licence, paper, ImageNet classes) of
    the weights that timm itself offers under the architecture's name. `README.md` says where the weights come from.
    """

    def write(pretrained: Pretrained, folder: Path) -> list[Path]:
        """Write the folder.

        Raises:
            SslkitError: If the backbone is no timm model, or does not come back as it was.
        """
        target = Path(folder) / "timm"
        files = write_timm_folder(pretrained, target)
        return [*files, write_card(pretrained, folder, target, how_to_use(pretrained))]

    return write
