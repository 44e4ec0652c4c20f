"""A list of the tensors of a backbone."""


def names(*, suffix: str = "txt"):
    """Return the exporter.

    Args:
        suffix: Of the file.
    """

    def export(pretrained, folder):
        path = folder / f"names.{suffix}"
        path.write_text("\n".join(pretrained.backbone.state_dict()))
        return [path]

    return export
