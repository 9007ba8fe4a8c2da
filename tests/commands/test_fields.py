from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tifffile

from mcrgen.commands._fields import ANY, DEVIATIONS, FRACTIONS, SHARES, Bounds, parse_field, parse_mask, with_axis
from mcrgen.errors import InputError
from mcrgen.generation.noise import APERIODIC, Period, ScalarField

SHAPE = (6, 4, 10)


def field(text: str, bounds: Bounds = ANY, period: Period = APERIODIC) -> ScalarField:
    with ExitStack() as files:
        return parse_field("noise_mean", text, SHAPE, period, files, bounds=bounds)


def mask(path: Path, *weights: float, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    with ExitStack() as files:
        return parse_mask(path, weights or None, shape, APERIODIC, files)((0, 0, 0), shape)


@pytest.mark.parametrize(("text", "value"), [("0.3", 0.3), ("-2", -2.0), ("1e-2", 0.01)])
def test_a_number(text: str, value: float) -> None:
    found = field(text)((-2, 0, 0), (2, 3, 4))
    assert found.shape == (2, 3, 4)
    assert (found == np.float32(value)).all()


@pytest.mark.parametrize(("axis", "number"), [("z", 0), ("y", 1), ("x", 2)])
def test_a_ramp(axis: str, number: int) -> None:
    found = np.moveaxis(field(f"0.2:-0.5:{axis}")((0, 0, 0), SHAPE), number, 0)
    np.testing.assert_allclose(found[:, 0, 0], np.linspace(0.2, -0.5, SHAPE[number]), rtol=1e-5)
    assert (found == found[:, :1, :1]).all()


def test_a_file_is_stretched_and_kept_open(tmp_path: Path) -> None:
    stored = np.arange(30, dtype=np.float32).reshape(3, 2, 5)
    tifffile.imwrite(tmp_path / "a.tif", stored, compression="zlib", photometric="minisblack")
    with ExitStack() as files:
        found = parse_field("noise_mean", str(tmp_path / "a.tif"), SHAPE, APERIODIC, files, bounds=ANY)((0, 0, 0), SHAPE)
    np.testing.assert_allclose(found[:, 0, 0], [0, 2.5, 7.5, 12.5, 17.5, 20])
    np.testing.assert_allclose(found[0, :, 0], [0, 1.25, 3.75, 5])
    np.testing.assert_allclose(found[0, 0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4])


def test_a_file_wraps_along_a_periodic_axis(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((3, 2, 5)))
    with ExitStack() as files:
        found = parse_field("noise_mean", str(tmp_path / "a.npy"), SHAPE, (None, None, 10), files, bounds=ANY)
        np.testing.assert_array_equal(found((0, 0, -10), SHAPE), found((0, 0, 0), SHAPE))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc", r"noise_mean: expected a number, a ramp A:B:AXIS such as 0\.2:0\.5:z, or a file, got 'abc'"),
        ("0.2:0.5", r"noise_mean: expected a ramp A:B:AXIS along z, y or x such as 0\.2:0\.5:z, got '0\.2:0\.5'"),
        ("0.2:0.5:w", r"noise_mean: expected a ramp A:B:AXIS"),
        ("0.2:0.5:zy", r"noise_mean: expected a ramp A:B:AXIS"),
        ("0.2:0.5:", r"noise_mean: expected a ramp A:B:AXIS"),
        ("0.2:b:z", r"noise_mean: expected a ramp A:B:AXIS"),
        ("1:2:3:z", r"noise_mean: expected a ramp A:B:AXIS"),
        ("0:1:x", r"noise_mean: expected no ramp along the periodic axis x, where it would jump, got '0:1:x'"),
        ("nan", r"noise_mean: expected finite values, got nan"),
        ("1:inf:z", r"noise_mean: expected finite values, got inf"),
        ("no_such.npy", r"noise_mean: no such file 'no_such\.npy'"),
    ],
)
def test_what_no_field_is(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        field(text, period=(None, None, 10))


@pytest.mark.parametrize(
    ("bounds", "good", "bad", "message"),
    [
        (FRACTIONS, "0.5", "1", r"expected values between 0 and 1 \(exclusive\), got 1\."),
        (FRACTIONS, "0.1:0.9:z", "0.2:0:z", r"expected values between 0 and 1 \(exclusive\), got 0\."),
        (SHARES, "0:1:z", "-0.1:1:z", r"expected values between 0 and 1, got -0\.1\."),
        (DEVIATIONS, "0:5:z", "-1", r"expected values of 0 or more, got -1\."),
    ],
)
def test_bounds(bounds: Bounds, good: str, bad: str, message: str) -> None:
    field(good, bounds)
    with pytest.raises(InputError, match="noise_mean: " + message):
        field(bad, bounds)


def test_bounds_that_are_a_little_wider_look_round() -> None:
    with pytest.raises(InputError, match=r"expected values between 0\.05 and 0\.3, got 0\.4"):
        field("0.4", Bounds(0.05 - 1e-7, 0.3 + 1e-7))


def test_bounds_of_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.linspace(0.1, 1.2, 24).reshape(2, 3, 4))
    field(str(tmp_path / "a.npy"), DEVIATIONS)
    with pytest.raises(InputError, match=r"noise_mean '.*a\.npy': expected values between 0 and 1 \(exclusive\), got 1\.2"):
        field(str(tmp_path / "a.npy"), FRACTIONS)


def test_a_file_that_is_not_to_be_stretched(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "b.npy", values[1:])
    with ExitStack() as files:
        found = parse_field("f", str(tmp_path / "a.npy"), SHAPE, APERIODIC, files, bounds=ANY, stretched=False)
        np.testing.assert_array_equal(found((0, 0, 0), SHAPE), values)
        with pytest.raises(InputError, match=r"^f: expected the volume's shape \(6, 4, 10\), '.*b\.npy' has \(5, 4, 10\); add"):
            parse_field("f", str(tmp_path / "b.npy"), SHAPE, APERIODIC, files, bounds=ANY, stretched=False)


@pytest.mark.parametrize(
    ("text", "axis", "whole"),
    [
        ("0.1:0.3", "z", "0.1:0.3:z"),
        ("1:-2e-3", "x", "1:-2e-3:x"),
        ("0.1:0.3:y", None, "0.1:0.3:y"),
        ("0.3", None, "0.3"),
        ("a.npy", None, "a.npy"),
        ("a:b", None, "a:b"),
        (None, None, None),
    ],
)
def test_an_axis_apart(text: str | None, axis: str | None, whole: str | None) -> None:
    assert with_axis("f", text, axis) == whole


@pytest.mark.parametrize(
    ("text", "axis", "message"),
    [
        ("0.1:0.3", None, r"some_field: expected a ramp with its axis, as in 0\.1:0\.3:z, or --gradient-axis beside it, got"),
        ("0.1:0.3", "zy", r"gradient_axis: expected z, y or x, got 'zy'\."),
        (
            "0.1:0.3:z",
            "z",
            r"gradient_axis: expected beside a ramp that names no axis, --some-field A:B, got '0\.1:0\.3:z'; leave",
        ),
        ("0.3", "z", r"gradient_axis: expected beside a ramp .*, got '0\.3'; leave the axis out\."),
        ("0.1:", "z", r"gradient_axis: expected beside a ramp .*, got '0\.1:'; leave"),
        ("a.npy", "z", r"gradient_axis: expected beside a ramp .*, got 'a\.npy'; leave"),
        (None, "z", r"gradient_axis: expected beside a ramp .*, got none; leave"),
    ],
)
def test_what_no_axis_apart_is(text: str | None, axis: str | None, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        with_axis("some_field", text, axis)


def test_a_graded_mask(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.array([0, 0.25, 1], np.float32).reshape(1, 1, 3))
    with pytest.raises(InputError, match=r"mask: expected a 3D volume, .* has the shape \(3,\)"):
        mask(tmp_path / "m.npy")
    np.save(tmp_path / "m.npy", np.array([0, 0.25, 1], np.float64) * np.ones((2, 2, 1)))
    np.testing.assert_allclose(mask(tmp_path / "m.npy", shape=(2, 2, 6))[0, 0], [0, 0.0625, 0.1875, 0.4375, 0.8125, 1])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_a_mask_of_labels(dtype: str, tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 3, (3, 2, 5))
    np.save(tmp_path / "m.npy", (labels * (1 if dtype == "bool" else 40)).astype(dtype))
    stretched = labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(mask(tmp_path / "m.npy"), (stretched / stretched.max()).astype(np.float32))
    weights = (0.75, 0.0) if dtype == "bool" else (0.5, 1.0, 0.0)
    np.testing.assert_array_equal(mask(tmp_path / "m.npy", *weights), np.array(weights, np.float32)[stretched])


def test_weights_make_labels_of_floats(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.array([0.0, 1.0]) * np.ones((2, 2, 1)))
    np.testing.assert_array_equal(mask(tmp_path / "m.npy", 1.0, 0.5, shape=(2, 2, 4))[0, 0], [1, 1, 0.5, 0.5])


@pytest.mark.parametrize(
    ("values", "weights", "message"),
    [
        ([0.0, 0.0], (), r"mask: '.*m\.npy' is 0 everywhere, which leaves no noise at all"),
        ([0, 1], (0.0, 0.0), r"mask: '.*m\.npy' is 0 everywhere"),
        ([0, 0], (), r"mask '.*m\.npy': expected at least two phases, found only the value 0"),
        ([0.0, 1.5], (), r"mask '.*m\.npy': expected values between 0 and 1, got 1\.5"),
        ([-0.5, 1.0], (), r"mask '.*m\.npy': expected values between 0 and 1, got -0\.5"),
        ([0.0, np.nan], (), r"mask: expected finite numbers"),
        ([3, 9], (1.0, 0.5, 0.0), r"mask_weights: expected 2, for the labels 3, 9 of '.*m\.npy', got 3"),
        ([3, 9], (1.0, 2.0), r"mask_weights: expected values between 0 and 1, got 2"),
        ([0.5, 0.7], (1.0, 0.0), r"mask '.*m\.npy': expected labels of at most 16 phases"),
        ([1j, 0.0], (), r"mask '.*m\.npy': expected integer or boolean labels"),
    ],
)
def test_what_no_mask_is(values: list[float], weights: tuple[float, ...], message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.broadcast_to(values, (3, 4, 2)))
    with pytest.raises(InputError, match=message):
        mask(tmp_path / "m.npy", *weights)


def test_a_mask_has_three_dimensions(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.eye(5, dtype=np.uint8))
    with pytest.raises(InputError, match=r"mask: expected a 3D volume, '.*m\.npy' has the shape \(5, 5\)"):
        mask(tmp_path / "m.npy")
    with pytest.raises(InputError, match=r"mask: no such file '.*n\.npy'"):
        mask(tmp_path / "n.npy")
