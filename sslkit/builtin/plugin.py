"""The entry of sslkit's own components: names, string targets and one line each, nothing imported.

Enters: the `register` of the registry. Leaves: one row per component under the namespace `builtin`. Called by
plugin discovery, in code rather than through metadata, so that a damaged installation cannot disable it. Never
imports torch: `sslkit plugins` must answer at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import hookimpl

if TYPE_CHECKING:
    from sslkit import Register

SSLKIT_API = 1


@hookimpl
def sslkit_register(register: Register) -> None:
    """Register every component that comes with sslkit.

    Args:
        register: Takes a name, a string target `module:attribute` and a summary, one method per kind.
    """
    register.method(
        "joint_embedding",
        "sslkit.builtin.methods.joint_embedding:JointEmbedding",
        summary="Backbone on all views at once, then a head, then an objective on the projections.",
    )
    register.backbone(
        "timm",
        "sslkit.builtin.backbones.timm:timm_backbone",
        summary="Any model of timm with pooled features and without a classifier.",
    )
    register.backbone(
        "timm_pretrained",
        "sslkit.builtin.backbones.timm_pretrained:timm_pretrained",
        summary="A model of timm with the weights that timm offers for it.",
    )
    register.views(
        "crop_flip",
        "sslkit.builtin.views.crop_flip:CropFlip",
        summary="Random crop, resized, and mirrored half of the time: what classifiers are trained on.",
    )
    register.head(
        "classifier",
        "sslkit.builtin.heads.classifier:Classifier",
        summary="One linear layer to a logit for every class of the data: supervised pretraining.",
    )
    register.head(
        "mlp",
        "sslkit.builtin.heads.mlp:MLPHead",
        summary="A multi-layer perceptron, with batch normalisation where it is asked for: most methods' head.",
    )
    register.objective(
        "cross_entropy",
        "sslkit.builtin.objectives.cross_entropy:CrossEntropy",
        summary="Cross-entropy with the labels; binary for every class where images have several.",
    )
    register.data(
        "shapes",
        "sslkit.builtin.data.shapes:Shapes",
        summary="A procedural set of textured shapes: nothing to download, colour and place are nuisances.",
    )
    register.data(
        "image_folder",
        "sslkit.builtin.data.image_folder:ImageFolder",
        summary="A folder of images, with one subfolder per class if there are labels.",
    )
    register.data(
        "image_list",
        "sslkit.builtin.data.image_list:ImageList",
        summary="Images that a list names: CSV, TSV or one path a line, with or without labels.",
    )
    register.data(
        "tar_shards",
        "sslkit.builtin.data.tar_shards:TarShards",
        summary="Images in tar files as WebDataset writes them, read at random through an index.",
    )
    register.data(
        "arrays",
        "sslkit.builtin.data.arrays:Arrays",
        summary="Images in .npy files, uint8 of one size with any number of channels.",
    )
    register.data(
        "torchvision_sets",
        "sslkit.builtin.data.torchvision_sets:TorchvisionSets",
        summary="The classification sets of torchvision, with the splits that the literature uses.",
    )
    register.data(
        "transfer_sets",
        "sslkit.builtin.data.transfer_sets:TransferSets",
        summary="The twelve sets of SimCLR's transfer evaluation, with their splits and metrics.",
    )
    register.data(
        "imagenet",
        "sslkit.builtin.data.imagenet:ImageNet",
        summary="ImageNet in class folders, with all labels or the published 10 % or 1 % of them.",
    )
    register.evaluation(
        "linear",
        "sslkit.builtin.evaluations.linear:linear",
        summary="A linear classifier on frozen features, its learning rate chosen on validation images.",
    )
    register.evaluation(
        "linear_augmented",
        "sslkit.builtin.evaluations.linear_augmented:linear_augmented",
        summary="The paper's linear evaluation: frozen features of images cropped and mirrored anew in every epoch.",
    )
    register.evaluation(
        "own_classifier",
        "sslkit.builtin.evaluations.own_classifier:own_classifier",
        summary="The head's own outputs as scores, of weights that were pretrained with labels.",
    )
    register.evaluation(
        "fine_tune",
        "sslkit.builtin.evaluations.fine_tune:fine_tune",
        summary="The network trained on, on all labels or a few, its rate and decay chosen on validation images.",
    )
    register.evaluation(
        "logistic_regression",
        "sslkit.builtin.evaluations.logistic_regression:logistic_regression",
        summary="L2-regularised logistic regression on frozen features, its strength chosen on validation images.",
    )
    register.evaluation(
        "knn",
        "sslkit.builtin.evaluations.knn:knn",
        summary="Weighted vote of the nearest training images by cosine similarity, exact.",
    )
    register.evaluation(
        "factor_probe",
        "sslkit.builtin.evaluations.factor_probe:factor_probe",
        summary="What features know about the factors that made an image, where the data know those.",
    )
    register.evaluation(
        "feature_health",
        "sslkit.builtin.evaluations.feature_health:feature_health",
        summary="RankMe, alpha-ReQ, LiDAR, alignment, uniformity and deviations: whether features have collapsed.",
    )
    register.optimizer(
        "sgd",
        "sslkit.builtin.optimizers.sgd:sgd",
        summary="Stochastic gradient descent with momentum.",
    )
    register.optimizer(
        "adamw",
        "sslkit.builtin.optimizers.adamw:adamw",
        summary="Adam with decoupled weight decay.",
    )
    register.schedule(
        "cosine",
        "sslkit.builtin.schedules.cosine:cosine",
        summary="Linear warm-up from zero, then one cosine down to a final factor.",
    )
    register.schedule(
        "constant",
        "sslkit.builtin.schedules.constant:constant",
        summary="The base value throughout, after an optional linear warm-up.",
    )
    register.exporter(
        "timm",
        "sslkit.builtin.exporters.timm:export_timm",
        summary='A folder that `timm.create_model("local-dir:...", pretrained=True)` loads, verified by doing so.',
    )
    register.exporter(
        "huggingface_folder",
        "sslkit.builtin.exporters.huggingface_folder:export_huggingface_folder",
        summary="A folder to upload to a model hub: timm's files, and a model card with the hub's header.",
    )
    register.exporter(
        "onnx",
        "sslkit.builtin.exporters.onnx:export_onnx",
        summary="An ONNX graph of images in [0, 1], run in onnxruntime before it counts.",
    )
    register.exporter(
        "pt2",
        "sslkit.builtin.exporters.pt2:export_pt2",
        summary="A program of torch.export of images in [0, 1], which torch runs without sslkit.",
    )
    register.callback(
        "console",
        "sslkit.builtin.callbacks.console:Console",
        summary="Progress and results at the terminal; always attached.",
    )
    register.callback(
        "jsonl",
        "sslkit.builtin.callbacks.jsonl:Jsonl",
        summary="One line of metrics.jsonl per step; always attached.",
    )
    register.callback(
        "tensorboard",
        "sslkit.builtin.callbacks.tensorboard:TensorBoard",
        summary="Metrics and scores as TensorBoard scalars.",
    )
    register.callback(
        "online",
        "sslkit.builtin.callbacks.online:Online",
        summary="Accuracies and health of the backbone while it is trained, and an alarm when it collapses.",
    )
