"""The contracts between the engine and components. Structural: no base class, nothing to inherit.

Shapes, once for the whole project: B images of the local batch, V views, N = V * B, C, H, W an image,
D a feature, P a projection, K random numbers per view. `batch_size` is always global.

Called by nobody at run time: these are the types that `build` checks and the rest of the engine relies on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sslkit.engine.randomness import step_seed, uniforms_beside

Tree: TypeAlias = Any
"""Tensors [b, ...] in any nesting of lists, tuples and dicts."""


class LossOutput(NamedTuple):
    """A loss with what there is to say about it.

    Attributes:
        loss: Scalar to minimise.
        metrics: Scalars to log, detached; names become columns of `metrics.jsonl`.
    """

    loss: Tensor
    metrics: dict[str, Tensor]

    @classmethod
    def of(cls, loss: Loss) -> LossOutput:
        """Return a loss of either form in this one."""
        return cls(*loss) if isinstance(loss, tuple) else cls(loss, {})


Loss: TypeAlias = Tensor | tuple[Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class Progress:
    """Where a pretraining stands. Everything scheduled is a pure function of it.

    Attributes:
        step: Steps done before this one, from 0.
        total_steps: Steps of the whole pretraining.
        steps_per_epoch: Steps of one pass over the data; a fraction is allowed.
        measured: This step's metrics are logged; an objective may leave out costly ones in the others.
    """

    step: int
    total_steps: int
    steps_per_epoch: float
    measured: bool = True

    @property
    def epoch(self) -> int:
        """Number of the current epoch, from 0."""
        return int(self.step / self.steps_per_epoch)

    @property
    def fraction(self) -> float:
        """Share of the pretraining that is done, 0 to 1."""
        return self.step / self.total_steps


@dataclass(frozen=True)
class Batch:
    """What a method sees in one step.

    Attributes:
        views: V tensors [B, C, h, w]: what the view generator made, after the normalisation that belongs to the
            backbone, if it has one; sizes may differ between views (global crops first). Where the batch is embedded in
            micro-batches, those of the whole batch are made when somebody looks at them.
        indices: int64 [B], positions in the dataset.
        labels: int64 [B], -1 where there is none; or int8 [B, classes] with 1 present, 0 absent, -1 difficult.
        progress: Where the pretraining stands.
        seed: The run's.
    """

    views: Sequence[Tensor]
    indices: Tensor
    labels: Tensor
    progress: Progress
    seed: int = 0

    def __len__(self) -> int:
        """Return the number of images, B."""
        return len(self.indices)

    def __getitem__(self, part: slice) -> Batch:
        """Return the samples of a slice, all views of each."""
        return replace(
            self,
            views=[view[part] for view in self.views],
            indices=self.indices[part],
            labels=self.labels[part],
        )

    def uniforms(self, num_draws: int) -> Tensor:
        """Return random numbers for each image, float32 [B, K] in [0, 1), on the device of the images.

        For what a method draws itself, such as masks. They follow from seed, step and index alone: an image has the
        same ones on any number of ranks, in any micro-batch and after a resume, which torch's generator does not
        promise. All calls within a step draw the same numbers: draw once.

        Args:
            num_draws: Numbers for each image, K.
        """
        return uniforms_beside(self.indices, step_seed(self.seed, self.progress.step), num_draws)


class Views(Protocol):
    """Makes V views of every image, in three parts: draws on the host, pixels in the worker and on the device.

    Optional: `whole_images = True` says that `prepare` returns the image as it is, ([1, C, H, W],): then equal-
    sized sets need no loader. `describe(draws, height, width) -> list of V {name: short text}` names what draws
    [V, K] mean for an image of that size; `sslkit preview` shows it under each view. `compile()`, called once
    before the first step of a run with `--compile`, has the pixel work compiled on first use. A generator may instead
    have only `prepare(image) -> V images`; the engine then seeds Python, numpy and torch from its sample's key.
    """

    num_views: int

    def draw(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.float32]:
        """Return every random number of the views, float32 [B, V, K], from one key per sample (uint64 [B])."""

    def prepare(self, image: Any, draws: npt.NDArray[np.float32]) -> tuple[Tensor, ...]:
        """Return uint8 [v, C, S, S] per output size, from one PIL or uint8 [C, H, W] image and draws [V, K]."""

    def apply(self, groups: Sequence[Tensor], draws: Tensor) -> list[Tensor]:
        """Return V tensors [B, C, h, w] in [0, 1] from uint8 [B, v, C, S, S] per size; pure, fixed shapes."""


@runtime_checkable
class Backbone(Protocol):
    """A module with `forward [N, C, h, w] -> [N, D]`; the part kept after pretraining.

    Optional: `no_weight_decay() -> names` (timm's convention; any other module may have it too); `trained_with`, for a
    backbone that brings its weights along: {mean, std, input_size} of the images that they were trained on.
    """

    feature_dim: int

    def __call__(self, images: Tensor) -> Tensor:
        """Return features h, [N, D]."""


@runtime_checkable
class Head(Protocol):
    """A module with `forward [N, D] -> [N, P]`, made by `(in_dim, *, ...)`."""

    out_dim: int

    def __call__(self, features: Tensor) -> Tensor:
        """Return projections z, [N, P]."""


class Objective(Protocol):
    """Any callable; it declares by name what it wants beside the projections: labels, indices, progress.

    It is given the rows of the global batch, on every rank the same, and torch is seeded alike on all ranks; where a
    run computes in bf16 it is called outside of autocast. With `rank_local = True` it is given its rank's own rows and
    gathers the others' itself: it then returns the loss of the global batch and leaves W times its gradient on the own
    rows. `min_views`: how many views of an image it compares at least. `needs_labels = True`: data without labels is
    refused.
    """

    def __call__(self, projections: list[Tensor]) -> Loss:
        """Return the loss of V projections [B, P], float32."""


class Dataset(Protocol):
    """A map-style dataset of (image, label): image PIL (from `sslkit.open_image`) or uint8 [C, H, W].

    The label is an int, -1 for none, or int8 [classes] with 1 present, 0 absent, -1 difficult. An image that cannot
    be read raises `sslkit.BadImageError`.

    Optional: `labels`, of all images in one array, which evaluations need beside a table; `fingerprint() -> str`, equal
    as long as paths, sizes and labels are; `describe(index) -> str`, the name of an image in messages.
    """

    def __len__(self) -> int:
        """Return the number of images."""

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return one image and its label."""


class Data(Protocol):
    """A data component, made by `(root, *, ...)` or `(*, ...)`.

    Optional: `table(name) -> uint8 [n, C, H, W] | None` for small equal-sized sets; `on_bad_image`, "raise" (default)
    or "replace", and `max_bad_fraction` (0.2), the share of a split's images that may then be bad; `metric`, what the
    literature reports: "top1", "mean_per_class" or "voc_map"; `name`, what the set is called; `factors(name) -> {name:
    int64 [n]}`, ground truth beside the label.
    """

    num_classes: int | None
    class_names: Sequence[str] | None

    def split(self, name: str) -> Dataset:
        """Return the split `pretrain`, `train`, `validation` or `test`; AbsentError if there is none."""


def dataset_of(data: Data | Dataset, split: str) -> Dataset:
    """Return a split of a data component, or a plain data set as it is.

    Raises:
        DataError: (by the component) There is no such split.
    """
    # torchvision's data sets have a `split` too: a word.
    return data.split(split) if callable(getattr(data, "split", None)) else data  # type: ignore[union-attr,return-value]


class Method(Protocol):
    """A module that turns a batch into a loss: either `forward(batch)`, or `embed` and `loss`.

    `embed(batch)` is per sample, replayable and changes nothing but BatchNorm statistics; it returns tensors [B, ...],
    such as a list of one [B, D] for each view. `loss(embeddings, batch)` runs once a step on the rank's whole batch.
    Optional: `after_backward(progress)`,
    `after_step(progress)`; `min_views`, how many views of an image it compares at least; as on any module,
    `constant_learning_rate() -> names` of parameters whose learning rate no schedule changes.
    """

    backbone: nn.Module

    def __call__(self, batch: Batch) -> Loss:
        """Return the loss of a batch."""


def embeds(method: object) -> bool:
    """Return whether a method is of the form with `embed` and `loss`."""
    return hasattr(method, "embed") and hasattr(method, "loss")


Schedule: TypeAlias = Callable[[Progress], float]
"""A factor on a base value; a pure function of the progress."""


@dataclass(frozen=True)
class Normalisation:
    """Per-channel mean and standard deviation of images in [0, 1]; part of the backbone artifact."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def on(self, device: torch.device) -> nn.Module:
        """Return the module images [N, C, h, w] -> (images - mean) / std, its constants already on `device`."""
        return _Normalise(self.mean, self.std).to(device)


class _Normalise(nn.Module):
    """Its constants move with whatever it is a part of, and are in no state dictionary."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


@dataclass
class Outcome:
    """What one evaluation found.

    Attributes:
        headline: The name of the metric that stands for the evaluation.
        metrics: Metric name to value; accuracies are fractions.
        predictions: Arrays to keep beside the scores, one entry per test image: `predicted`, `label`, ...
        split: What was scored.
    """

    headline: str
    metrics: dict[str, float]
    predictions: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    split: str = "test"


class Features(NamedTuple):
    """Features of one split on the CPU: values float32 [n, D], labels int64 [n] or int8 [n, classes]."""

    values: Tensor
    labels: Tensor


class Pretrained(Protocol):
    """Frozen weights as an evaluation sees them: what to measure, and the modules behind it.

    An evaluation that trains the backbone does so with a copy; the engine checks that this one stays as it is.

    Attributes:
        measure: What is measured: "h", "z", the name of a layer of the backbone, "head." and that of a layer of the
            head, or "pixels".
        backbone: The module, in eval mode, without gradients.
        head: The projection head, or None.
        normalisation: What the engine applies before the backbone, or None.
        input_size: Side of the square images that the backbone is fed, pixels.
        central_share: Of the shorter side of an image, what is kept when it is fitted to that.
        seed: The run's seed, for whatever the evaluation draws.
        workers: Loader processes for image files.
        source: The folder that the weights come from: a run's, or that of their file; None if they were made here.
        is_trained: Whether these are weights that something has learned, and not a random baseline.
        notes: Numbers that a long evaluation wants to find again after a stop; the same on all ranks.
        checkpoints: Folder for checkpoints of what it trains, removed once it is through; None keeps none.
    """

    measure: str
    backbone: nn.Module
    head: nn.Module | None
    normalisation: Normalisation | None
    input_size: int
    central_share: float
    seed: int
    workers: int
    source: Path | None
    is_trained: bool
    notes: MutableMapping[str, float]
    checkpoints: Path | None

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""

    def embed(self, images: Tensor) -> Tensor:
        """Return the measured layer's features [N, D] of images [N, C, h, w] in [0, 1], on the device, no gradient."""

    def images(self, data: Data, split: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Return a split in batches of images as `features` sees them, uint8 [b, C, S, S], and labels; on the CPU."""

    def features(self, data: Data, split: str) -> Features:
        """Return the measured layer's features of a split, computed once however many evaluations ask."""


Evaluation: TypeAlias = Callable[[Pretrained, Data], Outcome]
"""Optional attributes: `needs_labels = True` (see `needs_labels`): data without labels is refused before a run begins;
`check(backbone, measure, data)`, which raises before a run begins what the evaluation would raise for these weights and
data; it may want the projection head as well, `check(backbone, measure, data, head)`."""


def needs_labels(evaluation: Evaluation) -> Evaluation:
    """Mark an evaluation that cannot do without labels; a decorator."""
    evaluation.needs_labels = True  # type: ignore[attr-defined]
    return evaluation


Exporter: TypeAlias = Callable[[Pretrained, Path], list[Path]]
OptimizerFactory: TypeAlias = Callable[[Iterable[Mapping[str, Any]]], torch.optim.Optimizer]
