"""How fast this machine is at what a recipe does, from a few steps tried on it.

Enters: plans, backbones, and the operations that they take. Leaves: seconds per image, and how they were found. Called
by `cost`, for all runs of a study with one `Bench`: equal parts are tried once, views apart from networks, and all
trying together ends within about a minute. What would take too long is reckoned from how fast plain convolutions are.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import torch
from torch import nn

from sslkit.doctor.machine import memory
from sslkit.engine.assemble import parameter_groups
from sslkit.engine.batches import default_workers
from sslkit.engine.build import build_method
from sslkit.engine.centre_crop import fit_image
from sslkit.engine.interfaces import Progress
from sslkit.engine.known_data import Known, Sample
from sslkit.engine.operations import Network, Operations, Shape, shaping
from sslkit.engine.precision import autocast
from sslkit.engine.randomness import seeded
from sslkit.engine.step import BaseRates, Stepper
from sslkit.errors import SslkitError
from sslkit.recipe.plan import Choice, PretrainPlan
from sslkit.text import one_line

BUDGET: Final = 60.0
"""Seconds that one bench may take, about."""

_PATIENCE: Final = 20.0  # seconds for one try
_STEP: Final = 1.0  # seconds that a tried step should take, for its time to mean something
_LONG: Final = 3.0  # seconds; a longer one is not repeated
_REPEATED: Final = (3, 10)  # steps, at least and at most
_ENOUGH: Final = 1.0  # seconds of repeated steps
_FIRST: Final = 2  # images, which every BatchNorm can bear
_MOST: Final = 1024  # images of a step; larger ones are no faster
_OPENED: Final = 16  # images
_SECONDS_PER_PARAMETER: Final = 5e-8  # to draw weights; 4 to 6 on one core
_BYTES_PER_PARAMETER: Final = 16  # weight, gradient, two moments
_LAYER: Final = (16, 256, 28)  # images, channels and side of the convolution that stands for all

_RATE: Final = 1e-6  # of learning: the weights are thrown away


class Speed(NamedTuple):
    """How long one image takes.

    Attributes:
        seconds: Of the whole machine.
        found: How that is known.
    """

    seconds: float
    found: str


class _Timed(NamedTuple):
    seconds: float  # per image
    steps: int
    batch: int

    def __str__(self) -> str:
        steps = "a step" if self.steps == 1 else f"{self.steps} steps"
        rate = 1 / self.seconds
        return f"{rate:{',.0f' if rate >= 100 else '.2g'}} images/s measured over {steps} of {self.batch}"


class _Step(NamedTuple):
    """A step that was tried.

    Attributes:
        seconds: That an image takes in it, but for its views.
        timed: The whole step.
        limit: Images that it might have had.
    """

    seconds: float
    timed: _Timed
    limit: int

    def stands_for(self, limit: int) -> bool:
        """Return whether a step of other images at most would be the same: it was long enough with fewer."""
        return self.limit == limit or (self.timed.batch < self.limit and self.timed.batch <= limit)


class Bench:
    """Tries steps, and remembers how fast they were.

    Args:
        device: Where.
        budget: Seconds for everything.
    """

    def __init__(self, device: torch.device, budget: float = BUDGET) -> None:
        self.device = device
        self._left = budget
        self._known: dict[str, Speed] = {}
        self._steps: dict[str, list[_Step]] = {}
        self._rates: dict[str, float] = {}

    def pretraining(
        self, plan: PretrainPlan, seed: int, data: Known, operations: Operations, num_parameters: int
    ) -> Speed:
        """Return how long an image of a pretraining takes, all its views, forward and backward.

        A network is tried with one kind of views, and of others the views alone, as long as there is time; after that,
        others stand for them.
        """
        limit = min(plan.micro_batch_size or plan.batch_size, _MOST)
        network = _key("pretrain", plan.method, plan.backbone, plan.head, plan.precision, operations.embedded)
        whole = _key(network, shaping(plan.objective), shaping(plan.optimizer))
        exact = _key(whole, plan.views, data.image_size, data.name, limit)
        if exact in self._known:
            return self._known[exact]
        tried = self._steps.setdefault(whole, [])
        if any(step.stands_for(limit) for step in tried):
            affords = self._left > 0  # the views alone
        else:
            affords = self._affords(operations.trained * _FIRST, plan.precision, num_parameters)
        if affords:
            speed = self._tried(lambda: self._try(plan, seed, data, limit, tried), operations.trained, plan.precision)
            self._known[network] = speed._replace(found=f"{speed.found} of the same network with other views")
        elif network in self._known:
            return self._known[network]
        else:
            speed = self._reckoned(operations.trained, plan.precision)
        self._known[exact] = speed
        return speed

    def embedding(self, network: Network) -> Speed:
        """Return how long an image takes that only goes forward through a backbone, in an evaluation."""
        key = _key("embed", network.name)
        if key not in self._known:
            operations = network.operations.embedded
            if self._affords(operations * _FIRST, "float32", network.num_parameters):
                self._known[key] = self._tried(
                    lambda: self._try_backbone(network.make(), network.shape), operations, "float32"
                )
            else:
                self._known[key] = self._reckoned(operations, "float32")
        return self._known[key]

    def opening(self, data: Known, size: int) -> float:
        """Return how many seconds a worker takes to read an image and to fit it to `size` pixels."""
        if data.image_size is not None:  # of tables nothing is read
            return 0.0
        key = _key("open", data.name, data.data is None, size)
        if key not in self._known:
            images = data.images()
            count = min(_OPENED, len(images))
            began = time.perf_counter()
            for index in range(count):
                fit_image(images[index][0], size)
            self._known[key] = Speed((time.perf_counter() - began) / count, "")
        return self._known[key].seconds

    def together(self, device: float, worker: float) -> float:
        """Return how many seconds an image takes that a worker prepares and the device computes on."""
        if self.device.type == "cpu":  # the same cores do both
            return device + worker / torch.get_num_threads()
        return max(device, worker / default_workers(self.device))

    def _affords(self, operations: float, precision: str, num_parameters: int) -> bool:
        """Return whether there is time and memory to try a network."""
        seconds = num_parameters * _SECONDS_PER_PARAMETER + 2 * operations / self._rate(precision)
        return seconds <= min(_PATIENCE, self._left) and num_parameters * _BYTES_PER_PARAMETER <= _free(self.device) / 2

    def _tried(self, trial: Callable[[], Speed], operations: float, precision: str) -> Speed:
        began = time.perf_counter()
        try:
            return trial()
        except (SslkitError, RuntimeError) as error:  # the run will say so in its own way
            return self._reckoned(operations, precision, f"not tried ({one_line(error)})")
        finally:
            self._left -= time.perf_counter() - began

    def _reckoned(self, operations: float, precision: str, why: str = "") -> Speed:
        rate = self._rate(precision)
        why = why or ("too large to try" if self._left > 1 else "no time left to try it")
        return Speed(operations / rate, f"{why}, reckoned at the {rate / 1e9:,.0f} GFLOP/s of plain convolutions")

    def _rate(self, precision: str) -> float:
        """Return the operations per second of one convolution, its normalisation and their gradients."""
        if precision not in self._rates:
            count, channels, side = _LAYER
            layer = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
            layer.to(self.device).to(memory_format=torch.channels_last)
            images = torch.rand(count, channels, side, side, device=self.device, requires_grad=True)
            images = images.contiguous(memory_format=torch.channels_last)

            def step(number: int) -> None:
                with autocast(precision, self.device):
                    loss = layer(images[:number]).relu().float().mean()
                loss.backward()

            timed = self._paced(step, count)
            self._rates[precision] = 3 * 2 * 9 * channels**2 * side**2 / timed.seconds
        return self._rates[precision]

    def _try(self, plan: PretrainPlan, seed: int, data: Known, limit: int, tried: list[_Step]) -> Speed:
        """Try views, and before them a step with them, if there is none yet that stands for it."""
        given = data.sample(plan.views, seed, self.device)
        step = next((step for step in tried if step.stands_for(limit)), None)
        timed = self._try_step(plan, seed, data, given, limit) if step is None else step.timed
        raw = given.batch(timed.batch)
        times = [self._timed(lambda count: given.views.apply(raw.groups, raw.draws), timed.batch) for _ in range(4)]
        views = statistics.median(times[1:]) / timed.batch
        if step is None:
            step = _Step(max(0.0, timed.seconds - views), timed, limit)
            tried.append(step)
        timed = timed._replace(seconds=step.seconds + views)
        return Speed(self.together(timed.seconds, given.preparing), str(timed))

    def _try_step(self, plan: PretrainPlan, seed: int, data: Known, given: Sample, limit: int) -> _Timed:
        method = build_method(plan, seed, num_samples=len(given.source.dataset), num_classes=data.num_classes)
        method = method.to(self.device, memory_format=torch.channels_last).train()
        groups = parameter_groups(method, _RATE, 0.0)
        stepper = Stepper(
            method=method,
            views=given.views,
            optimizer=plan.optimizer.build(params=groups),
            base_rates=[BaseRates(_RATE, 0.0) for _ in groups],
            schedules={},
            normalise=None,
            precision=plan.precision,
            device=self.device,
            seed=seed,
        )

        def step(count: int) -> None:
            stepper.step(given.batch(count), Progress(0, 1, 1.0))

        with seeded(seed):
            return self._paced(step, limit)

    @torch.inference_mode()
    def _try_backbone(self, backbone: nn.Module, shape: Shape) -> Speed:
        backbone = backbone.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

        def step(count: int) -> None:
            backbone(torch.rand(count, *shape, device=self.device))

        timed = self._paced(step, 256)
        return Speed(timed.seconds, str(timed))

    def _paced(self, step: Callable[[int], None], limit: int) -> _Timed:
        """Time a step with more and more images, until it is long enough to be timed or has as many as may be."""
        count = min(_FIRST, limit)
        seconds = self._timed(step, count)
        if seconds < _PATIENCE / 2:
            seconds = self._timed(step, count)  # the first one also imports, allocates and plans
        while count < limit and seconds < _STEP / 2:
            more = min(limit, max(2 * count, int(min(16, _STEP / seconds) * count)))
            try:
                self._timed(step, more)
                count, seconds = more, self._timed(step, more)
            except torch.OutOfMemoryError:  # the run needs more devices than this one
                torch.cuda.empty_cache()
                break
        if seconds >= _LONG:
            return _Timed(seconds / count, 1, count)
        times = [seconds]
        least, most = _REPEATED
        while len(times) < least or (len(times) < most and sum(times) < _ENOUGH):
            times.append(self._timed(step, count))
        return _Timed(statistics.median(times) / count, len(times), count)

    def _timed(self, step: Callable[[int], object], count: int) -> float:
        began = time.perf_counter()
        step(count)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - began


def _free(device: torch.device) -> float:
    """Return the bytes of memory that are free, as far as that can be known."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    said = {reading.name: reading.value for reading in memory()}
    free = (said.get("memory") or {}).get("free")
    return min(float(value) for value in (free, said.get("limit"), float("inf")) if value is not None)


def _key(*parts: object) -> str:
    """Return what tells parts from others, whatever their place in a recipe."""
    return repr([(part.component.name, part.options) if isinstance(part, Choice) else part for part in parts])
