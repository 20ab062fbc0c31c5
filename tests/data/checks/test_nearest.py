"""The nearest of many vectors, by lists, against all of them compared."""

import pytest
import torch
import torch.nn.functional as F

from medcnn.data.checks import nearest
from medcnn.data.checks.nearest import Nearest


@pytest.fixture
def clustered() -> torch.Tensor:
    """Vectors (4000, 16) of length 1, about 50 centres."""
    torch.manual_seed(0)
    centres = torch.randn(50, 16)
    return F.normalize(centres[torch.arange(4000) % 50] + 0.3 * torch.randn(4000, 16))


def test_lists_find_what_all_comparisons_find(
    clustered: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = F.normalize(clustered[:200] + 0.01 * torch.randn(200, 16))
    exact = Nearest(clustered, 200)(queries, 2)
    monkeypatch.setattr(nearest, "EXHAUSTIVE", 0)
    by_lists = Nearest(clustered, 200)
    assert len(by_lists.lists) > 40
    assert sum(map(len, by_lists.lists)) == len(clustered)
    found = by_lists(queries, 2)
    assert torch.equal(exact[:, 0], torch.arange(200))  # a query's own vector
    assert torch.equal(found[:, 0], exact[:, 0])
    assert (found == exact).float().mean() > 0.95


def test_lists_that_hold_too_few_leave_places_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "EXHAUSTIVE", 0)
    monkeypatch.setattr(nearest, "PROBED", 1)
    vectors = torch.eye(4)
    found = Nearest(vectors, 4)(vectors, 4)
    assert torch.equal(found[:, 0], torch.arange(4))
    assert (found == -1).any()
