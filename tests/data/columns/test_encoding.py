"""Columns as numbers, against scikit-learn."""

import numpy as np
import pandas as pd
from refusals import refused
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from test_codes import samples

from medcnn.data.columns.codes import codes_of
from medcnn.data.columns.encoding import (
    blocks,
    described,
    encoded,
    given_columns,
    lines_on,
    unknown_row,
    unsaid_line,
)

AGE = ["62", "", "71.5", "40", *["55", "", "60", "48"] * 5]
SITE = ["A", "B", "C"] * 4 + ["A", "D", "C"] * 4
TABLE = samples(age=AGE, site=SITE, psa=[float(k % 5) for k in range(24)])
CODES = codes_of(TABLE)


def test_they_are_as_scikit_learn_makes_them() -> None:
    numbers = pd.DataFrame({"age": pd.to_numeric(pd.Series(AGE)), "site": SITE})
    numbers["psa"] = TABLE.table["psa"]
    number = make_pipeline(StandardScaler(), SimpleImputer(add_indicator=True))
    category = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    made = make_column_transformer((number, ["age"]), (category, ["site"]), (number, ["psa"]))
    expected = made.fit(numbers[:12]).transform(numbers)
    found = encoded(TABLE.table, CODES).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert blocks(CODES) == {"age": slice(0, 2), "site": slice(2, 5), "psa": slice(5, 6)}
    assert found[13, 2:5].tolist() == [0, 0, 0]  # site D, which no training image has


def test_a_patient_of_whom_nothing_is_known() -> None:
    assert unknown_row(CODES) == [0, 1, 0, 0, 0, 0]
    assert unknown_row([]) == []


def test_values_unlike_those_of_the_training_are_said() -> None:
    table = TABLE.table.assign(psa=["", *["1"] * 23])
    lines = lines_on(table, CODES)
    assert lines == [
        "column site: 4 of 24 values were never seen in training (D); they count as no category",
        "column psa: 1 of 24 values are missing, as none was in training; they count as the mean "
        "of the training",
    ]
    assert lines_on(TABLE.table[:12], CODES) == []
    assert "(age, site, psa)" in unsaid_line(CODES)
    assert described(CODES[1:]) == "site (A | B | C), psa (1.75 ± 1.42)"


def test_a_column_that_is_lacking_or_holds_something_else() -> None:
    with refused("data set new has no column psa, which the network takes"):
        encoded(TABLE.table.drop(columns="psa"), CODES, "new")
    with refused(r"data set new, column age: 2 of 24 values are no numbers \(rows 0, 3, from 0\)"):
        encoded(TABLE.table.assign(age=["old", *AGE[1:3], "inf", *AGE[4:]]), CODES, "new")


def test_columns_given_in_python() -> None:
    table = given_columns({"age": [62, None], "site": "A", "psa": np.array([0.0, 1.0])}, 2)
    frame = pd.DataFrame({"age": [62.0, np.nan], "site": ["A", "A"], "psa": [0.0, 1.0]}, [7, 9])
    for given in (table, given_columns(frame, 2)):
        expected = encoded(TABLE.table, CODES)[0, 0].item()
        values = encoded(given, CODES)
        assert values[:, :5].tolist() == [[np.float32(expected), 0, 1, 0, 0], [0, 1, 1, 0, 0]]
    with refused("columns: age has 3 values for 2 images"):
        given_columns({"age": [1, 2, 3]}, 2)
