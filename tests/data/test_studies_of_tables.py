"""The studies of a sample table: which images belong together, in which order."""

import pandas as pd
import pytest
import torch

from medcnn.data.studies import studies_of
from medcnn.errors import UserError


def two_series() -> pd.DataFrame:
    """A study of two volumes, cut into three and two slices, behind one of a single film."""
    table = pd.DataFrame(
        {
            "image": ["film", "a", "a", "a", "b", "b"],
            "slice": [0, 0, 1, 2, 0, 1],
            "study": ["one", *["two"] * 5],
            "view": ["AP", *["axial"] * 3, *["coronal"] * 2],
        }
    )
    return table.assign(patient=table["study"], split="train")


def test_slices_of_one_file_come_before_those_of_the_next() -> None:
    table = two_series().iloc[[0, 5, 3, 1, 4, 2]].reset_index(drop=True)
    studies = studies_of(table)
    assert table["image"].iloc[studies.places.numpy()].tolist() == ["film", "b", "b", "a", "a", "a"]
    assert table["slice"].iloc[studies.places.numpy()].tolist() == [0, 0, 1, 0, 1, 2]
    assert torch.equal(studies.sizes(studies.first), torch.tensor([1, 5]))


def test_slices_share_the_view_of_their_file_and_two_files_do_not() -> None:
    table = two_series()
    studies = studies_of(table)
    assert studies.views is not None
    assert studies.views.tolist() == [0, 1, 1, 1, 2, 2]
    table["view"] = table["view"].replace("coronal", "axial")
    with pytest.raises(UserError, match="study two has the view axial 2 times"):
        studies_of(table)
