"""What the backbone is worth while it is still being trained, and an alarm when it collapses.

Enters: a few images with labels, kept on the device. Leaves: accuracies and health in the metrics of some steps. Called
by the engine on the first rank, where a recipe lists `builtin.online` under `[[pretrain.callbacks]]`.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn.functional import normalize

from sslkit import Data, DataError, hookimpl, world_size
from sslkit.builtin.callbacks.collapse_alarm import CollapseAlarm
from sslkit.builtin.callbacks.probe import Probe
from sslkit.builtin.callbacks.resident import Resident
from sslkit.builtin.callbacks.undisturbed import undisturbed
from sslkit.builtin.evaluations.knn import knn_votes
from sslkit.builtin.evaluations.spectrum import rankme

if TYPE_CHECKING:
    from sslkit import PretrainState

_TEMPERATURE = 0.07  # of the neighbours' votes, as in builtin.knn
_RANKED = 256  # images whose RankMe is taken: an eigendecomposition of some milliseconds
_AT_ONCE = 256  # images that are embedded together
_BUDGET = 0.01  # of the time of a step, for what is measured at the default interval
_PASSES = 3  # forward passes that a training step takes for each view: one, and a backward worth two

logger = logging.getLogger("sslkit")


class Online:
    """Measure the backbone every so many steps, on a few images that are read once, and watch for collapse.

    Every `every` steps, in eval mode: `online_linear_top1`, a linear classifier that follows the backbone with an
    optimizer of its own, `online_knn_top1`, and `online_rankme_h` and `online_rankme_z` of 256 images. Every
    `check_every` steps, with BatchNorm as it is in training: `online_std_h` and `online_std_z`, the mean deviation of
    the normalised features (1 is spread evenly, 0 all alike), and `online_dims_h` and `online_dims_z`, the
    participation ratio of their variances, of up to 64 images. They stand in `metrics.jsonl` among the other numbers of
    the step. Two bad checks in a row of z (of h, where there is no head) raise an alarm: a warning, once for each
    onset.

    An online number is there to see whether a training works, and to compare curves. It is no score: the images are
    few, nobody tuned the classifier, and the backbone moves under it. Report `builtin.linear` and `builtin.knn` of the
    finished backbone; and if the numbers are of `test`, choose nothing by them.

    Weights, BatchNorm statistics, learning rates and random numbers of the training are bit for bit what they are
    without it, and the classifier's state is in the checkpoints. Data without one class for every image give health
    only.

    Args:
        data: Whose images: from the split `train` or, without one, `pretrain`.
        every: Steps between two measurements; the last step is measured, too. None measures as often as costs about 1 %
            of the time of the steps, at least every fifth check.
        check_every: Steps between two looks for a collapse.
        images: Images to learn from, as many of each class as can be; half as many are for scoring.
        k: Neighbours that vote.
        learning_rate: Of the linear classifier.
        score_split: Where accuracies are taken; None takes `validation`, else `test`, else images of the first split
            that the classifier does not see.

    Raises:
        DataError: (when the pretraining starts) If there are no such images, or of other channels.
    """

    def __init__(
        self,
        data: Data,
        *,
        every: Annotated[int, Ge(1)] | None = None,
        check_every: Annotated[int, Ge(1)] = 10,
        images: Annotated[int, Ge(16)] = 1024,
        k: Annotated[int, Ge(1)] = 20,
        learning_rate: Annotated[float, Gt(0)] = 1.0,
        score_split: Literal["validation", "test", "train"] | None = None,
    ) -> None:
        self._data = data
        self._every = every
        self._check_every = check_every
        self._images = images
        self._k = k
        self._score_split = score_split
        self._probe = Probe(learning_rate)
        self._alarm = CollapseAlarm()
        self._resident: Resident | None = None

    @hookimpl
    def sslkit_pretrain_start(self, state: PretrainState) -> None:
        """Read the images and say what will be measured."""
        if state.step == state.total_steps:
            return
        pretraining = state.pretraining
        channels, size, _ = pretraining.view_shape
        resident = Resident.read(self._data, size, self._images, self._score_split, pretraining.stepper.device)
        if resident.fit.shape[1] != channels:
            raise DataError(
                f"builtin.online: its images have {resident.fit.shape[1]} channels, but the backbone takes {channels}; "
                "give it other data"
            )
        self._resident = resident
        self._is_labelled = resident.is_labelled
        per_step = state.batch_size // world_size() * pretraining.stepper.views.num_views
        self._num_checked = max(16, min(64, per_step // 4))
        self._interval = self._every or self._affordable(len(resident.fit) + len(resident.score), per_step)
        logger.info("online: %s, every %d steps", resident.origin, self._interval)
        if not self._is_labelled:
            logger.info("online: these images have not one class each; their health is measured, no accuracy")

    @hookimpl
    def sslkit_step_end(self, state: PretrainState, metrics: dict[str, Any]) -> None:
        """Measure, if it is time to."""
        if state.step % self._check_every == 0:
            metrics.update(self._check(state))
        if state.step % self._interval == 0 or state.step == state.total_steps:
            metrics.update(self._measure(state))

    @hookimpl
    def sslkit_metrics(self, record: dict[str, float]) -> None:
        """Look at what a check has found, once it has come from the device by itself."""
        measure = "z" if "online_std_z" in record else "h"
        if f"online_std_{measure}" not in record:
            return
        deviation, directions = record[f"online_std_{measure}"], record[f"online_dims_{measure}"]
        found = self._alarm.hear(deviation, directions, self._dims[measure])
        if found is not None:
            logger.warning(
                "step %d: collapse: the embeddings %s of %d images %s; the usual cure is a lower learning rate or a "
                "longer warm-up, or an objective that keeps images apart (negatives, a stopped gradient, a variance)",
                int(record["step"]), measure, self._num_checked, found,
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the classifier and the alarm."""
        return {"probe": self._probe.state_dict(), "alarm": self._alarm.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._probe.load_state_dict(state["probe"])
        self._alarm.load_state_dict(state["alarm"])

    def _affordable(self, num_images: int, per_step: int) -> int:
        checks = math.ceil(num_images / (_BUDGET * _PASSES * per_step) / self._check_every)
        return self._check_every * max(5, checks)

    def _check(self, state: PretrainState) -> dict[str, Tensor]:
        assert self._resident is not None
        with undisturbed(state.method, batch_statistics=True):
            found = _embedded(state, self._resident.fit[: self._num_checked])
            self._dims = {name: values.shape[1] for name, values in found.items()}
            metrics = {}
            for name, values in found.items():
                spread = normalize(values, dim=1).std(dim=0, correction=0) * values.shape[1] ** 0.5
                centred = values - values.mean(dim=0)
                gram = centred @ centred.T
                metrics[f"online_std_{name}"] = spread.mean()
                metrics[f"online_dims_{name}"] = gram.trace().square() / gram.square().sum().clamp(min=1e-30)
        return metrics

    def _measure(self, state: PretrainState) -> dict[str, Tensor]:
        assert self._resident is not None
        resident, device = self._resident, state.pretraining.stepper.device
        with undisturbed(state.method):
            fit = _embedded(state, resident.fit)
            numbers = {f"online_rankme_{name}": rankme(values[:_RANKED].cpu()) for name, values in fit.items()}
            metrics = {name: torch.tensor(number, device=device) for name, number in numbers.items()}
            if self._is_labelled:
                metrics |= self._accuracies(fit["h"], _embedded(state, resident.score)["h"], state.step)
        return metrics

    def _accuracies(self, fit: Tensor, score: Tensor, step: int) -> dict[str, Tensor]:
        assert self._resident is not None
        labels, truth = self._resident.fit_labels, self._resident.score_labels
        num_classes = int(max(labels.max(), truth.max())) + 1
        self._probe.follow(fit, labels, num_classes, seed=step)
        votes = knn_votes(score, fit, labels.cpu(), num_classes, min(self._k, len(fit)), _TEMPERATURE)
        return {
            "online_linear_top1": self._probe.accuracy(score, truth),
            "online_knn_top1": (votes.argmax(dim=1).to(truth.device) == truth).float().mean(),
        }


def _embedded(state: PretrainState, images: Tensor) -> dict[str, Tensor]:
    """Return h and, where there is a head, z of uint8 images, float32 [n, D], on the device."""
    stepper, head = state.pretraining.stepper, getattr(state.method, "head", None)
    found: dict[str, list[Tensor]] = {}
    half = stepper.precision == "bf16"
    with torch.autocast(stepper.device.type, dtype=torch.bfloat16, enabled=half):
        for part in torch.split(images, _AT_ONCE):
            pixels = part.float() / 255
            if stepper.normalise is not None:
                pixels = stepper.normalise(pixels)
            h = state.method.backbone(pixels.contiguous(memory_format=torch.channels_last))
            found.setdefault("h", []).append(h.float())
            if isinstance(head, nn.Module):
                found.setdefault("z", []).append(head(h).float())
    return {name: torch.cat(parts) for name, parts in found.items()}
