from typing import Any

import numpy as np
import pytest
import torch

from medcnn.data.prepared.intensity import (
    WINDOWS,
    check_intensity,
    file_range,
    percentiles,
    training_percentiles,
)
from medcnn.errors import UserError

FACTS = {
    "value_range": [0.0, 255.0],
    "window": [-10.0, 90.0],
    "percentiles": [3.0, 200.0],
    "modality": None,
}


@pytest.mark.parametrize(
    ("intensity", "expected"),
    [
        ((-5, 7), (-5, 7)),
        ("header", (-10, 90)),
        ("type", (0, 255)),
        ("percentile", (3, 200)),
        ("auto", (-10, 90)),
        ("lung", (-1350, 150)),
        ("brain", (0, 80)),
    ],
)
def test_what_becomes_0_and_1(intensity: Any, expected: tuple[float, float]) -> None:
    assert file_range(FACTS, intensity) == expected


def test_auto_takes_the_window_then_the_type_then_the_image() -> None:
    assert file_range({**FACTS, "window": None}, "auto") == (0, 255)
    assert file_range({**FACTS, "window": None, "value_range": None}, "auto") == (3, 200)


def test_refuses_what_a_file_does_not_say() -> None:
    with pytest.raises(UserError, match=r"^has no window in its header"):
        file_range({**FACTS, "window": None}, "header")
    with pytest.raises(UserError, match=r"^has a type without black and white"):
        file_range({**FACTS, "value_range": None}, "type")
    with pytest.raises(UserError, match=r"^is MR, and the window lung is one for CT"):
        file_range({**FACTS, "modality": "MR"}, "lung")


@pytest.mark.parametrize("bad", ["lungs", 3, [1], [1, 1], [0, "a"], None, [1, 2, 3]])
def test_refuses_other_choices(bad: Any) -> None:
    with pytest.raises(UserError, match=r"^dataset.intensity="):
        check_intensity(bad)


def test_takes_every_choice() -> None:
    for good in (*WINDOWS, "auto", "header", "type", "percentile", "training_percentile", [5, 1]):
        check_intensity(good)


def test_percentiles_agree_with_numpy() -> None:
    values = np.random.default_rng(0).normal(size=(2, 30, 40))
    assert percentiles(values) == pytest.approx(tuple(np.quantile(values, [0.005, 0.995])))
    lone = np.zeros(10_000)
    lone[7] = 1
    assert percentiles(lone) == (0, 1)


def test_percentiles_of_training_images_are_those_of_all_their_values() -> None:
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(9, 1, 8, 8)))
    rows = torch.tensor([1, 4, 8])
    expected = np.quantile(images[rows].numpy(), [0.005, 0.995])
    assert training_percentiles(images, rows) == pytest.approx(tuple(expected), rel=1e-6)
    few = training_percentiles(images, rows, per_image=16)
    assert few == pytest.approx(tuple(np.quantile(images[rows].flatten()[::4], [0.005, 0.995])))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("count", [1, 2, 201, 784])
def test_percentiles_are_those_of_numpy(dtype: type, count: int) -> None:
    values = np.random.default_rng(count).normal(100, 40, (1, count)).astype(dtype)
    low, high = percentiles(values)
    assert (low, high) == pytest.approx(tuple(np.percentile(values, [0.5, 99.5])))
