"""What this plugin offers. Called by sslkit's discovery through the entry point `simclr`; imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import hookimpl

if TYPE_CHECKING:
    from sslkit import Register

SSLKIT_API = 1


@hookimpl
def sslkit_register(register: Register) -> None:
    """Register the components of SimCLR under the names `simclr.<file>`."""
    register.views(
        "two_crops",
        "sslkit_simclr.two_crops:TwoCrops",
        summary="Random crop, flip, colour jitter, grayscale and blur, drawn twice per image; all studied operations.",
    )
    register.views(
        "multi_crop",
        "sslkit_simclr.multi_crop:MultiCrop",
        summary="Groups of such views, each with options of its own: multi-crop, and asymmetric views.",
    )
    register.views(
        "one_branch",
        "sslkit_simclr.one_branch:OneBranch",
        summary="One crop twice, one or two operations on one of the two only: the study of figure 5.",
    )
    register.backbone(
        "resnet",
        "sslkit_simclr.resnet:simclr_resnet",
        summary="timm ResNet with the paper's CIFAR stem, widths and initialisation.",
    )
    register.head(
        "mlp",
        "sslkit_simclr.mlp:MLP",
        summary="Projection head of 0 to 3 linear layers with batch normalisation.",
    )
    register.objective(
        "nt_xent",
        "sslkit_simclr.nt_xent:NTXent",
        summary="Normalised temperature-scaled cross-entropy between views; SupCon and DCL are options.",
    )
    register.objective(
        "nt_logistic",
        "sslkit_simclr.nt_logistic:NTLogistic",
        summary="Logistic loss of every pair of projections, alone: NT-Xent's rival in table 4 of the paper.",
    )
    register.objective(
        "margin_triplet",
        "sslkit_simclr.margin_triplet:MarginTriplet",
        summary="Positives more similar than negatives by a margin: NT-Xent's rival in table 4 of the paper.",
    )
    register.optimizer(
        "lars",
        "sslkit_simclr.lars:LARS",
        summary="Momentum with layer-wise adaptive rates, for large batches.",
    )
    register.method(
        "distillation",
        "sslkit_simclr.distillation:Distillation",
        summary="A student learns the class probabilities of a frozen teacher: the last step of SimCLRv2.",
    )
    register.evaluation(
        "transform_probe",
        "sslkit_simclr.evaluations.transform_probe:transform_probe",
        summary="What features know about colour drop, rotation, noise and Sobel: table 3 of the paper.",
    )
    register.evaluation(
        "histogram_shortcut",
        "sslkit_simclr.evaluations.histogram_shortcut:histogram_shortcut",
        summary="Whether histograms of intensity alone tell which crops belong together: figure 6 of the paper.",
    )
    register.evaluation(
        "head_spectrum",
        "sslkit_simclr.evaluations.head_spectrum:head_spectrum",
        summary="How many directions a linear projection head keeps: figure B.3 of the paper.",
    )
