"""A pretrained backbone as a folder to upload to a model hub as it is: weights, configuration, model card.

Enters: a backbone that is a timm model, or whose weights are those of one. Leaves: the folder `huggingface_folder`.
Nothing is uploaded. Called by the engine for each `[[export]]` table that names it, and by `sslkit export`.
"""

from __future__ import annotations

from pathlib import Path

from sslkit import Exporter, Pretrained
from sslkit.builtin.exporters.model_card import write_card
from sslkit.builtin.exporters.timm_folder import how_to_use, write_timm_folder


def export_huggingface_folder() -> Exporter:
    """Return the exporter: writes the folder `huggingface_folder` and says which files are in it.

    The files are those of `builtin.timm`; the header of `README.md` says in the hub's own words that timm loads them
    and what for. Until it is uploaded, `timm.create_model("local-dir:PATH", pretrained=True)` loads the folder, which
    is how it is verified. The licence is left to the author.
    """

    def write(pretrained: Pretrained, folder: Path) -> list[Path]:
        """Write the folder.

        Raises:
            SslkitError: If the backbone is no timm model, or does not come back as it was.
        """
        target = Path(folder) / "huggingface_folder"
        files = write_timm_folder(pretrained, target)
        return [*files, write_card(pretrained, folder, target, how_to_use(pretrained), for_hub=True)]

    return write
