from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from mcrgen.callbacks.convergence import Convergence
from mcrgen.plotting.convergence import Course, plot_convergence


def module(step: int, channels: int = 1) -> Any:
    """A task whose medium has the value step / 100 in its first channel, the rest being 0."""
    slices = torch.full((1, channels, 5, 7), -1.0)
    slices[:, 0] = 2 * step / 100 - 1
    return SimpleNamespace(
        errors={"s2": 1.0 / step, "s3": 2.0 / step}, loss=3.0 / step, latest_slices={0: slices, 1: slices[..., 1:]}
    )


def run(callback: Convergence, first: int, last: int, channels: int = 1) -> None:
    for step in range(first, last + 1):
        trainer = cast("Any", SimpleNamespace(global_step=step))
        callback.on_train_batch_end(trainer, module(step, channels), None, None, step)
    callback.on_train_end(trainer, module(last, channels))


def test_every_step_and_pictures_of_the_powers_of_two_and_the_end() -> None:
    callback = Convergence()
    run(callback, 1, 11)
    course = callback.course
    assert course.steps == list(range(1, 12))
    assert course.terms["loss"] == pytest.approx([3.0 / step for step in range(1, 12)])
    assert course.terms["s3"] == pytest.approx([2.0 / step for step in range(1, 12)])
    assert list(course.pictures) == [1, 2, 4, 8, 11]
    for step, picture in course.pictures.items():
        assert picture.shape == (5, 7)
        np.testing.assert_allclose(picture, step / 100, rtol=1e-5)


def test_of_many_pictures_the_first_and_the_latest_stay() -> None:
    callback = Convergence()
    run(callback, 1, 300)
    assert list(callback.course.pictures) == [1, 32, 64, 128, 256, 300]


def test_three_phases_are_shown_by_their_numbers() -> None:
    callback = Convergence()
    run(callback, 1, 1, channels=3)
    np.testing.assert_array_equal(callback.course.pictures[1], np.zeros((5, 7)))


def test_a_resumed_run_goes_on_with_what_it_had(tmp_path: Path) -> None:
    whole, part, again = Convergence(), Convergence(), Convergence()
    run(whole, 1, 9)
    for step in range(1, 6):
        part.on_train_batch_end(cast("Any", SimpleNamespace(global_step=step)), module(step), None, None, step)
    torch.save(part.state_dict(), tmp_path / "state")
    again.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    run(again, 6, 9)
    assert again.course.steps == whole.course.steps
    assert again.course.terms == whole.course.terms
    assert again.course.pictures.keys() == whole.course.pictures.keys()
    for step, picture in whole.course.pictures.items():
        np.testing.assert_array_equal(again.course.pictures[step], picture)


def test_a_run_without_a_step_keeps_nothing() -> None:
    callback = Convergence()
    callback.on_train_end(cast("Any", SimpleNamespace(global_step=0)), module(1))
    assert callback.course == Course()


WORDS = {"unit": "energy", "count": "swap", "total": "energy"}


@pytest.mark.parametrize("values", [[1.0, 0.5, 0.1], [1.0, float("nan")], [float("nan")]], ids=["falls", "breaks", "broken"])
def test_the_figure(tmp_path: Path, values: list[float]) -> None:
    course = Course()
    for step, value in enumerate(values, 1):
        course.note(step, {"s2": value, "loss": value})
        course.keep(np.full((6, 4), 0.5))
    plot_convergence(tmp_path / "c.png", course, {"exemplar": np.eye(5)}, title="t", **WORDS)
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.width > 700


def test_terms_that_begin_later_are_drawn_where_they_belong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    drawn: dict[str, list[int]] = {}
    plot = Axes.plot

    def noted(self: Axes, steps: Any, values: Any, **options: Any) -> Any:
        drawn[options["label"]] = list(steps)
        return plot(self, steps, values, **options)

    monkeypatch.setattr(Axes, "plot", noted)
    course = Course()
    course.note(1, {"loss": 1.0})
    course.note(2, {"loss": 0.5, "variation": 0.2})
    course.keep(np.zeros((3, 3)))
    plot_convergence(tmp_path / "c.png", course, {}, title="t", **WORDS)
    assert drawn == {"energy": [1, 2], "variation": [2]}
