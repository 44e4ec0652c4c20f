"""Tests of the tests: a deliberate fault in each operation turns the test red that should notice it."""

from __future__ import annotations

from functools import partial

import pytest
import test_apply
import test_auto_augment
import test_corrupt
import test_golden
import test_one_branch
import test_operations
import test_parameters
import test_torchvision_semantics
import test_two_crops
from planted_faults import named, require_noticed
from sslkit_simclr import TwoCrops, two_crops
from sslkit_simclr.one_branch import OneBranch
from sslkit_simclr.operations import (
    blur,
    colour,
    colour_torchvision,
    corrupt,
    distortion,
    fused,
    geometry,
    noise,
)
from sslkit_simclr.operations import kornia_backend as kornia
from sslkit_simclr.operations.auto_augment import AutoAugment
from sslkit_simclr.operations.blur import Blur
from sslkit_simclr.operations.corrupt import Equalize, MotionBlur, Sobel, Solarize
from sslkit_simclr.operations.distortion import ColourDistortion
from sslkit_simclr.operations.geometry import Cutout, Flip, QuarterTurns
from sslkit_simclr.policy import Policy

from sslkit import Cropper
from sslkit.builtin.views import crop

LITERAL = partial(test_operations.test_jitter_equals_the_operations_in_their_order)
GREY = partial(test_operations.test_grayscale_is_the_weighted_sum, fused)
TORCHVISION = partial(test_torchvision_semantics.test_jitter_equals_torchvisions_in_all_24_orders)
KORNIA = {
    semantics: partial(test_operations.test_distortion_equals_kornia, semantics)
    for semantics in ("paper", "torchvision")
}
BLURRED = {
    border: partial(test_operations.test_blur_equals_the_weighted_sum_and_kornia, 2, border)
    for border in ("black", "mirror")
}
LARGE = partial(test_torchvision_semantics.test_whole_views_equal_torchvisions_functions, 184)
RATES = partial(test_parameters.test_rates_ranges_and_order, "paper")
CUTOUT = partial(test_corrupt.test_cutout_paints_the_square_around_its_centre, 10, 0.5)
NORMAL = partial(test_corrupt.test_noise_is_normal)
NOISE = partial(test_corrupt.test_noise_has_its_deviation_and_is_the_same_for_any_split)
SOBEL = partial(test_corrupt.test_sobel_equals_kornia_and_finds_the_step)
MOTION = partial(test_corrupt.test_motion_blur_equals_kornia_image_by_image, 2)
GOLDEN = {made.__name__: partial(test_golden.test_pixels_are_the_kept_ones, made) for made in (
    test_golden.crops, test_golden.colours, test_golden.others, test_golden.views)}  # fmt: skip

# Where the fault is, what stands there, what is put in its place, and who must notice.
FAULTS = [
    # Mirroring
    (geometry.flip, "flip(-1)", "flip(-2)", partial(test_operations.test_flip_mirrors_the_chosen, fused)),
    (Flip.parameters, "<", ">=", partial(test_operations.test_flip_is_drawn_below_its_probability)),
    # Colours as the paper has them
    (colour.jitter, "parameters.brightness * is", "-parameters.brightness * is", LITERAL),
    (colour.jitter, "one, parameters.contrast)", "one, 2 - parameters.contrast)", LITERAL),
    (colour.jitter, "parameters.saturation, one)", "2 - parameters.saturation, one)", LITERAL),
    (colour.jitter, "parameters.hue * (", "-parameters.hue * (", LITERAL),
    (colour.jitter, "== (gap == 0)", "!= (gap == 0)", LITERAL),
    (colour.jitter, "(brightness < hue).int()", "(brightness > hue).int()", LITERAL),
    (colour._affine, "plane.mean(1, keepdim=True)", "0.5", LITERAL),
    (colour._affine, ".clamp_(0, 1)", "", LITERAL),
    (colour.hue_saturation, "alpha=6", "alpha=5", LITERAL),
    (colour.hue_saturation, "green - blue)", "blue - green)", LITERAL),
    (colour.grey_of, "red * GREY_WEIGHTS[0]", "red * GREY_WEIGHTS[2]", GREY),
    (colour.grayscale, "(chosen, grey, blue)", "(chosen, blue, grey)", GREY),
    # Colours as torchvision has them
    (colour_torchvision.jitter, "parameters.brightness, one", "2 - parameters.brightness, one", TORCHVISION),
    (colour_torchvision.jitter, "1 - parameters.contrast", "parameters.contrast - 1", TORCHVISION),
    (colour_torchvision.jitter, "1 - parameters.saturation", "1 + parameters.saturation", TORCHVISION),
    (colour_torchvision.jitter, "one, parameters.hue", "one, -parameters.hue", TORCHVISION),
    (colour_torchvision.jitter, "hue + place - 3", "place - 3", TORCHVISION),
    (colour_torchvision._blend, "grey.mean(1, keepdim=True)", "0.5", TORCHVISION),
    (colour_torchvision._blend, ".clamp_(0, 1)", "", TORCHVISION),
    (colour.grey_of, "blue, alpha=GREY_WEIGHTS[2]", "blue, alpha=GREY_WEIGHTS[0]", TORCHVISION),
    # What both share
    (distortion._places, "former >= place", "former > place", partial(
        test_operations.test_numbers_become_the_24_orders)),
    (distortion._places, "number // count", "number // 2", RATES),
    (ColourDistortion._jitter, "_about_one(0.8 * s)", "_about_one(0.4 * s)", RATES),
    (ColourDistortion._jitter, " * self.saturation_strength", "", RATES),
    (distortion._about_one, "1 + width", "1 + width / 2", RATES),
    (distortion._about_one, "max(0.0, 1 - width)", "1 - width", partial(
        test_parameters.test_strong_factors_end_at_zero)),
    (ColourDistortion.parameters, "draws[:, 6]", "draws[:, 0]", RATES),
    # kornia's composition
    (kornia.jitter, "hue * (2 * pi)", "hue * pi", KORNIA["paper"]),
    (kornia.jitter, "adjust_brightness(images, brightness)", "adjust_brightness(images, -brightness)",
     KORNIA["paper"]),
    (kornia.jitter_torchvision, "mean, contrast", "mean, 2 - contrast", KORNIA["torchvision"]),
    (kornia._due, "== place", "== 3 - place", KORNIA["torchvision"]),
    # Blur
    (blur.half_kernels, "2 * sigma.square()", "sigma.square()", BLURRED["black"]),
    (blur.half_kernels, " - weights[:, :1]", "", BLURRED["black"]),
    (blur.blur_by_shifts, "radius + shift, size", "radius - shift, size", BLURRED["black"]),
    (blur.blur_by_shifts, 'border == "black"', 'border != "black"', BLURRED["black"]),
    (blur.blur_by_shifts, '"reflect"', '"replicate"', BLURRED["mirror"]),
    (blur.blur_by_matrices, "2 * (size - 1)", "2 * size - 1", BLURRED["mirror"]),
    (Blur.parameters, "draws[:, 1]", "draws[:, 0]", RATES),
    (two_crops._first_sigma_for_all, "numbers[:, :1, sigma]", "numbers[:, -1:, sigma]", partial(
        test_two_crops.test_one_sigma_per_batch_is_that_of_the_first_image, 32)),
    # What is outside the default policy
    (QuarterTurns.__call__, "rot90(quarters", "rot90(-quarters", partial(test_corrupt.test_rotation_is_numpys)),
    (QuarterTurns.parameters, "1 + (draws", "(draws", partial(test_corrupt.test_numbers_become_quarter_turns)),
    (Cutout.__call__, "length // 2", "length", CUTOUT),
    (Cutout.__call__, "(parameters.row, parameters.column)", "(parameters.column, parameters.row)", CUTOUT),
    (Cutout.__call__, "images, 0.5)", "images, 0.0)", CUTOUT),
    (Cutout.__call__, "place < start + length", "place <= start + length", partial(
        test_corrupt.test_cutout_lies_anywhere_and_its_area_follows)),
    (noise.Noise.__call__, "images + self.deviation", "images + self.deviation**2", NOISE),
    (noise.normal_numbers, "key.view(-1, 1) ^", "0 * key.view(-1, 1) ^", NOISE),
    (noise.normal_numbers, " * 2**0.5", "", NORMAL),
    (noise.normal_numbers, "_hash(place)", "place // 2", NORMAL),
    (Sobel.changed, "/ 4", "/ 8", SOBEL),
    (Sobel.changed, "sobel(images)", "sobel(images.mT)", SOBEL),
    (corrupt.sobel, "2 - place.abs()", "1 + place.abs()", SOBEL),
    (corrupt.lines, "row == middle", "column == middle", MOTION),
    (Solarize.changed, "self.threshold", "1 - self.threshold", partial(
        test_corrupt.test_solarize_inverts_from_the_threshold_on, 0.3)),
    (Equalize.changed, "equalize(images)", "equalize(images.flatten(1, 2).unsqueeze(1)).view(images.shape)", partial(
        test_corrupt.test_equalize_flattens_the_histogram_as_kornia_does)),
    (MotionBlur.__call__, '"constant"', '"reflect"', MOTION),
    (MotionBlur.__call__, "2 * self.radius + 1", "2 * self.radius + 3", MOTION),
    (MotionBlur.parameters, "180 *", "-90 *", partial(test_corrupt.test_motion_blur_draws_a_line_along_its_angle)),
    (AutoAugment.__call__, "first << 24 | second", "second", partial(
        test_auto_augment.test_it_equals_torchvisions_under_the_same_seed, "cifar10")),
    (AutoAugment.__call__, "with seeded(first << 24 | second)", "if True", partial(
        test_auto_augment.test_a_view_depends_on_its_key_alone)),
    # How they are put together
    (Policy.__call__, "zip(self._operations, parameters", "zip(self._operations[::-1], parameters[::-1]", partial(
        test_one_branch.test_the_second_view_is_the_first_after_the_operations_in_their_order, ["crop", "cutout"])),
    (TwoCrops.apply, "numbers = draws.transpose(0, 1)", "numbers = draws", partial(
        test_apply.test_a_batch_is_its_parts_bit_for_bit, 32, "worker", "paper")),
    (Cropper.crops, "flip(images, flipped)", "flip(images, ~flipped)", partial(
        test_two_crops.test_crops_on_the_device_equal_crops_in_the_worker, "paper")),
    (OneBranch.apply, "parameters(draws[:, 1])", "parameters(draws[:, 0])", partial(
        test_one_branch.test_the_second_view_is_the_first_after_the_operations_in_their_order, ["rotate"])),
    (OneBranch.apply, "boxes(images, draws[:, 0])", "boxes(images, draws[:, 1])", partial(
        test_one_branch.test_the_crop_does_not_depend_on_the_operations, "blur")),
    (ColourDistortion._in_words, "key=places.__getitem__", "key=places.index", partial(
        test_two_crops.test_descriptions_agree_with_the_parameters, "paper")),
    # Where large images skip what changes nothing, and where the host would wait
    (colour.hue_saturation, "everywhere(turns, 0)", "everywhere(factor, 1)", LARGE),
    (colour.grayscale, "everywhere(chosen, False)", "everywhere(chosen, True)", LARGE),
    (colour_torchvision._blend, "everywhere(scale, 1)", "everywhere(of_grey, 0)", LARGE),
    (blur.gaussian_blur, "> _NEGLIGIBLE", "> 0.01", LARGE),
    (Solarize.changed, "images.new_full((len(images),), self.threshold)", "self.threshold", partial(
        test_apply.test_apply_never_waits_for_the_device, {"solarize_probability": 0.5}, "worker")),
    (Cutout.__call__, "round(self.side * size)", "round(self.side * size * parameters.chosen.any().item())", partial(
        test_apply.test_apply_never_waits_for_the_device, {"cutout_probability": 0.5}, "worker")),
    # And the golden pictures see what the others see
    (crop._paper, "sizes * (tallest", "sizes**2 * (tallest", GOLDEN["crops"]),
    (colour._affine, "plane.mean(1, keepdim=True)", "0.5", GOLDEN["colours"]),
    (colour_torchvision._blend, "grey.mean(1, keepdim=True)", "0.5", GOLDEN["colours"]),
    (QuarterTurns.__call__, "rot90(quarters", "rot90(-quarters", GOLDEN["others"]),
    (distortion._places, "number // count", "number // 2", GOLDEN["views"]),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=named)
def test_a_fault_turns_a_test_red(fault, monkeypatch):
    require_noticed(fault, monkeypatch)
