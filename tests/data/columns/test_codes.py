"""Which columns can be inputs, and what the training split says of them."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest
import torch
from refusals import refused

from medcnn.data.columns.codes import codes_of
from medcnn.data.samples import Samples

COUNT = 24
LABEL = [0, 1] * (COUNT // 2)


def samples(task: str = "binary", label: Sequence[Any] = LABEL, **columns: Any) -> Samples:
    """Half of them to train on."""
    table = pd.DataFrame({"image": range(COUNT), "patient": range(COUNT)}).assign(**columns)
    table["split"] = ["train"] * 12 + ["val"] * 6 + ["test"] * 6
    table["label"] = label
    names = ("size",) if task == "regression" else ("no", "yes")
    pixels = torch.zeros(COUNT, 1, 2, 2)
    return Samples("toy", table, pixels, task, names, features=(*columns,))  # type: ignore[arg-type]


def test_codes_are_those_of_the_training_split() -> None:
    age = [*map(str, range(40, 51)), "", *["900"] * 12]
    codes = codes_of(samples(age=age, sex=["M", "F", "F"] * 8, grade=["3a", "1", "2"] * 8))
    assert codes == [
        {"column": "age", "mean": 45.0, "std": 10.0**0.5, "missing": True},
        {"column": "sex", "categories": ["F", "M"], "missing": False},
        {"column": "grade", "categories": ["1", "2", "3a"], "missing": False},
    ]
    assert codes_of(samples()) == []


@pytest.mark.parametrize(
    ("words", "name", "cells"),
    [
        ("column psa is empty in all training", "psa", [None] * 12 + ["3"] * 12),
        ("column psa is the same in all training", "psa", ["3"] * 12 + ["4"] * 12),
        ("column note holds 12 different texts in 12", "note", [f"text {k}" for k in range(24)]),
        ("column psa: 1 of 12 values .* no numbers", "psa", ["<0.1", *map(str, range(23))]),
        ("column truth is a copy of the label", "truth", ["b", "a"] * 12),
        ("column truth is a copy of the label", "truth", [7, 3.5] * 12),
        ("column patient tells what an image is", "patient", range(24)),
        ("column label:x tells what an image is", "label:x", range(24)),
    ],
)
def test_columns_that_cannot_be_inputs(words: str, name: str, cells: Any) -> None:
    with refused(words):
        codes_of(samples(**{name: cells}))


def test_the_label_in_another_unit_is_a_copy() -> None:
    size = [float(k) for k in range(COUNT)]
    with refused("column inches is a copy of the label"):
        codes_of(samples("regression", size, inches=[k / 2.54 + 1 for k in range(COUNT)]))
    assert codes_of(samples("regression", size, area=[k * k for k in range(COUNT)]))


def test_columns_that_are_not_there_or_named_twice() -> None:
    toy = samples(psa=range(24))
    toy.features = ("spa",)
    with refused("data set toy has no column spa, which .*; did you mean psa?"):
        codes_of(toy)
    toy.features = ("psa", "psa")
    with refused("name each column once"):
        codes_of(toy)


def test_categories_are_few() -> None:
    few = samples(site=[f"site {k % 6}" for k in range(24)])
    assert len(codes_of(few)[0]["categories"]) == 6
    with refused("column site holds 8 different texts in 12 training images"):
        codes_of(samples(site=[f"site {k % 8}" for k in range(24)]))
