"""The columns that a config asks for, and those that a checkpoint takes."""

import columned
import pytest
import torch
from refusals import refused

from medcnn.data.columns.codes import codes_of
from medcnn.data.columns.encoding import encoded
from medcnn.data.columns.of_samples import asked_columns, check_studies, fresh_columns, own_columns
from medcnn.data.studies import studies_of


def test_columns_to_train_on() -> None:
    samples = columned.samples([24, 8, 8])
    asked_columns(samples, {"features": "age"}, None)
    assert samples.features == ("age",)
    asked_columns(samples, {"features": ["age", "sex"]}, None)
    codes = fresh_columns(samples, {"fusion": "film"})
    assert codes == codes_of(samples)
    assert samples.feature_values is not None
    assert torch.equal(samples.feature_values, encoded(samples.table, codes))
    own_columns(samples, [])
    assert samples.features == ()
    assert samples.feature_values is None
    assert fresh_columns(samples, {"fusion": None}) == []


@pytest.mark.parametrize(
    ("words", "given", "card"),
    [
        ("dataset.features=7: give names of columns", 7, None),
        (r"dataset.features=\[7\]: give names of columns", [7], None),
        ("features=age: the checkpoint takes sex; leave it out", "age", ["sex"]),
        ("features=age: the checkpoint takes no columns", "age", []),
    ],
)
def test_columns_that_cannot_be(words: str, given: object, card: list[str] | None) -> None:
    samples = columned.samples([24, 8, 8])
    taken = None if card is None else {"features": [{"column": name} for name in card]}
    with refused(words):
        asked_columns(samples, {"features": given}, taken)


def test_fusion_needs_columns() -> None:
    with refused("model.fusion=late takes columns of the table, and none is named"):
        fresh_columns(columned.samples([24, 8, 8]), {"fusion": "late"})


def test_a_column_is_one_of_the_whole_study() -> None:
    samples = columned.samples([24, 8, 8], studies=True)
    samples.features, samples.studies = ("age", "sex"), studies_of(samples.table)
    check_studies(samples)
    samples.table.loc[[4, 8], "age"] = "99"
    with refused(r"column age differs among the images of study 2 \(2 such studies\)"):
        check_studies(samples)
