"""What was collected of a split, as a table and back."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from medcnn.inference.split_parts import as_table, from_table


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def there_and_back(collected: dict[str, Tensor], labels: Tensor, file: Path) -> None:
    """Through a CSV file, in another order."""
    as_table(collected).sample(frac=1, random_state=0).to_csv(file, index=False)
    found = from_table(pd.read_csv(file, float_precision="round_trip"), labels)
    assert list(found) == list(collected)
    for name, values in collected.items():
        assert found[name].dtype == values.dtype
        torch.testing.assert_close(found[name], values, rtol=0, atol=0, equal_nan=True)


def test_one_look_at_classes(tmp_path: Path, generator: torch.Generator) -> None:
    labels = torch.tensor([0, -1, 2, 1])
    collected = {
        "row": torch.tensor([3, 5, 6, 12]),
        "label": labels,
        "probs": torch.rand(4, 3, generator=generator, dtype=torch.float64),
        "logits": torch.randn(4, 3, generator=generator),
    }
    there_and_back(collected, labels, tmp_path / "a.csv")


def test_several_looks_at_several_labels(tmp_path: Path, generator: torch.Generator) -> None:
    labels = torch.tensor([[0, 1], [-1, 0], [1, 1]])
    views = torch.rand(4, 3, 2, generator=generator, dtype=torch.float64)
    rows = torch.tensor([0, 1, 2])
    collected = {"row": rows, "label": labels, "probs": views.mean(0), "views": views}
    there_and_back(collected, labels, tmp_path / "a.csv")


def test_quantiles_of_numbers_that_are_not_all_known(
    tmp_path: Path, generator: torch.Generator
) -> None:
    labels = torch.tensor([[0.1, torch.nan], [1 / 3, 2.0], [1e-7, -4.0]])
    collected = {
        "row": torch.tensor([0, 1, 2]),
        "label": labels,
        "probs": torch.rand(3, 2, generator=generator, dtype=torch.float64),
        "quantiles": torch.rand(3, 2, 5, generator=generator, dtype=torch.float64),
        "logits": torch.randn(3, 10, generator=generator),
    }
    there_and_back(collected, labels, tmp_path / "a.csv")
