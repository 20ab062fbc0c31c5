"""The mean of two answers."""

import pytest
import torch

from medcnn.objective import Objective, Task
from medcnn.objective.mean import mean_logits

SHAPES: dict[Task, int] = {"binary": 2, "multiclass": 4, "multilabel": 3, "ordinal": 5}


@pytest.mark.parametrize("task", SHAPES)
def test_its_probabilities_are_the_mean_of_both(task: Task) -> None:
    objective = Objective(task, SHAPES[task])
    draw = torch.Generator().manual_seed(0)
    both = 6 * torch.randn(2, 50, objective.num_outputs, generator=draw, dtype=torch.float64)
    first, second = both.unbind()
    expected = (objective.probs(first) + objective.probs(second)) / 2
    torch.testing.assert_close(objective.probs(mean_logits(first, second, task)), expected)


def test_of_predictions_it_is_their_mean() -> None:
    assert mean_logits(torch.tensor([[1.0]]), torch.tensor([[4.0]]), "regression").item() == 2.5


@pytest.mark.parametrize("task", SHAPES)
def test_large_logits_have_a_finite_slope(task: Task) -> None:
    outputs = Objective(task, SHAPES[task]).num_outputs
    both = torch.full((2, 1, outputs), 1e4)
    both[1, :, ::2] *= -1
    both.requires_grad_()
    logits = mean_logits(both[0], both[1], task)
    (slope,) = torch.autograd.grad(logits.sum(), both)
    assert logits.isfinite().all()
    assert slope.isfinite().all()
