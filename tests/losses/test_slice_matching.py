from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mcrgen.descriptors.gram import gram_matrices
from mcrgen.descriptors.pattern_characteristic import pattern_characteristic, pattern_frequencies
from mcrgen.losses.slice_descriptors import Correlations, Parts, coarsened, gram, patterns
from mcrgen.losses.slice_matching import SliceTarget, SliceTerm, errors_and_gradient, relative_error, slice_errors

AT = Correlations(limit=3, levels=2, periodic=True)


def binary(*shape: int, fraction: float = 0.4, seed: int = 0) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) < fraction).double()


class Features(nn.Module):
    def forward(self, images: Tensor) -> list[Tensor]:
        right, below = images * images.roll(-1, -1), images * images.roll(-1, -2)
        return [torch.cat([images, right, below], dim=1), (right * below)[..., ::2, ::2]]


def waves(channels: int) -> Tensor:
    return pattern_frequencies(24, channels, 4, torch.Generator().manual_seed(0))


def local_patterns(slices: Tensor) -> list[Tensor]:
    return patterns(waves(slices.shape[1]), periodic=True)(slices)


DESCRIPTORS: dict[str, Parts] = {
    "three_point": AT.three_point,
    "two_point": AT.two_point,
    "two_point_curves": AT.two_point_curves,
    "lineal_path": AT.lineal_path,
    "variation": AT.variation,
    "gram": gram(Features()),
    "patterns": local_patterns,
}


def brute_means(image: np.ndarray, points: list[tuple[int, int]]) -> float:
    """Mean over the periodic image of the product of the values at x + p."""
    return float(np.mean(np.prod([np.roll(image, (-y, -x), (0, 1)) for y, x in points], axis=0)))


def test_correlations_are_those_of_a_direct_count_on_every_level() -> None:
    image = binary(1, 1, 12, 14)
    fine, coarse = AT.two_point(image)
    pooled = image[0, 0].reshape(6, 2, 7, 2).mean((1, 3)).numpy()
    for level, array in ((fine, image[0, 0].numpy()), (coarse, pooled)):
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                assert float(level[0, 0, 2 + dy, 2 + dx]) == pytest.approx(brute_means(array, [(0, 0), (dy, dx)]), abs=1e-12)
    curves = AT.two_point_curves(image)[0][0, 0]
    path = AT.lineal_path(image)[0][0, 0]
    for r in range(3):
        assert float(curves[0, r]) == pytest.approx(brute_means(image[0, 0].numpy(), [(0, 0), (r, 0)]), abs=1e-12)
        assert float(curves[1, r]) == pytest.approx(brute_means(image[0, 0].numpy(), [(0, 0), (0, r)]), abs=1e-12)
        along = [(0, step) for step in range(r + 1)]
        assert float(path[1, r]) == pytest.approx(brute_means(image[0, 0].numpy(), along), abs=1e-12)


def test_three_points_hold_the_two_point_values_and_see_both_levels() -> None:
    image = binary(2, 3, 12, 14)
    three, two = AT.three_point(image), AT.two_point(image)
    assert len(three) == len(two) == 2
    # the first row of S3 has one of its lags at 0: I(x) I(x) I(x + r) = I(x) I(x + r) in a 0/1 medium
    np.testing.assert_allclose(three[0][:, :, 0, :3], two[0][:, :, 2, 2:], atol=1e-12)


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_error_is_zero_on_the_exemplar_and_one_without_structure(name: str) -> None:
    smooth = binary(1, 2, 64, 64, seed=3)
    for axis in (-1, -2):
        smooth = (smooth + smooth.roll(1, axis) + smooth.roll(2, axis)) / 3
    medium = (smooth > smooth.mean()).double()
    target = SliceTarget.measure(DESCRIPTORS[name], [medium], seed=0)
    assert slice_errors(DESCRIPTORS[name], medium, target).item() == pytest.approx(0.0, abs=1e-12)
    assert relative_error(DESCRIPTORS[name], [medium], target) == pytest.approx(0.0, abs=1e-9)
    order = torch.randperm(64 * 64, generator=torch.Generator().manual_seed(5))
    shuffled = medium.flatten(2)[..., order].reshape(medium.shape)
    assert slice_errors(DESCRIPTORS[name], shuffled, target).item() == pytest.approx(1.0, rel=0.25)


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_each_slice_has_its_own_error_and_an_exact_gradient(name: str) -> None:
    slices = torch.rand(2, 1, 12, 14, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.8 + 0.1
    target = SliceTarget.measure(DESCRIPTORS[name], [binary(1, 1, 20, 24)], seed=0)
    together = slice_errors(DESCRIPTORS[name], slices, target)
    alone = torch.cat([slice_errors(DESCRIPTORS[name], one[None], target) for one in slices])
    np.testing.assert_allclose(together, alone, rtol=1e-10)
    assert torch.autograd.gradcheck(
        lambda x: slice_errors(DESCRIPTORS[name], x, target).sum(), slices.requires_grad_(), atol=1e-6
    )


def test_error_is_the_squared_distance_over_that_without_structure() -> None:
    target = SliceTarget.between([torch.tensor([[3.0, 4.0]])], [torch.tensor([[3.0, 2.0]])])

    def descriptor(slices: Tensor) -> list[Tensor]:
        return [slices.flatten(2)[..., :2]]

    slices = torch.tensor([[[[3.0, 4.0]]], [[[4.0, 4.0]]], [[[3.0, 0.0]]]])
    assert slice_errors(descriptor, slices, target).tolist() == [0.0, 0.25, 4.0]
    # the mean of the three is (10/3, 8/3), off by (1/3, -4/3)
    assert relative_error(descriptor, slices.split(1), target) == pytest.approx((17 / 9) ** 0.5 / 5.0)


@pytest.mark.parametrize(
    ("target", "structureless", "unit"),
    [(2.0, 3.5, 2.25), (2.0, 2.01, 0.0016), (0.0, 3.0, 9.0), (0.0, 0.1, 1.0)],
)
def test_units_are_two_per_cent_of_the_target_at_least(target: float, structureless: float, unit: float) -> None:
    found = SliceTarget.between([torch.tensor([target])], [torch.tensor([structureless])]).units[0]
    assert float(found) == pytest.approx(unit)


def test_exemplars_count_by_their_pixels_and_share_their_levels() -> None:
    large, small = binary(1, 1, 24, 24, fraction=0.7), binary(1, 1, 8, 8, fraction=0.2)
    target = SliceTarget.measure(AT.two_point, [large, small], seed=0)
    assert len(target.parts) == 1  # the small one has no second level
    expected = (large.sum() + small.sum()) / (24 * 24 + 8 * 8)
    assert float(target.parts[0][0, 2, 2]) == pytest.approx(float(expected))


def test_targets_between_two_media_have_the_ends_and_the_middle() -> None:
    a, b = (SliceTarget.measure(AT.variation, [binary(1, 1, 9, 11, seed=s)], seed=0) for s in (1, 2))
    assert torch.equal(a.interpolated(b, 0.0).parts[0], a.parts[0])
    assert torch.equal(a.interpolated(b, 1.0).parts[0], b.parts[0])
    np.testing.assert_allclose(a.interpolated(b, 0.5).parts[0], (a.parts[0] + b.parts[0]) / 2)


def test_gram_and_coarsening_are_what_they_are_made_of() -> None:
    image = binary(1, 2, 8, 12)
    for found, expected in zip(gram(Features())(image), gram_matrices(image, Features()), strict=True):
        assert torch.equal(found, expected)
    np.testing.assert_allclose(coarsened(image, 2), image.reshape(1, 2, 2, 4, 3, 4).mean((3, 5)), atol=1e-12)
    assert coarsened(image, 0) is image


def test_patterns_are_their_characteristic_function() -> None:
    image = binary(2, 3, 8, 12)
    for wraps in (True, False):
        (found,) = patterns(waves(3), periodic=wraps)(image)
        assert torch.equal(found, pattern_characteristic(image, waves(3), periodic=wraps))


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("batch", [1, 3, 9])
def test_batches_give_the_errors_and_the_gradient_of_all_slices(together: bool, batch: int) -> None:
    slices = torch.rand(7, 2, 12, 14, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    terms = {
        name: SliceTerm(descriptor, SliceTarget.measure(descriptor, [binary(1, 2, 20, 24)], seed=0), weight)
        for (name, descriptor), weight in zip(DESCRIPTORS.items(), (1.0, 2.0, 0.5, 1.0, 0.1, 3.0, 0.7), strict=True)
    }
    errors, gradient = errors_and_gradient(terms, slices, batch, together=together)

    leaf = slices.clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for name, term in terms.items():
        if together:  # the error of a medium whose every slice has the mean descriptor
            means = [part.mean(dim=0, keepdim=True) for part in term.descriptor(leaf)]
            error = slice_errors(lambda _, means=means: means, leaf, term.target).mean()
        else:
            error = slice_errors(term.descriptor, leaf, term.target).mean()
        assert float(errors[name]) == pytest.approx(float(error.detach()), rel=1e-5)
        total = total + term.weight * error
    total.backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    np.testing.assert_allclose(gradient, leaf.grad, rtol=1e-5, atol=1e-5 * float(leaf.grad.abs().max()))
