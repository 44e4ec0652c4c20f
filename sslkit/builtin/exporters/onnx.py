"""A pretrained backbone as an ONNX graph, for runtimes other than torch.

Enters: any backbone. Leaves: `onnx/model.onnx`, run by onnxruntime and compared. Called by the engine for each
`[[export]]` table that names it, and by `sslkit export`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Interval

from sslkit import Exporter, Pretrained, SslkitError, one_line
from sslkit.builtin.exporters.model_card import write_card
from sslkit.builtin.exporters.portable import Portable, example_images, require_equal

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_LIMIT = 2**31  # bytes that one file of the format holds, protobuf's limit

_USAGE = """\
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
[features] = session.run(None, {"images": images})  # images in [0, 1]: the normalisation is inside"""


def export_onnx(*, opset: Annotated[int, Interval(ge=18, le=23)] = 18) -> Exporter:
    """Return the exporter: writes `onnx/model.onnx` and `onnx/README.md`.

    The graph takes `images`, float32 [N, C, S, S] in [0, 1], S the input size and N any number, and returns
    `features` [N, D]; the normalisation that belongs to the backbone is inside. Weights beyond 2 GiB lie beside it, in
    `model.onnx.data`. onnxruntime runs it, with one image and with three, before it counts as written.

    Args:
        opset: Version of ONNX's set of operators; older runtimes know lower ones only.

    Raises:
        SslkitError: If the packages are not installed; when the recipe is built, before anything trains.
    """
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise SslkitError(f'builtin.onnx needs {", ".join(missing)}: pip install "sslkit[onnx]"')

    def write(pretrained: Pretrained, folder: Path) -> list[Path]:
        """Write the graph.

        Raises:
            SslkitError: If the backbone cannot be exported, or does not come back as it was.
        """
        target = Path(folder) / "onnx"
        target.mkdir(parents=True, exist_ok=True)
        path = target / "model.onnx"
        portable = Portable(pretrained)
        _write(portable, example_images(pretrained, 2), path, opset)
        # onnxruntime has no types of its own to check against.
        session = import_module("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for count in (1, 3):
            images = example_images(pretrained, count)
            [found] = session.run(None, {"images": images.numpy()})
            require_equal(portable(images), torch.from_numpy(found), path)
        usage = f"# operators: opset {opset}\n{_USAGE}"
        return [*sorted(target.glob("model.onnx*")), write_card(pretrained, folder, target, usage)]

    return write


def _write(portable: Portable, images: torch.Tensor, path: Path, opset: int) -> None:
    num_bytes = sum(tensor.nbytes for tensor in portable.state_dict().values())
    try:
        torch.onnx.export(
            portable,
            (images,),
            path,
            dynamo=True,
            opset_version=opset,
            input_names=["images"],
            output_names=["features"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            external_data=num_bytes > 0.9 * _LIMIT,
            verbose=False,
        )
    except Exception as error:  # whatever comes up in the backbone's own code
        raise SslkitError(
            f"the backbone cannot be exported to ONNX: {type(error).__name__}: {one_line(error)}; builtin.pt2 may"
        ) from error
