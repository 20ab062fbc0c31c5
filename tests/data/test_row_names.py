import numpy as np
import pandas as pd

from medcnn.data.row_names import names_of_rows


def test_rows_are_named_with_their_files() -> None:
    images = ["set/a/t1.nii", "set/a/t2.nii", "set/b.nii"]
    table = pd.DataFrame({"image": images, "slice": [np.nan, 3, np.nan]})
    assert names_of_rows(table, [1, 2]) == ["row 1 · a/t2.nii, slice 3", "row 2 · b.nii"]
    assert names_of_rows(pd.DataFrame({"image": [4, 5]}), [1]) == ["row 1"]  # rows of an array
    assert names_of_rows(pd.DataFrame({"image": ["i-0f", "i-1a"]}), [0]) == ["row 0 · i-0f"]
    assert names_of_rows(pd.DataFrame({"image": ["a\u202eb.png"]}), [0]) == [
        "row 0 · a\\u202eb.png"
    ]
