"""sslkit: self-supervised vision pretraining and evaluation, from plugins and recipes.

The whole public API is on this page. Names load on first use, so that `import sslkit` stays light; plugins and
sslkit's own components import from here and from nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit.lazy import load_on_use as load_on_use

if TYPE_CHECKING:
    from sslkit.builtin.backbones.timm import timm_backbone as timm_backbone
    from sslkit.builtin.callbacks.console import Console as Console
    from sslkit.builtin.callbacks.online import Online as Online
    from sslkit.builtin.data.arrays import Arrays as Arrays
    from sslkit.builtin.data.image_folder import ImageFolder as ImageFolder
    from sslkit.builtin.data.image_list import ImageList as ImageList
    from sslkit.builtin.data.imagenet import ImageNet as ImageNet
    from sslkit.builtin.data.shapes import Shapes as Shapes
    from sslkit.builtin.data.tar_shards import TarShards as TarShards
    from sslkit.builtin.data.torchvision_sets import TorchvisionSets as TorchvisionSets
    from sslkit.builtin.data.transfer_sets import TransferSets as TransferSets
    from sslkit.builtin.evaluations.classification import classification_outcome as classification_outcome
    from sslkit.builtin.evaluations.feature_health import feature_health as feature_health
    from sslkit.builtin.evaluations.fine_tune import fine_tune as fine_tune
    from sslkit.builtin.evaluations.knn import knn as knn
    from sslkit.builtin.evaluations.labelled import balanced_holdout as balanced_holdout
    from sslkit.builtin.evaluations.labelled import check_labels as check_labels
    from sslkit.builtin.evaluations.labelled import checked_labels as checked_labels
    from sslkit.builtin.evaluations.labelled import count_classes as count_classes
    from sslkit.builtin.evaluations.labelled import has_split as has_split
    from sslkit.builtin.evaluations.labelled import labelled_features as labelled_features
    from sslkit.builtin.evaluations.labelled import labels_of as labels_of
    from sslkit.builtin.evaluations.labelled import training_features as training_features
    from sslkit.builtin.evaluations.linear import linear as linear
    from sslkit.builtin.evaluations.linear_augmented import linear_augmented as linear_augmented
    from sslkit.builtin.evaluations.logistic_regression import logistic_regression as logistic_regression
    from sslkit.builtin.evaluations.mlp_probe import MLPProbe as MLPProbe
    from sslkit.builtin.evaluations.own_classifier import own_classifier as own_classifier
    from sslkit.builtin.evaluations.spectrum import alpha_req as alpha_req
    from sslkit.builtin.evaluations.spectrum import lidar as lidar
    from sslkit.builtin.evaluations.spectrum import rankme as rankme
    from sslkit.builtin.heads.classifier import Classifier as Classifier
    from sslkit.builtin.heads.mlp import MLPHead as MLPHead
    from sslkit.builtin.methods.joint_embedding import JointEmbedding as JointEmbedding
    from sslkit.builtin.methods.joint_embedding import embed_views as embed_views
    from sslkit.builtin.methods.momentum_copy import MomentumCopy as MomentumCopy
    from sslkit.builtin.methods.momentum_copy import rising_momentum as rising_momentum
    from sslkit.builtin.objectives.cross_entropy import CrossEntropy as CrossEntropy
    from sslkit.builtin.optimizers.adamw import adamw as adamw
    from sslkit.builtin.optimizers.sgd import sgd as sgd
    from sslkit.builtin.schedules.constant import constant as constant
    from sslkit.builtin.schedules.cosine import cosine as cosine
    from sslkit.builtin.views.crop import Boxes as Boxes
    from sslkit.builtin.views.crop import CropRule as CropRule
    from sslkit.builtin.views.crop import crop_boxes as crop_boxes
    from sslkit.builtin.views.crop_flip import CropFlip as CropFlip
    from sslkit.builtin.views.cropper import Cropper as Cropper
    from sslkit.builtin.views.cropper import require_range as require_range
    from sslkit.builtin.views.resample import crop_and_resize as crop_and_resize
    from sslkit.cache import cached_arrays as cached_arrays
    from sslkit.engine.centre_crop import scaled_side as scaled_side
    from sslkit.engine.distributed import gather_rows as gather_rows
    from sslkit.engine.distributed import rank as rank
    from sslkit.engine.distributed import sum_over_ranks as sum_over_ranks
    from sslkit.engine.distributed import world_size as world_size
    from sslkit.engine.evaluate import Result as Result
    from sslkit.engine.evaluate import evaluate as evaluate
    from sslkit.engine.features import embed_folder as embed_folder
    from sslkit.engine.features import fitted_images as fitted_images
    from sslkit.engine.frozen import FrozenModel as FrozenModel
    from sslkit.engine.interfaces import Backbone as Backbone
    from sslkit.engine.interfaces import Batch as Batch
    from sslkit.engine.interfaces import Data as Data
    from sslkit.engine.interfaces import Dataset as Dataset
    from sslkit.engine.interfaces import Evaluation as Evaluation
    from sslkit.engine.interfaces import Exporter as Exporter
    from sslkit.engine.interfaces import Features as Features
    from sslkit.engine.interfaces import Head as Head
    from sslkit.engine.interfaces import Loss as Loss
    from sslkit.engine.interfaces import LossOutput as LossOutput
    from sslkit.engine.interfaces import Method as Method
    from sslkit.engine.interfaces import Normalisation as Normalisation
    from sslkit.engine.interfaces import Objective as Objective
    from sslkit.engine.interfaces import Outcome as Outcome
    from sslkit.engine.interfaces import Pretrained as Pretrained
    from sslkit.engine.interfaces import Progress as Progress
    from sslkit.engine.interfaces import Schedule as Schedule
    from sslkit.engine.interfaces import Tree as Tree
    from sslkit.engine.interfaces import Views as Views
    from sslkit.engine.interfaces import needs_labels as needs_labels
    from sslkit.engine.precision import full_precision as full_precision
    from sslkit.engine.pretrain import pretrain as pretrain
    from sslkit.engine.randomness import sample_keys as sample_keys
    from sslkit.engine.randomness import seeded as seeded
    from sslkit.engine.randomness import uniforms as uniforms
    from sslkit.engine.run import run as run
    from sslkit.engine.run_info import RunInfo as RunInfo
    from sslkit.engine.state import PretrainState as PretrainState
    from sslkit.engine.weights import load_backbone as load_backbone
    from sslkit.engine.weights import save_backbone as save_backbone
    from sslkit.engine.work import Nominal as Nominal
    from sslkit.engine.work import Work as Work
    from sslkit.errors import AbsentError as AbsentError
    from sslkit.errors import DataError as DataError
    from sslkit.errors import NonFiniteError as NonFiniteError
    from sslkit.errors import PluginError as PluginError
    from sslkit.errors import RecipeError as RecipeError
    from sslkit.errors import RunError as RunError
    from sslkit.errors import SslkitError as SslkitError
    from sslkit.images import IMAGE_SUFFIXES as IMAGE_SUFFIXES
    from sslkit.images import BadImageError as BadImageError
    from sslkit.images import open_image as open_image
    from sslkit.index import FoundImages as FoundImages
    from sslkit.index import Listing as Listing
    from sslkit.index import find_images as find_images
    from sslkit.index import list_images as list_images
    from sslkit.recipe.plan import Recipe as Recipe
    from sslkit.recipe.resolve import load_recipe as load_recipe
    from sslkit.registry.discover import Registry as Registry
    from sslkit.registry.hookspecs import hookimpl as hookimpl
    from sslkit.registry.register import Register as Register
    from sslkit.studies.scores import mean_per_class as mean_per_class
    from sslkit.studies.scores import voc_map as voc_map
    from sslkit.studies.significance import bootstrap_interval as bootstrap_interval
    from sslkit.studies.significance import mean_and_deviation as mean_and_deviation
    from sslkit.studies.wording import shown_interval as shown_interval
    from sslkit.studies.wording import shown_value as shown_value
    from sslkit.text import did_you_mean as did_you_mean
    from sslkit.text import duration as duration
    from sslkit.text import one_line as one_line
    from sslkit.text import safe_text as safe_text

__version__ = "0.1.0"

_HOMES = {
    "sslkit.builtin.backbones.timm": ("timm_backbone",),
    "sslkit.builtin.callbacks.console": ("Console",),
    "sslkit.builtin.callbacks.online": ("Online",),
    "sslkit.builtin.data.arrays": ("Arrays",),
    "sslkit.builtin.data.image_folder": ("ImageFolder",),
    "sslkit.builtin.data.image_list": ("ImageList",),
    "sslkit.builtin.data.imagenet": ("ImageNet",),
    "sslkit.builtin.data.shapes": ("Shapes",),
    "sslkit.builtin.data.tar_shards": ("TarShards",),
    "sslkit.builtin.data.torchvision_sets": ("TorchvisionSets",),
    "sslkit.builtin.data.transfer_sets": ("TransferSets",),
    "sslkit.builtin.evaluations.feature_health": ("feature_health",),
    "sslkit.builtin.evaluations.fine_tune": ("fine_tune",),
    "sslkit.builtin.evaluations.classification": ("classification_outcome",),
    "sslkit.builtin.evaluations.knn": ("knn",),
    "sslkit.builtin.evaluations.labelled": (
        "balanced_holdout",
        "check_labels",
        "checked_labels",
        "count_classes",
        "has_split",
        "labelled_features",
        "labels_of",
        "training_features",
    ),
    "sslkit.builtin.evaluations.linear": ("linear",),
    "sslkit.builtin.evaluations.logistic_regression": ("logistic_regression",),
    "sslkit.builtin.evaluations.linear_augmented": ("linear_augmented",),
    "sslkit.builtin.evaluations.mlp_probe": ("MLPProbe",),
    "sslkit.builtin.evaluations.own_classifier": ("own_classifier",),
    "sslkit.builtin.heads.classifier": ("Classifier",),
    "sslkit.builtin.heads.mlp": ("MLPHead",),
    "sslkit.builtin.evaluations.spectrum": ("alpha_req", "lidar", "rankme"),
    "sslkit.builtin.methods.joint_embedding": ("JointEmbedding", "embed_views"),
    "sslkit.builtin.methods.momentum_copy": ("MomentumCopy", "rising_momentum"),
    "sslkit.builtin.objectives.cross_entropy": ("CrossEntropy",),
    "sslkit.builtin.optimizers.adamw": ("adamw",),
    "sslkit.builtin.optimizers.sgd": ("sgd",),
    "sslkit.builtin.schedules.constant": ("constant",),
    "sslkit.builtin.schedules.cosine": ("cosine",),
    "sslkit.builtin.views.crop": ("Boxes", "CropRule", "crop_boxes"),
    "sslkit.builtin.views.crop_flip": ("CropFlip",),
    "sslkit.builtin.views.cropper": ("Cropper", "require_range"),
    "sslkit.builtin.views.resample": ("crop_and_resize",),
    "sslkit.cache": ("cached_arrays",),
    "sslkit.engine.centre_crop": ("scaled_side",),
    "sslkit.engine.distributed": ("gather_rows", "rank", "sum_over_ranks", "world_size"),
    "sslkit.engine.evaluate": ("Result", "evaluate"),
    "sslkit.engine.features": ("embed_folder", "fitted_images"),
    "sslkit.engine.frozen": ("FrozenModel",),
    "sslkit.engine.interfaces": (
        "Backbone",
        "Batch",
        "Data",
        "Dataset",
        "Evaluation",
        "Exporter",
        "Features",
        "Head",
        "Loss",
        "LossOutput",
        "Method",
        "Normalisation",
        "Objective",
        "Outcome",
        "Pretrained",
        "Progress",
        "Schedule",
        "Tree",
        "Views",
        "needs_labels",
    ),
    "sslkit.engine.precision": ("full_precision",),
    "sslkit.engine.pretrain": ("pretrain",),
    "sslkit.engine.randomness": ("sample_keys", "seeded", "uniforms"),
    "sslkit.engine.run": ("run",),
    "sslkit.engine.run_info": ("RunInfo",),
    "sslkit.engine.state": ("PretrainState",),
    "sslkit.engine.weights": ("load_backbone", "save_backbone"),
    "sslkit.engine.work": ("Nominal", "Work"),
    "sslkit.errors": (
        "AbsentError",
        "DataError",
        "NonFiniteError",
        "PluginError",
        "RecipeError",
        "RunError",
        "SslkitError",
    ),
    "sslkit.images": ("IMAGE_SUFFIXES", "BadImageError", "open_image"),
    "sslkit.index": ("FoundImages", "Listing", "find_images", "list_images"),
    "sslkit.lazy": ("load_on_use",),
    "sslkit.recipe.plan": ("Recipe",),
    "sslkit.recipe.resolve": ("load_recipe",),
    "sslkit.registry.discover": ("Registry",),
    "sslkit.registry.hookspecs": ("hookimpl",),
    "sslkit.registry.register": ("Register",),
    "sslkit.studies.scores": ("mean_per_class", "voc_map"),
    "sslkit.studies.significance": ("bootstrap_interval", "mean_and_deviation"),
    "sslkit.studies.wording": ("shown_interval", "shown_value"),
    "sslkit.text": ("did_you_mean", "duration", "one_line", "safe_text"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)
__getattr__, __dir__ = load_on_use(__name__, _HOME_OF)
