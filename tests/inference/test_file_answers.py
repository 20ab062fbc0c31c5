"""Answers on files, of which some make no sense."""

import torch

from medcnn.inference.file_answers import Answers, _finite, together


def answers(quantiles: bool) -> Answers:
    """Of three files with two, one and two images; the second is NaN, and half of the third."""
    probs = torch.tensor([[0.1, 0.9], [0.2, 0.8], [torch.nan, 0.5], [0.3, 0.7], [torch.inf, 0.0]])
    own = torch.arange(10.0).reshape(5, 1, 2) if quantiles else None
    return Answers(["a", "b", "c"], [2, 1, 2], probs, torch.stack([probs, probs]), own)


def test_files_with_answers_that_are_no_numbers_are_told_and_left_out() -> None:
    told: list[str] = []
    found = _finite(answers(quantiles=True), told.append)
    assert [line.partition(" ")[0] for line in told] == ["b", "c"]
    assert found is not None
    assert (found.names, found.counts) == (["a"], [2])
    assert found.probs.tolist() == answers(True).probs[:2].tolist()
    assert found.views.shape == (2, 2, 2)
    assert found.quantiles is not None
    assert found.quantiles.flatten().tolist() == [0, 1, 2, 3]


def test_answers_of_batches_are_put_together() -> None:
    one = _finite(answers(quantiles=False), lambda _: None)
    assert one is not None
    both = together([one, one])
    assert (both.names, both.counts, both.quantiles) == (["a", "a"], [2, 2], None)
    assert both.views.shape == (2, 4, 2)
