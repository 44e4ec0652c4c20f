"""Views in groups, each with options of its own: multi-crop, and asymmetric views.

Enters: keys, images. Leaves: V tensors [B, C, S, S] in [0, 1], group after group. Called by the engine like
`two_crops`, of which every group is one.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Required

import numpy as np
import numpy.typing as npt
from torch import Tensor
from typing_extensions import TypedDict

from sslkit import DataError, uniforms
from sslkit_simclr.two_crops import TwoCrops

_TWO_CROPS = inspect.signature(TwoCrops, eval_str=True).parameters
_NUM_VIEWS = _TWO_CROPS["num_views"].annotation

if TYPE_CHECKING:
    Group = Mapping[str, Any]
else:
    # pydantic reads this: a misspelt key or a wrong type inside a group is found in the recipe, with its line.
    Group = TypedDict(
        "Group",
        {name: option.annotation for name, option in _TWO_CROPS.items()} | {"num_views": Required[_NUM_VIEWS]},
        total=False,
    )


class MultiCrop:
    """Groups of views, each drawn by `simclr.two_crops` with options of its own.

    Multi-crop: some large crops and several small ones, in two groups. Asymmetric views, such as those of BYOL: two
    groups of one view. Views come in the order of the groups, so the global crops' group stands first. They are
    numbered through, and view v takes its random numbers from its sample's key and v: no two share any, and whatever
    groups follow leave the views before them as they were. One group alone is `simclr.two_crops`, bit for bit.

    All options of `simclr.two_crops` but `num_views` stand beside `groups` too, and hold for every group that does not
    say otherwise.

    Source: Caron et al. 2020 (SwAV, arXiv 2006.09882), equation 6; asymmetric views: Grill et al. 2020 (BYOL, arXiv
    2006.07733), appendix B.

    Args:
        groups: For each group its `num_views`, and what of the other options it has for itself.
        **common: Options of `simclr.two_crops`, for all groups.

    Attributes:
        num_views: Views of each image, of all groups together.
        whole_images: Whether `prepare` returns the image as it is: where all groups are cropped on the device.

    Raises:
        DataError: There is no group, or one has options that cannot work.
    """

    def __init__(self, *, groups: Sequence[Group], **common: Any) -> None:
        if not groups:
            raise DataError("simclr.multi_crop: groups is empty; add [[pretrain.views.groups]] with num_views = 2")
        self._groups = [_group(number, {**common, **options}) for number, options in enumerate(groups)]
        ends = accumulate((group.num_views for group in self._groups), initial=0)
        self._parts = [slice(start, end) for start, end in pairwise(ends)]
        self.num_views = self._parts[-1].stop
        self.whole_images = all(group.whole_images for group in self._groups)
        self._num_draws = max(group.draw(np.empty(0, np.uint64)).shape[-1] for group in self._groups)

    def draw(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.float32]:
        """Return the uniform numbers of every view, float32 [B, V, K], from one key per sample, uint64 [B]."""
        return uniforms(keys, self.num_views, self._num_draws)

    def prepare(self, image: Any, draws: npt.NDArray[np.float32]) -> tuple[Tensor, ...]:
        """Return what the groups make of one image, PIL or uint8 [C, H, W], from draws [V, K].

        Returns:
            For each group uint8 [v, C, S, S], its crops, or [1, C, H, W], the image; the image once if all groups are
            cropped on the device.
        """
        if self.whole_images:
            return self._groups[0].prepare(image, draws)
        return tuple(
            prepared
            for group, part in zip(self._groups, self._parts, strict=True)
            for prepared in group.prepare(image, draws[part])
        )

    def apply(self, groups: Sequence[Tensor], draws: Tensor) -> list[Tensor]:
        """Return the views of a batch, V tensors float32 [B, C, S, S] in [0, 1], S that of their group.

        Args:
            groups: As from `prepare`, uint8 [B, v, C, S, S] or [B, 1, C, H, W].
            draws: float32 [B, V, K], on the same device.
        """
        sources = [*groups] * len(self._groups) if self.whole_images else groups
        return [
            view
            for group, source, part in zip(self._groups, sources, self._parts, strict=True)
            for view in group.apply([source], draws[:, part])
        ]

    def compile(self) -> None:
        """Compile the colour operations on first use; see `TwoCrops.compile`."""
        for group in self._groups:
            group.compile()

    def describe(self, draws: npt.NDArray[np.float32], height: int, width: int) -> list[dict[str, str]]:
        """Return the parameters of each view of one image in words; see `TwoCrops.describe`."""
        return [
            words
            for group, part in zip(self._groups, self._parts, strict=True)
            for words in group.describe(draws[part], height, width)
        ]


def _group(number: int, options: Mapping[str, Any]) -> TwoCrops:
    try:
        return TwoCrops(**options)
    except DataError as error:
        reason = str(error).removeprefix("simclr.two_crops: ")
        raise DataError(f"simclr.multi_crop: groups.{number}: {reason}") from None


def _take_options_over() -> None:
    """Put the options of `simclr.two_crops` in the place of `**common`, in signature and docstring."""
    groups = inspect.Parameter("groups", inspect.Parameter.KEYWORD_ONLY, annotation=list[Group])
    common = [option for name, option in _TWO_CROPS.items() if name != "num_views"]
    MultiCrop.__signature__ = inspect.Signature([groups, *common])  # type: ignore[attr-defined]
    texts = (inspect.getdoc(TwoCrops) or "").partition("Args:\n")[2].partition("    num_views:")[0]
    MultiCrop.__doc__ = re.sub(r"    \*\*common: .*\n", lambda _: texts, inspect.getdoc(MultiCrop) or "")


_take_options_over()
