"""SimCLR for sslkit: its views, backbone, head, objective and optimizer.

The public names of the package. They load on first use, so that importing this page imports no torch; other
plugins import from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import load_on_use

if TYPE_CHECKING:
    from sslkit_simclr.distillation import Distillation
    from sslkit_simclr.evaluations.head_spectrum import head_spectrum
    from sslkit_simclr.evaluations.histogram_shortcut import histogram_shortcut
    from sslkit_simclr.evaluations.transform_probe import transform_probe
    from sslkit_simclr.lars import LARS
    from sslkit_simclr.margin_triplet import MarginTriplet
    from sslkit_simclr.mlp import MLP
    from sslkit_simclr.multi_crop import MultiCrop
    from sslkit_simclr.nt_logistic import NTLogistic
    from sslkit_simclr.nt_xent import NTXent
    from sslkit_simclr.one_branch import OneBranch
    from sslkit_simclr.resnet import simclr_resnet
    from sslkit_simclr.two_crops import TwoCrops

__version__ = "0.1.0"

__all__ = [
    "LARS",
    "MLP",
    "Distillation",
    "MarginTriplet",
    "MultiCrop",
    "NTLogistic",
    "NTXent",
    "OneBranch",
    "TwoCrops",
    "head_spectrum",
    "histogram_shortcut",
    "simclr_resnet",
    "transform_probe",
]
__getattr__, __dir__ = load_on_use(
    __name__,
    {
        "Distillation": "sslkit_simclr.distillation",
        "LARS": "sslkit_simclr.lars",
        "MLP": "sslkit_simclr.mlp",
        "MarginTriplet": "sslkit_simclr.margin_triplet",
        "MultiCrop": "sslkit_simclr.multi_crop",
        "NTLogistic": "sslkit_simclr.nt_logistic",
        "NTXent": "sslkit_simclr.nt_xent",
        "OneBranch": "sslkit_simclr.one_branch",
        "TwoCrops": "sslkit_simclr.two_crops",
        "head_spectrum": "sslkit_simclr.evaluations.head_spectrum",
        "histogram_shortcut": "sslkit_simclr.evaluations.histogram_shortcut",
        "simclr_resnet": "sslkit_simclr.resnet",
        "transform_probe": "sslkit_simclr.evaluations.transform_probe",
    },
)
